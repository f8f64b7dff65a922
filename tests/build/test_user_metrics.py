"""Metrics that a user brings: found, named, and tried before training."""

import hashlib
import re

import numpy as np
import pytest
from own.measures import least, smallest

import jaxcifar
from jaxcifar.build.python_objects import user_metric_of
from jaxcifar.build.user_metrics import MetricSet, load_metrics
from jaxcifar.errors import UsageError

FILE = """
import jax.numpy as jnp
import numpy as np
from jaxcifar import Metric


def share_of_zeros(logits, labels, of=0):
    return labels == of


def largest_cell(confusion):
    return confusion.max()


def longest(logits, labels):
    return jnp.abs(logits).max(1)


named = Metric("longest_2", "longest logit", "nats", False, per_image=longest)
for_many = Metric("many", "many", "", True, of_confusion=np.trace, least_classes=200)


def one_number(logits, labels):
    return logits.sum()


def complex_numbers(logits, labels):
    return logits[:, 0] * 1j


def pair(logits, labels):
    return labels, labels


def branches(logits, labels):
    return labels if logits[0, 0] > 0 else 0 * labels


def infinite(logits, labels):
    return jnp.log(0 * logits[:, 0])


def a_row(confusion):
    return confusion[0]


def mean_recall(confusion):
    return np.mean(np.diag(confusion) / confusion.sum(1))


def mean_precision(confusion):
    return np.mean(np.diag(confusion) / confusion.sum(0))


def text(confusion):
    return "much"


def divides(confusion):
    return 1 / (confusion.sum() - 30)


def missing(confusion):
    return confusion["x"]


def three(logits, labels, images):
    return labels


def accuracy_flip(logits, labels):
    return labels


class Unhashable:
    def __call__(self, confusion):
        return 1

    def __eq__(self, other):
        return True


unhashable = Unhashable()
number = 5
"""


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(FILE)
    return path


def tried(file, *names, classes=10):
    return MetricSet.create(classes, load_metrics([f"{file}:{name}" for name in names]))


def test_functions_and_metrics_are_loaded_by_name(file):
    metrics = tried(file, "share_of_zeros", "largest_cell", "named", "named")
    assert [user.metric.name for user in metrics.user_metrics] == [
        "share_of_zeros",
        "largest_cell",
        "longest_2",
    ]
    first, second, third = (user.metric for user in metrics.user_metrics)
    assert (first.title, first.unit, first.higher_is_better) == ("share of zeros", "", True)
    assert first.of_confusion is None and second.per_image is None
    assert (third.title, third.unit, third.higher_is_better) == ("longest logit", "nats", False)
    digest = hashlib.sha256(FILE.encode()).hexdigest()
    assert [(user.code, user.sha256) for user in metrics.user_metrics] == [
        (f"{file}:{name}", digest) for name in ("share_of_zeros", "largest_cell", "named")
    ]
    assert [metric.name for metric in metrics.all][-4:-2] == ["balanced_accuracy", "share_of_zeros"]
    logits = np.float32([[1, -3], [2, 0], [0, 1]])
    values = tried(file, "share_of_zeros", "largest_cell", "named", classes=2).measure(
        logits, np.int32([0, 1, 0])
    )
    assert values.values["share_of_zeros"] == 2 / 3
    assert values.values["largest_cell"] == 1
    assert values.values["longest_2"] == 2.0
    assert values.values["accuracy"] == 1 / 3


@pytest.mark.parametrize("classes", [2, 10, 100, 1000])
def test_textbook_formulas_that_divide_by_each_class_are_taken(file, classes):
    metrics = tried(file, "mean_recall", "mean_precision", classes=classes)
    assert len(metrics.user_metrics) == 2


def test_formulas_of_more_classes_than_can_be_tried_are_taken(file):
    assert len(tried(file, "mean_recall", classes=3000).user_metrics) == 1


def test_a_metric_for_more_classes_than_there_are_is_refused(file):
    message = f"--metric {file}:for_many: needs 200 classes, and the images have 10; leave it out"
    with pytest.raises(UsageError, match=re.escape(message)):
        tried(file, "for_many")


