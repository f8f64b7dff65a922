"""A metric is declared once, and is found wherever numbers are shown."""

import dataclasses
import io
import json
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from report.test_report import report
from rich.console import Console
from runs.test_fit import CONFIG, untimed

from jaxcifar.build.user_metrics import MetricSet, load_metrics
from jaxcifar.commands.compare import show_comparison as compare
from jaxcifar.commands.shared.evaluated import show_evaluations as show_evaluated
from jaxcifar.evaluation.image_sets import ImageSet
from jaxcifar.evaluation.measure import evaluate_sets
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.report.run_reading import read_run
from jaxcifar.runs.evaluation_file import read_evaluation, save_evaluation
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import create_observers, find_factories
from jaxcifar.runs.task import Task
from jaxcifar.training import metrics
from jaxcifar.training.metrics import PERCENT, Metric

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
SHORT = dataclasses.replace(CONFIG, epochs=2)
# Declared here, and nowhere else.
OURS = Metric("worst", "worst class", PERCENT, True, of_confusion=lambda c: c.diagonal().min() / 4)
USERS = "def label_sum(logits, labels):\n    return labels\n"


@pytest.fixture(scope="module")
def declared():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "METRICS", (*metrics.METRICS, OURS))
        yield


@pytest.fixture(scope="module")
def users(tmp_path_factory):
    path = tmp_path_factory.mktemp("own") / "mine.py"
    path.write_text(USERS)
    return load_metrics([f"{path}:label_sum"])


def train(path, dataset, metrics=(), **options):
    screen = io.StringIO()
    names = ["tensorboard"] if find_spec("tensorboardX") else []
    task = Task(
        SHORT, path, user_metrics=metrics, observers=create_observers(find_factories(names))
    )
    fit(task, lambda: dataset, Console(file=screen, width=200), **options)
    return screen.getvalue()


@pytest.fixture(scope="module")
def done(declared, users, tmp_path_factory, easy_dataset):
    """A run with a metric of each kind, and what was shown."""
    path = tmp_path_factory.mktemp("runs") / "measured"
    return path, train(path, easy_dataset, users)


def test_rows_and_results_have_it(done, users):
    path, _ = done
    rows = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    result = json.loads((path / "result.json").read_text())
    for row in rows:
        assert row["val_label_sum"] == 4.5  # the mean of ten classes' numbers
    # Of four test images a class.
    assert result["test_worst"] == min(result["class_accuracy"].values())
    assert all(np.isfinite(row["val_worst"]) for row in rows)
    by_name = {line["name"]: line for line in result["metrics"]}
    [user] = users
    assert by_name["worst"] == {
        "name": "worst",
        "title": "worst class",
        "unit": "%",
        "higher_is_better": True,
    }
    assert by_name["label_sum"]["sha256"] == user.sha256
    assert by_name["label_sum"]["code"] == user.code
    assert RunFolder(path).finished_result() == result
    assert RunFolder(path).read_history() == rows


def test_the_line_of_an_epoch_has_it_and_what_the_user_asked_for(done):
    lines = [line for line in done[1].splitlines() if line.startswith("epoch ")]
    assert len(lines) == 2
    assert all(" label sum 4.5 " in line for line in lines)
    worst = [row["val_worst"] for row in read_run(done[0]).history]
    for value, line in zip(worst, lines, strict=True):
        assert f"worst class {value:.2%}" in line


def test_compare_shows_the_users_metrics(done):
    """Also beside a run that has validated nothing yet."""
    run = read_run(done[0])
    others = dataclasses.replace(run, history=[])
    screen = io.StringIO()
    compare(Console(file=screen, width=120), ["a", "b"], [run, others])
    lines = [line.split("  ") for line in screen.getvalue().splitlines()]
    shown = {name: " ".join(cells).split() for name, *cells in lines}
    worst = run.result["test_worst"]
    assert shown["test worst class"] == [f"{worst:.2%}"] * 2
    assert shown["validation label sum"] == ["4.5", "-"]
    assert "test macro-F1" in shown