@pytest.mark.parametrize(
    ("name", "words"),
    [
        (
            "one_number",
            r"returns float32\[\] for logits \[30, 10\] and labels \[30\]; it must",
        ),
        ("complex_numbers", r"returns complex64\[30\] for logits"),
        ("pair", r"returns tuple for logits"),
        ("branches", r"mine.py:\d+: TracerBoolConversionError"),
        ("infinite", r"returns -inf for 30 images with made-up logits; it must return finite"),
        ("a_row", r"returns int64\[10\] for the confusion matrix \[10, 10\]; it must return one"),
        ("text", r"returns <U4\[\] for the confusion matrix"),
        ("divides", r"returns (nan|inf) for 30 images"),
        ("missing", r"mine.py:\d+: IndexError"),
        ("three", r"takes 3 parameters; it must take logits and labels, or the confusion matrix"),
        ("accuracy_flip", r"the name accuracy_flip is taken; choose another name"),
        ("unhashable", r"TypeError: unhashable type: 'Unhashable'"),
        ("number", r"is int; it must be a Metric or a function"),
        ("nothing", r"mine.py does not define nothing; it defines share_of_zeros"),
    ],
)
def test_what_can_not_be_measured_is_an_error_of_one_line(file, name, words):
    with pytest.raises(UsageError, match=f"^--metric {file}:{name}: .*{words}") as raised:
        tried(file, name)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("gone.py:f", "no such file as gone.py"),
        ("top3", "no such metric; name your own as FILE"),
    ],
)
def test_what_is_not_there_is_an_error(name, words):
    with pytest.raises(UsageError, match=words):
        load_metrics([name])


def test_two_metrics_of_one_name_are_refused(file, tmp_path):
    other = tmp_path / "other.py"
    other.write_text("def largest_cell(confusion):\n    return 1\n")
    with pytest.raises(UsageError, match=f"{other}:largest_cell: the name largest_cell is taken"):
        load_metrics([f"{file}:largest_cell", f"{other}:largest_cell"])


def test_a_failure_while_measuring_names_the_users_line(tmp_path):
    path = tmp_path / "late.py"
    path.write_text("def late(confusion):\n    assert confusion.sum() == 30\n    return 1\n")
    metrics = tried(path, "late")
    with pytest.raises(UsageError, match=r"--metric .*late.py:late: .*late.py:2: AssertionError"):
        metrics.measure(np.zeros((5, 10), np.float32), np.zeros(5, np.int32))


def test_train_takes_functions_metrics_and_names(file):
    found = [user_metric_of(metric) for metric in (smallest, least, f"{file}:named")]
    assert [user.metric.name for user in found] == ["smallest", "least", "longest_2"]
    # So each name can be given to `--metric`, and stands for the same metric there.
    assert [user.code for user in found[:2]] == ["own.measures:smallest", "own.measures:least"]
    assert found[0].sha256 == found[1].sha256 != found[2].sha256
    for nameless in (lambda logits, labels: labels, "top3", 7):
        with pytest.raises(UsageError):
            jaxcifar.train("cnn", "shapes10", metrics=[nameless])


def test_train_takes_a_list_of_metrics_only():
    with pytest.raises(UsageError, match=r"metrics .*: must be a list"):
        jaxcifar.train("cnn", "shapes10", metrics=smallest)


def test_of_two_metrics_in_one_folder_the_one_that_fails_is_named(tmp_path):
    (tmp_path / "good.py").write_text("def good(confusion):\n    return 1\n")
    late = "def good(confusion):\n    return 1\n\ndef late(confusion):\n"
    late += "    assert confusion.sum() == 30\n    return 1\n"
    (tmp_path / "late.py").write_text(late)
    names = [f"{tmp_path}/good.py:good", f"{tmp_path}/late.py:late"]
    metrics = MetricSet.create(10, load_metrics(names))
    with pytest.raises(UsageError, match=r"--metric .*late.py:late: .*late.py:5: AssertionError"):
        metrics.measure(np.zeros((5, 10), np.float32), np.zeros(5, np.int32))


def test_an_error_in_generated_code_names_the_line_of_the_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "from jaxcifar import Metric\n\nmine = Metric('my metric', '', '', True, max)\n"
    (tmp_path / "mine.py").write_text(code)
    with pytest.raises(UsageError, match=r"mine.py:mine: .*mine.py:3: ValueError: the name"):
        load_metrics(["mine.py:mine"])