def test_compare_shows_titles_of_strangers_as_they_are_and_each_once(done):
    """Two of one title, which has no place in a terminal; one that stands for another line."""
    run = read_run(done[0])
    titles = {"worst": "\x1b[2J", "label_sum": "\x1b[2J", "macro_f1": "with flips"}
    lines = [{**line, "title": titles.get(line["name"], "x")} for line in run.result["metrics"]]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(metrics, "METRICS", ())  # or ours would have their titles
        screen = io.StringIO()
        others = dataclasses.replace(run, result={**run.result, "metrics": lines})
        compare(Console(file=screen, width=120), ["a", "b"], [others, others])
    shown = screen.getvalue()
    assert "\x1b" not in shown
    assert shown.count("(label_sum)") == 2 and shown.count("test with flips ") == 2


def test_the_report_has_the_users_metrics(done):
    path, _ = done
    text = report(path.parent)
    result = RunFolder(path).finished_result()
    heads, _, line = text.partition("Other metrics\n")[2].split("| row |")[1].splitlines()[:3]
    cells = [cell.strip() for cell in line.split("|")[2:-1]]
    found = dict(zip((head.strip() for head in heads.split("|")), cells, strict=False))
    assert found["worst class ↑"] == f"{result['test_worst']:.2%}"
    assert found["label sum ↑"] == "4.5"
    assert found["loss, nats ↓"] == f"{result['test_loss']:.4g}"


@pytest.mark.skipif(find_spec("tensorboardX") is None, reason="tensorboardX is missing")
def test_tensorboard_has_the_users_metrics(done):
    path, _ = done
    [events] = (path / "tensorboard").iterdir()
    content = events.read_bytes()
    for tag in (b"worst/val", b"worst/test", b"label_sum/val", b"label_sum/test", b"loss/val"):
        assert tag in content


def test_evaluating_measures_the_users_metrics(done, users, easy_dataset):
    path, _ = done

    def predict(images):
        """The right answer to all images but those of class 3."""
        labels = np.int32(images[:, :16].mean((1, 2, 3))) // 23
        return np.eye(10, dtype=np.float32)[np.where(labels == 3, 4, labels)]

    part = ImageSet("test", "those", easy_dataset.test)
    found = evaluate_sets(
        predict,
        [part],
        predictors_with_mistakes={},
        class_names="abcdefghij",
        val=None,
        date="now",
        user_metrics=users,
    )
    values = {line["name"]: line["value"] for line in found.evaluation["sets"]["test"]["metrics"]}
    assert values["worst"] == 0.0 and values["label_sum"] == 4.5
    assert values["balanced_accuracy"] == pytest.approx(0.9)
    save_evaluation(path, found.evaluation, None)
    assert read_evaluation(RunFolder(path))["sets"]["test"]["metrics"][-1]["name"] == "label_sum"
    screen = io.StringIO()
    show_evaluated(Console(file=screen, width=120), {"a": found.evaluation}, {})
    assert "worst class" in screen.getvalue() and "90.00%" in screen.getvalue()
    assert "worst class 0.00%" in report(path.parent)


def test_a_run_goes_on_without_it(done, users, tmp_path, easy_dataset):
    path = tmp_path / "stopped"
    with pytest.raises(Interrupted):
        train(path, easy_dataset, users, stopper=stopped_after(6))
    screen = train(path, easy_dataset)
    assert "resuming after step" in screen
    first, second = RunFolder(path).read_history()
    assert "val_label_sum" in first and "val_label_sum" not in second
    whole = untimed(done[0])  # the same but for the metric
    del whole[1]["val_label_sum"]
    assert untimed(path) == whole
    assert "test_label_sum" not in RunFolder(path).finished_result()
    text = report(tmp_path)
    assert "label sum" not in text and "worst class ↑" in text
    compare(Console(file=io.StringIO()), ["a", "b"], [read_run(path), read_run(done[0])])


def test_a_value_that_is_not_finite_is_left_out(declared, tmp_path, easy_dataset):
    path = tmp_path / "sometimes.py"
    path.write_text(
        "def sometimes(confusion):\n    return 1 / (confusion.sum() - 40)\n"  # of all images
    )
    users = load_metrics([f"{path}:sometimes"])
    assert MetricSet.create(10, users).user_metrics == users
    screen = train(tmp_path / "run", easy_dataset, users)
    assert screen.count(" sometimes - ") == 2
    folder = RunFolder(tmp_path / "run")
    assert all("val_sometimes" not in row for row in folder.read_history())
    assert "test_sometimes" not in folder.finished_result()
