"""Evaluating finished runs: figures against NumPy, sets by name, what stays in a run's folder."""

import dataclasses
import hashlib
import io
import json
import os
import re
import shutil
from pathlib import Path
from threading import Event
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from flax import linen as nn
from matplotlib.figure import Figure
from PIL import Image
from rich.console import Console
from rounding import assert_near, error_by_condition, error_of_sum
from scipy import stats
from small import SMALL

from jaxcifar.build.model import create_model
from jaxcifar.build.setup import Setup
from jaxcifar.commands import evaluate as evaluate_command
from jaxcifar.commands.shared.cli import exit_code_of
from jaxcifar.commands.shared.evaluated import short_names, show_evaluations
from jaxcifar.commands.shared.evaluated_runs import LoadedRun
from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples
from jaxcifar.data.corruptions import CORRUPTIONS, STRENGTHS, corrupt_images
from jaxcifar.data.image_folder import ImageFolder
from jaxcifar.errors import BusyError, RunError, UsageError
from jaxcifar.evaluation import image_sets, measure
from jaxcifar.evaluation.calibration import calibration, fitted_temperature
from jaxcifar.evaluation.evaluation_mistakes import (
    evaluation_mistakes,
    shifted_and_flipped,
    training_mode_logits,
)
from jaxcifar.evaluation.image_sets import ImageSet, load_run_dataset, load_set
from jaxcifar.evaluation.measure import (
    evaluate_set,
    evaluate_sets,
    evaluate_with_corruptions,
    evaluate_with_mistakes,
)
from jaxcifar.evaluation.set_names import places_in, with_unique_name
from jaxcifar.evaluation.user_images import contains_test_images, describe_training_copies
from jaxcifar.machine.files import lock_folder
from jaxcifar.report import write_report
from jaxcifar.runs.evaluation_file import read_evaluation, read_looks, save_evaluation
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import measure_weights
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Task
from jaxcifar.runs.training_loop import fit_all
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.trained.classifier import _training_logits
from jaxcifar.trained.load import load
from jaxcifar.training import predicting

NAMES = tuple("abcdefghij")
WEIGHTS = np.random.RandomState(3).randn(32 * 32 * 3, 10) / 20
DATE = "2026-01-02T03:04:05+00:00"
CONFIG = Config.create(
    "cnn", arch_args=SMALL, dataset="shapes10", epochs=2, batch_size=32, learning_rate=0.01
)


def linear(images):
    """Logits by a made-up network that sees left and right differently."""
    return (np.float32(images).reshape(len(images), -1) / 255 - 0.5) @ WEIGHTS


def some_images(count=60, seed=0):
    rng = np.random.RandomState(seed)
    images = rng.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return Examples(images, (np.arange(count) % 7).astype(np.int32))  # no image of the last three


def as_set(examples):
    return ImageSet("test", "some", examples)


def evaluate_all(test, val):
    return evaluate_sets(
        linear, [as_set(test)], predictors_with_mistakes={}, class_names=NAMES, val=val, date=DATE
    )


def test_figures_are_those_of_a_loop_over_images():
    """Of classes of 1 to 13 images, and none of the last three."""
    images, _ = some_images()
    counts = [13, 1, 9, 4, 12, 7, 14]
    labels = np.random.RandomState(5).permutation(np.repeat(np.arange(7, dtype=np.int32), counts))
    found = evaluate_set(linear, as_set(Examples(images, labels)), NAMES, 2.0, DATE)
    figures, right, flipped, mistakes = found.figures, [], [], []
    for i, (image, label) in enumerate(zip(images, labels, strict=True)):
        logits, mirrored = linear(image[None])[0], linear(image[None, :, ::-1])[0]
        right.append(logits.argmax() == label)
        flipped.append((logits + mirrored).argmax() == label)
        odds = np.exp(logits)
        if not right[-1]:
            mistakes.append((-odds.max() / odds.sum(), i, NAMES[label], NAMES[logits.argmax()]))
    assert figures["accuracy"] == pytest.approx(np.mean(right))
    assert figures["accuracy_flip"] == pytest.approx(np.mean(flipped))
    assert np.mean(right) != np.mean(flipped)
    assert figures["images"] == 60
    wilson = stats.binomtest(sum(right), 60).proportion_ci(0.95, "wilson")
    assert figures["interval"] == pytest.approx([wilson.low, wilson.high])
    by_class = {NAMES[c]: np.mean(np.asarray(right)[labels == c]) for c in range(7)}
    assert figures["class_accuracy"] == pytest.approx(by_class)
    assert np.mean(list(by_class.values())) != pytest.approx(np.mean(right))
    assert figures["plain"] == calibration(linear(images), labels)
    assert figures["tempered"] == calibration(linear(images), labels, 2.0)
    lines = [(m["index"], m["label"], m["predicted"]) for m in figures["mistakes"]]
    assert lines == [tuple(mistake[1:]) for mistake in sorted(mistakes)[:20]]
    np.testing.assert_array_equal(found.mistakes["image"][0], images[lines[0][0]])


def test_the_temperature_is_that_of_the_validation_images():
    test, val = some_images(), some_images(count=45, seed=1)
    found = evaluate_all(test, val).evaluation
    expected = fitted_temperature(linear(val.images), val.labels)
    assert found["temperature"] == expected
    assert expected != pytest.approx(fitted_temperature(linear(test.images), test.labels), rel=0.01)
    assert found["sets"]["test"]["tempered"]["loss"] == pytest.approx(
        calibration(linear(test.images), test.labels, expected)["loss"]
    )
    none = val._replace(images=val.images[:0], labels=val.labels[:0])
    for val in (none, None):
        found = evaluate_all(test, val).evaluation
        assert "temperature" not in found
        assert "tempered" not in found["sets"]["test"]


def test_corruptions_are_of_all_kinds_and_strengths():
    images, labels = some_images(20)
    lines = []
    found = evaluate_with_corruptions(linear, Examples(images, labels), DATE, lines.append)
    assert list(found["accuracy"]) == list(CORRUPTIONS)
    assert lines == [f"corruptions: {kind}" for kind in CORRUPTIONS]
    for kind, values in found["accuracy"].items():
        expected = [
            (linear(corrupt_images(kind, level, images)).argmax(-1) == labels).mean()
            for level in range(1, STRENGTHS + 1)
        ]
        assert values == pytest.approx(expected)
    assert found["clean"] == pytest.approx((linear(images).argmax(-1) == labels).mean())


def test_answers_that_are_no_numbers_are_refused():
    with pytest.raises(RunError, match="some: some logits of the network are not finite"):
        evaluate_set(lambda x: linear(x) * np.nan, as_set(some_images()), NAMES, None, DATE)


def write_images(folder, counts):
    """Grey images by class, as bright as their class's letter says."""
    for name, count in counts.items():
        (folder / name).mkdir(parents=True)
        for i in range(count):
            grey = np.full((40, 40, 3), 20 * (ord(name[-1]) - ord("a")), np.uint8)
            Image.fromarray(grey).save(folder / name / f"{i}.png")


def test_a_folder_of_images_is_numbered_as_the_run_is(tmp_path):
    write_images(tmp_path / "lab" / "photos", {"c": 4, "b": 7})
    found = load_set(str(tmp_path / "lab" / "photos"), None, NAMES, tmp_path / "data", print)
    assert (found.name, found.title) == ("own:lab/photos", "lab/photos")
    counts = np.bincount(found.examples.labels, minlength=10)
    np.testing.assert_array_equal(counts, [0, 7, 4, 0, 0, 0, 0, 0, 0, 0])
    greys = found.examples.images.mean((1, 2, 3))
    np.testing.assert_allclose(greys, 20 * found.examples.labels)


def test_of_a_folder_in_two_parts_the_tests_are_taken(tmp_path):
    for part, counts in (("train", {"a": 9, "b": 9}), ("test", {"a": 3, "b": 2})):
        write_images(tmp_path / "lab" / "both" / part, counts)
    lines = []
    found = load_set(str(tmp_path / "lab" / "both"), None, NAMES, tmp_path / "data", lines.append)
    assert len(found.examples.labels) == 5
    assert (found.name, found.title, found.split) == ("own:lab/both", "lab/both, test", "test")
    assert "lab/both: has several splits; only its 5 test images are evaluated" in lines
    images, labels = np.zeros((8, 9, 9, 3), np.uint8), np.arange(8) % 2
    np.savez(tmp_path / "x.npz", x_train=images, y_train=labels, x_test=images[:3],
             y_test=labels[:3], class_names=["b", "a"])  # fmt: skip
    found = load_set(str(tmp_path / "x.npz"), None, NAMES, tmp_path / "data", print)
    assert sorted(found.examples.labels) == [0, 1, 1]


DIGITS = tuple("0123456789")
FROM_ONE = tuple("123456789")


@pytest.mark.parametrize(
    ("labels", "more", "run_classes", "expected"),
    [
        ([3, 3, 5], {}, NAMES, [3, 3, 5]),  # numbers of the run's classes
        ([1, 9, 2], {}, NAMES, [1, 9, 2]),  # a class without images is no reason to count from 1
        ([1, 10, 2], {}, NAMES, [0, 9, 1]),  # 10 classes, so these count from 1
        ([2, 9, 4], {}, FROM_ONE, [1, 8, 3]),  # classes called by their numbers
        ([0, 9, 4], {}, DIGITS, [0, 9, 4]),
        (["c", "c", "c"], {}, NAMES, [2, 2, 2]),
        ([0, 2, 2], {"class_names": ["d", "unknown", "b"]}, NAMES, [3, 1, 1]),
        (np.eye(5, dtype=int)[[4, 1, 4]], {}, NAMES, [4, 1, 4]),
    ],
)
@pytest.mark.parametrize("split", ["_test", ""])
def test_arrays_to_evaluate_need_no_training_images_and_not_every_class(
    tmp_path, labels, more, run_classes, expected, split
):
    images = np.arange(3, dtype=np.uint8)[:, None, None, None] * np.ones((32, 32, 3), np.uint8)
    np.savez(tmp_path / "x.npz", **{f"x{split}": images, f"y{split}": np.asarray(labels), **more})
    found = load_set(str(tmp_path / "x.npz"), None, run_classes, tmp_path, print)
    label_of_image = dict(
        zip(found.examples.images[:, 0, 0, 0].tolist(), found.examples.labels.tolist(), strict=True)
    )
    assert label_of_image == dict(enumerate(expected))
    assert found.split == ""


@pytest.mark.parametrize(
    ("labels", "message"),
    [
        ([0, 12], r"y_test: the label 12 is none of the run's 10 classes, which have the labels 0"),
        ([0, -1], "y_test has the label -1, which stands for a hidden label"),
        (["a", "z"], "class 'z' is not a class of the run"),
    ],
)
def test_labels_of_arrays_must_be_classes_of_the_run(tmp_path, labels, message):
    np.savez(tmp_path / "x.npz", x_test=np.zeros((2, 32, 32), np.uint8), y_test=labels)
    with pytest.raises((RunError, UsageError), match=message):
        load_set(str(tmp_path / "x.npz"), None, NAMES, tmp_path, print)


def test_a_class_folder_to_evaluate_can_be_empty(tmp_path):
    write_images(tmp_path / "photos", {"c": 4, "b": 0, "a": 1})
    found = load_set(str(tmp_path / "photos"), None, NAMES, tmp_path, print)
    assert sorted(found.examples.labels) == [0, 2, 2, 2, 2]


@pytest.mark.parametrize("parts", [[""], ["train"], ["train", "test"]])
def test_a_folder_to_evaluate_can_have_a_single_class(tmp_path, parts):
    for part in parts:
        write_images(tmp_path / "photos" / part, {"c": 3})
    found = load_set(str(tmp_path / "photos"), None, NAMES, tmp_path, print)
    assert found.examples.labels.tolist() == [2, 2, 2]
    assert found.title == f"{tmp_path.name}/photos" + (", test" if "test" in parts else "")
    with pytest.raises(RunError, match=r"one class, .*c, with 3 images.*at least two classes"):
        ImageFolder.scan(tmp_path / "photos")


def test_a_table_goes_before_the_single_folder_of_its_images(tmp_path):
    write_images(tmp_path / "photos", {"c": 3})
    (tmp_path / "photos" / "labels.csv").write_text("file,label\nc/0.png,a\nc/1.png,b\n")
    found = load_set(str(tmp_path / "photos"), None, NAMES, tmp_path, print)
    assert sorted(found.examples.labels) == [0, 1]


def test_a_single_class_that_the_run_lacks_is_refused(tmp_path):
    write_images(tmp_path / "photos", {"zebra": 3})
    with pytest.raises(UsageError, match="class 'zebra' is not a class of the run"):
        load_set(str(tmp_path / "photos"), None, NAMES, tmp_path, print)


@pytest.mark.parametrize("kind", ["folder", "npz"])
def test_validation_images_are_taken_if_there_are_no_test_images(tmp_path, kind):
    if kind == "folder":
        path = tmp_path / "zoo"
        for part, counts in (("train", {"a": 9, "b": 9}), ("val", {"a": 3, "b": 2})):
            write_images(path / part, counts)
    else:
        path = tmp_path / "zoo.npz"
        images, labels = np.zeros((9, 32, 32, 3), np.uint8), np.arange(9) % 2
        np.savez(path, x_train=images, y_train=labels, x_val=images[:5], y_val=labels[:5])
    lines = []
    run_classes = NAMES if kind == "folder" else ("0", "1")
    found = load_set(str(path), None, run_classes, tmp_path / "data", lines.append)
    assert sorted(found.examples.labels) == [0, 0, 0, 1, 1]
    assert (found.title, found.split) == (f"{tmp_path.name}/{path.name}, validation", "val")
    assert any("only its 5 validation images are evaluated" in line for line in lines)


def test_training_images_among_the_evaluated_images_are_counted(easy_dataset):
    others = np.random.RandomState(0).randint(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    copies = easy_dataset.train.images[[7, 3]]
    val_image = easy_dataset.val.images[:1]
    images = np.concatenate([others, copies, val_image])
    examples = Examples(images, np.zeros(len(images), np.int32))
    line = describe_training_copies("photos", examples, easy_dataset)
    assert line.startswith("photos: 2 of the 8 images are also training images of the run")
    assert (
        describe_training_copies("photos", Examples(others, examples.labels[:5]), easy_dataset)
        == ""
    )
    large = Examples(np.zeros((2, 64, 64, 3), np.uint8), examples.labels[:2])
    assert describe_training_copies("photos", large, easy_dataset) == ""


def test_sets_that_there_are_not(tmp_path, easy_dataset):
    write_images(tmp_path / "zoo", {"a": 2, "zebra": 2})
    without = dataclasses.replace(
        easy_dataset, val=Examples(*(part[:0] for part in easy_dataset.val))
    )
    for name, message in (
        ("vall", "no such set; did you mean val"),
        (str(tmp_path / "nowhere"), "no such set; choose val, test"),
        (str(tmp_path / "zoo"), "class 'zebra' is not a class of the run"),
        ("val", "the run has no validation images"),
        ("cifar10.1", "TFDS has not prepared it"),
    ):
        with pytest.raises(UsageError, match=message):
            load_set(name, lambda: without, NAMES, tmp_path / "data", print)


def test_other_images_than_the_runs_are_refused(monkeypatch, easy_dataset, tmp_path):
    monkeypatch.setattr(image_sets, "load_dataset", lambda *_: easy_dataset)
    assert load_run_dataset(CONFIG, NAMES, tmp_path) is easy_dataset
    other = dataclasses.replace(CONFIG, data_sha256="0" * 64)
    with pytest.raises(UsageError, match="the images have changed since"):
        load_run_dataset(other, NAMES, tmp_path)
    with pytest.raises(UsageError, match="the images have changed since"):
        load_run_dataset(CONFIG, NAMES[::-1], tmp_path)


def test_some_of_a_set_has_the_same_share_of_each_class():
    whole = as_set(some_images(70))
    few = whole.subset(21)
    images, labels = few.examples
    np.testing.assert_array_equal(np.bincount(labels), [3] * 7)
    np.testing.assert_array_equal(images, whole.examples.images[few.indices])
    np.testing.assert_array_equal(few.indices, whole.subset(21).indices)
    assert whole.subset(70) is whole.subset(None) is whole
    mistakes = evaluate_set(linear, few, NAMES, None, DATE).figures["mistakes"]
    assert {mistake["index"] for mistake in mistakes} <= set(few.indices.tolist())
    with pytest.raises(UsageError, match="--images 1"):
        whole.subset(1)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, easy_dataset):
    """Two finished runs, which are trained one after the other by one program."""
    folder = tmp_path_factory.mktemp("finished")
    configs = [dataclasses.replace(CONFIG, seed=seed) for seed in (0, 1)]
    tasks = [Task(config, folder / f"seed{config.seed}") for config in configs]
    with Path(os.devnull).open("w") as nowhere, pytest.MonkeyPatch.context() as patch:
        patch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
        progress = TrainProgress(Console(file=nowhere))
        setup = Setup.create(CONFIG, easy_dataset)
        runs = [Run(task, print, progress.observers_of(task)) for task in tasks]
        outcomes = list(fit_all(runs, setup, progress, Event()))
    assert [outcome.error for outcome in outcomes] == [None, None]
    return folder


@pytest.mark.parametrize("normalised", [True, False])
def test_what_a_result_says_of_the_test_images_by_their_arrays(
    finished, easy_dataset, monkeypatch, normalised
):
    """Of 23 images, 9 at a time; a third of them is of the class after the network's answer."""
    trained_network = load(finished / "seed0")
    ways = {True: (0.5, 0.25), False: (0.0, 1.0)}  # the data set's mean and deviation, or none
    mean, std = ways[normalised]
    classifier = trained_network.with_normalization(np.full(3, mean), np.full(3, std))
    config = dataclasses.replace(classifier.config, normalize=normalised)
    model, images = create_model(config, 10), easy_dataset.test.images[:23]

    def logits(pixels, way):
        mean, std = ways[way]
        pixels = (np.float32(pixels) / 255 - mean) / std
        return np.float64(model.apply(classifier.variables, jnp.float32(pixels), train=False))

    right_way = logits(images, normalised)
    predicted = right_way.argmax(1).astype(np.int32)
    labels = np.where(np.arange(23) % 3 == 0, (predicted + 1) % 10, predicted)
    test = Examples(images, labels)
    dataset = dataclasses.replace(easy_dataset, test=test)
    monkeypatch.setattr(predicting, "EVAL_BATCH", 9)
    result, mistakes = measure_weights(
        config, classifier._program, classifier.variables, classifier._hyper, dataset
    )

    flipped = right_way + logits(images[:, :, ::-1], normalised)
    assert result["test_accuracy"] == 15 / 23  # to the last digit
    flip = np.mean(flipped.argmax(1) == labels)
    assert result["test_accuracy_flip"] == pytest.approx(flip, abs=1e-6)
    odds = np.exp(right_way)
    odds /= odds.sum(1, keepdims=True)
    losses = -np.log(odds[np.arange(23), labels])
    assert result["test_loss"] == pytest.approx(losses.mean(), rel=1e-4)
    confusion = np.zeros((10, 10), int)  # a row a true class
    for label, answer in zip(labels, predicted, strict=True):
        confusion[label, answer] += 1
    assert result["confusion_matrix"] == confusion.tolist() != confusion.T.tolist()
    by_class = {  # of the classes that have test images
        name: np.mean(predicted[labels == c] == c) for c, name in enumerate(NAMES) if c in labels
    }
    assert result["class_accuracy"] == pytest.approx(by_class, abs=1e-6)
    assert result["examples"] == {"train": 128, "val": 40, "test": 23}
    confident = mistakes.most_confident
    assert sorted(confident["index"]) == list(range(0, 23, 3))
    assert (np.diff(confident["confidence"]) <= 0).all()
    for index, label, answer, confidence, image in zip(*confident.values(), strict=True):
        assert (label, answer) == (labels[index], predicted[index])
        assert confidence == pytest.approx(odds[index].max(), rel=1e-3)
        np.testing.assert_array_equal(image, images[index])


def shown(found):
    """The cells of each line that the command shows of a network."""
    console = Console(width=160, record=True, file=io.StringIO())
    show_evaluations(console, {"run": found}, {})
    return [line.split() for line in console.export_text().splitlines()]


def test_accuracy_on_corruptions_is_shown_with_its_means():
    accuracy = {"noise": [0.9, 0.8, 0.7, 0.6, 0.1], "blur": [0.5, 0.4, 0.3, 0.2, 0.2]}
    found = {"date": DATE, "images": 10, "clean": 0.95, "accuracy": accuracy}
    lines = shown({"sets": {}, "corruptions": found})
    assert ["noise", "95.00%", "90.00%", "80.00%", "70.00%", "60.00%", "10.00%", "62.00%"] in lines
    assert ["blur", "95.00%", "50.00%", "40.00%", "30.00%", "20.00%", "20.00%", "32.00%"] in lines
    assert ["mean", "95.00%", "70.00%", "60.00%", "50.00%", "40.00%", "15.00%", "47.00%"] in lines


def test_the_table_has_the_figures_of_each_column_and_the_worst_of_many_classes():
    figures = evaluate_set(linear, as_set(some_images()), NAMES, 2.0, DATE).figures
    many = {f"class{c}": ((c * 7) % 25) / 25 for c in range(25)}
    low, high = (100 * end for end in figures["interval"])
    plain, tempered = figures["plain"], figures["tempered"]
    lines = shown({"sets": {"test": {**figures, "class_accuracy": many}}, "temperature": 2.0})
    assert [
        *("run", "some", "60", f"{figures['accuracy']:.2%}", f"{low:.2f}-{high:.2f}"),
        f"{figures['accuracy_flip']:.2%}",
    ] in lines
    assert [
        *("run", "some", f"{plain['loss']:.4f}", f"{plain['ece']:.2%}"),
        *(f"{tempered['loss']:.4f}", f"{tempered['ece']:.2%}"),
    ] in lines
    by_class = [line for line in lines if line and line[0] in many]
    worst = sorted(many, key=many.get)[:20]
    assert by_class == [[name, f"{many[name]:.2%}"] for name in worst]


@pytest.fixture
def at_hand(monkeypatch, easy_dataset):
    monkeypatch.setattr(image_sets, "load_dataset", lambda *_: easy_dataset)


def digests(folder):
    return {
        path.relative_to(folder): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name not in ("evaluation.json", "test_looks.jsonl")
    }


def test_two_runs_side_by_side(finished, at_hand, easy_dataset, tmp_path, capsys, monkeypatch):
    """With two kinds of corruption; `test_corruptions_are_of_all_kinds_and_strengths` has all."""
    kinds = dict(list(CORRUPTIONS.items())[:2])
    monkeypatch.setattr(measure, "CORRUPTIONS", kinds)
    runs = [finished / "seed0", finished / "seed1"]
    before = digests(finished)
    write_images(tmp_path / "lab" / "photos", {"c": 3, "d": 3})
    on = ["--on", "test", "corruptions", str(tmp_path / "lab" / "photos"), "train"]
    where = ["--json", str(tmp_path / "all.json"), "--out", str(tmp_path / "out")]
    evaluate_command.main([*map(str, runs), *on, *where, "--data-dir", str(tmp_path)])
    assert digests(finished) == before  # nothing that the run wrote
    shown_output = json.loads((tmp_path / "all.json").read_text())["runs"]
    output = capsys.readouterr().out
    for run, found in zip(runs, shown_output, strict=True):
        result = json.loads((run / "result.json").read_text())
        kept = read_evaluation(RunFolder(run))
        assert {"run": f"{finished.name}/{run.name}", **kept} == found
        test = found["sets"]["test"]
        assert test["accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
        assert test["plain"]["loss"] == pytest.approx(result["test_loss"], rel=1e-4)
        assert test["accuracy_flip"] == pytest.approx(result["test_accuracy_flip"], abs=1e-6)
        assert found["corruptions"]["accuracy"].keys() == kinds.keys()
        assert found["sets"]["own:lab/photos"]["images"] == 6
        assert found["sets"]["train"]["images"] == len(easy_dataset.train.labels)
        assert "label_errors" in found["sets"]["train"]
        assert f"{test['accuracy']:.2%}" in output
        [look] = read_looks(RunFolder(run))
        assert look["purpose"].startswith("evaluate --on test corruptions")
    assert "the test images were used 2 times" in output
    names = {path.name for path in (tmp_path / "out").iterdir()}
    assert {"corruptions.png", "0-test-reliability.png", "1-own-lab-photos-mistakes.png"} <= names
    assert "1-train-label-errors.png" in names
    for path in (tmp_path / "out").iterdir():
        Image.open(path).verify()


def test_what_does_not_look_at_the_test_is_no_look(finished, at_hand, tmp_path, capsys):
    run = finished / "seed0"
    looks = len(read_looks(RunFolder(run)))
    evaluate_command.main([str(run), "--on", "val", "--images", "20"])
    assert len(read_looks(RunFolder(run))) == looks
    evaluate_command.main([str(run)])
    assert len(read_looks(RunFolder(run))) == looks + 1
    assert read_evaluation(RunFolder(run))["sets"].keys() >= {"val", "test"}


def test_published_corruptions_stay_in_the_runs_folder(finished, monkeypatch, tmp_path, capsys):
    """They need no data set; less of them, or another set, replaces nothing."""

    def gone(*_):
        raise UsageError("no such folder")

    monkeypatch.setattr(image_sets, "load_dataset", gone)
    run, other = finished / "seed0", finished / "seed1"
    examples = some_images(200)
    for name in ("lab/first-C", "lab/second-C"):
        (tmp_path / name).mkdir(parents=True)
        np.save(tmp_path / name / "labels.npy", examples.labels)
        np.save(tmp_path / name / "fog.npy", examples.images)
    looks = len(read_looks(RunFolder(run)))

    def evaluate_on(*words):
        evaluate_command.main([str(run), "--on", *words, "--base", str(other)])

    evaluate_on(str(tmp_path / "lab/first-C"))
    first = read_evaluation(RunFolder(run))["corruption_sets"]["lab/first-C"]
    assert len(read_looks(RunFolder(run))) == looks + 1
    accuracies = {}
    for path in (run, other):
        answers = load(path).logits(examples.images).argmax(-1)
        accuracies[path] = (answers == examples.labels).reshape(5, 40).mean(1)
    assert first["images"] == 40 and first["base"] == str(other)
    assert first["accuracy"]["fog"] == pytest.approx(accuracies[run])
    ratio = (1 - accuracies[run]).sum() / (1 - accuracies[other]).sum()
    assert first["mean_corruption_error"] == pytest.approx(ratio)
    evaluate_on(str(tmp_path / "lab/first-C"), str(tmp_path / "lab/second-C"), "--images", "20")
    found = read_evaluation(RunFolder(run))
    assert found["corruption_sets"]["lab/first-C"] == first
    assert 10 < found["corruption_sets"]["lab/second-C"]["images"] < 40
    text = " ".join(capsys.readouterr().out.split())
    assert "evaluation.json keeps the figures of 40 images of lab/first-C" in text
    assert "temperature" not in text


def test_a_file_of_weights_alone(finished, at_hand, tmp_path, capsys):
    (tmp_path / "net").mkdir()
    weights = tmp_path / "net" / "x.safetensors"
    weights.write_bytes((finished / "seed0" / "weights.safetensors").read_bytes())
    result = json.loads((finished / "seed0" / "result.json").read_text())
    evaluate_command.main([str(weights), "--json", str(tmp_path / "all.json")])
    [found] = json.loads((tmp_path / "all.json").read_text())["runs"]
    assert found["run"] == "net/x.safetensors"
    assert found["sets"]["test"]["accuracy"] == pytest.approx(result["test_accuracy"], abs=1e-6)
    assert "temperature" in found
    assert [path.name for path in weights.parent.iterdir()] == ["x.safetensors"]


def test_a_run_in_use_is_only_read(finished, at_hand, capsys):
    run = finished / "seed1"
    before = [path.read_bytes() if path.exists() else b"" for path in of(run)]
    with lock_folder(run):
        evaluate_command.main([str(run), "--on", "test"])
    assert [path.read_bytes() if path.exists() else b"" for path in of(run)] == before
    output = " ".join(capsys.readouterr().out.split())
    assert "not written, because another process is using this folder" in output
    assert "Calibration" in output


def of(run):
    return RunFolder(run).evaluation_file, RunFolder(run).uses_of_test_images_file


def test_images_that_are_gone_cost_the_temperature_alone(finished, monkeypatch, tmp_path, capsys):
    def gone(*_):
        raise UsageError("no such folder")

    monkeypatch.setattr(image_sets, "load_dataset", gone)
    write_images(tmp_path / "photos", {"c": 3, "d": 3})
    data = ["--data-dir", str(tmp_path)]
    evaluate_command.main([str(finished / "seed0"), "--on", str(tmp_path / "photos"), *data])
    assert "no temperature is fitted" in " ".join(capsys.readouterr().out.split())
    with pytest.raises(UsageError, match="were not found"):
        evaluate_command.main([str(finished / "seed0"), "--on", "test", *data])


def found_in(name, images, **figures_of_run):
    examples = some_images(images)
    figures = evaluate_set(linear, as_set(examples), NAMES, None, DATE).figures
    return {"sets": {name: figures}, **figures_of_run}


def test_the_newest_figures_of_a_set_stay(tmp_path):
    look = {"date": DATE, "purpose": "a paper"}
    assert save_evaluation(tmp_path, found_in("x", 20, temperature=2.0), None) == []
    assert save_evaluation(tmp_path, found_in("y", 30), look) == [look]
    assert save_evaluation(tmp_path, found_in("x", 40), look) == [look, look]
    found = read_evaluation(RunFolder(tmp_path))
    assert {name: figures["images"] for name, figures in found["sets"].items()} == {
        "x": 40,
        "y": 30,
    }
    assert found["temperature"] == 2.0
    with lock_folder(tmp_path), pytest.raises(BusyError):
        save_evaluation(tmp_path, found_in("x", 20), look)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ("", "is empty"),
        ("{}", "missing required field `sets`"),
        ("[]", "Expected `object`, got `array`"),
        ('{"sets": {"test": {}}}', "missing required field `title`"),
        ('{"sets": {}, "temperature": -1}', "temperature: Expected `float` > 0"),
        ("{" * 9999, "is not valid JSON"),
    ],
)
def test_a_damaged_evaluation_is_refused_before_anything_is_done(tmp_path, content, reason):
    (tmp_path / "evaluation.json").write_text(content)
    with pytest.raises(RunError, match=rf"evaluation\.json: .*{reason}.*; delete it") as error:
        save_evaluation(tmp_path, found_in("x", 20), {"date": DATE, "purpose": "p"})
    assert "\n" not in str(error.value)
    assert not (tmp_path / "test_looks.jsonl").exists()


def test_a_run_begun_anew_has_not_been_evaluated(finished, tmp_path, easy_dataset, monkeypatch):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    run = shutil.copytree(finished / "seed0", tmp_path / "run")
    save_evaluation(run, found_in("x", 20), {"date": DATE, "purpose": "p"})
    assert all(path.exists() for path in of(run))
    with Path(os.devnull).open("w") as nowhere:
        fit(Task(CONFIG, run, overwrite=True), lambda: easy_dataset, Console(file=nowhere))
    assert (run / "result.json").exists()
    assert not any(path.exists() for path in of(run))


def test_bad_input_is_one_line(tmp_path, finished):
    run = str(finished / "seed0")
    assert_one_line_error(obeyed("evaluate", str(tmp_path)), 2, "no run here")
    assert_one_line_error(obeyed("evaluate", run, "--images", "0"), 2, "--images", "at least 1")


def test_where_pictures_and_figures_cant_go(tmp_path, finished, at_hand):
    (tmp_path / "file").write_text("")
    run = str(finished / "seed0")
    with pytest.raises(RunError, match=r"--out .*file: can't be written"):
        evaluate_command.main([run, "--on", "val", "--out", str(tmp_path / "file")])
    with pytest.raises(UsageError, match=r"--json .*file/x: there is no folder"):
        evaluate_command.main([run, "--on", "val", "--json", str(tmp_path / "file" / "x")])


def test_folders_with_equal_last_names_keep_names_of_their_own(tmp_path, finished, at_hand, capsys):
    run = shutil.copytree(finished / "seed0", tmp_path / "run")
    (run / "evaluation.json").unlink(missing_ok=True)
    counts = {"w": 2, "x": 3, "y": 4}
    folders = {lab: tmp_path / lab / "lab" / "photos" for lab in counts}
    for lab, count in counts.items():
        write_images(folders[lab], {"c": count, "d": count})

    def images_by_place():
        sets = read_evaluation(RunFolder(run))["sets"]
        return {
            name: (figures["title"], figures["images"], figures["place"])
            for name, figures in sets.items()
        }

    evaluate_command.main([str(run), "--on", str(folders["w"])])
    first = {"own:lab/photos": ("lab/photos", 4, str(folders["w"]))}
    assert images_by_place() == first
    evaluate_command.main([str(run), "--on", str(folders["x"]), str(folders["y"])])
    expected = first | {
        "own:lab/photos (2)": ("lab/photos (2)", 6, str(folders["x"])),
        "own:lab/photos (3)": ("lab/photos (3)", 8, str(folders["y"])),
    }
    assert images_by_place() == expected
    printed = "".join(capsys.readouterr().out.split())
    assert f"lab/photos(2):isin{folders['x']};lab/photos:isin{folders['w']}" in printed
    for path in [*folders.values(), folders["y"] / ".." / "photos"]:
        evaluate_command.main([str(run), "--on", str(path)])
        assert images_by_place() == expected


def test_a_set_of_an_older_evaluation_without_its_place_keeps_its_name(tmp_path):
    images = as_set(some_images(3))._replace(name="own:lab/photos", title="lab/photos")
    older_figures = found_in("own:lab/photos", 3)
    places = places_in(older_figures)
    named = with_unique_name(images, str(tmp_path), places, print)
    assert (named.name, named.title) == ("own:lab/photos", "lab/photos")


def test_one_folder_under_two_names_is_one_set(tmp_path, finished, at_hand):
    write_images(tmp_path / "lab" / "photos", {"c": 2, "d": 2})
    photos = tmp_path / "lab" / "photos"
    on = [str(photos), str(photos / ".." / "photos")]
    with pytest.raises(UsageError, match="two sets have the same name"):
        evaluate_command.main([str(finished / "seed0"), "--on", *on])


def test_short_names_tell_runs_apart():
    names = short_names([Path("x/a/seed0"), Path("y/a/seed0"), Path("y/b/seed0")])
    assert list(names.values()) == ["x/a/seed0", "y/a/seed0", "y/b/seed0"]
    assert list(short_names([Path("/long/way/a/seed0")]).values()) == ["a/seed0"]
    assert list(short_names([Path("x"), Path("x"), Path("b/x")]).values()) == ["x", "b/x"]


MEAN, STD = np.array([0.3, 0.5, 0.6]), np.array([0.2, 0.25, 0.35])  # each channel has its own


def test_evaluation_mistakes_are_those_made_by_hand(finished, easy_dataset):
    classifier = load(finished / "seed0").with_normalization(MEAN, STD)
    images = easy_dataset.test.images.copy()
    images[..., 1] //= 2  # colours, or red and blue could not be told apart
    images[..., 2] //= 3
    mean, std, unit = classifier.mean, classifier.std, images / 255
    np.testing.assert_allclose((mean, std), (MEAN, STD), rtol=1e-6)
    model = create_model(classifier.config, len(classifier.class_names))
    by_hand = {
        "not normalised": unit,
        "normalised by 0.5": 2 * unit - 1,
        "pixels 0 to 255": (images - mean) / std,
        "red and blue swapped": (unit[..., [2, 1, 0]] - mean) / std,
        "shifted and flipped": (shifted_and_flipped(images) / 255 - mean) / std,
    }
    found = evaluation_mistakes(classifier)
    in_training_mode = {"training mode, 1 at once", "training mode, 512 at once"}
    assert set(found) == {*by_hand, *in_training_mode}

    @jax.jit
    def logits(pixels):
        return model.apply(classifier.variables, pixels, train=False)

    for name, pixels in by_hand.items():
        pixels = np.float32(pixels)
        error = 2 * error_by_condition(logits, pixels, 16 * 16 * 4)  # of the first dense layer
        assert_near(found[name](images), logits(pixels), error)


def test_normalising_is_a_mistake_if_training_did_not_normalise():
    """By the mean and deviation in its result."""
    seen = []

    def with_normalization(mean, std):
        seen.append((mean.tolist(), std.tolist()))
        return SimpleNamespace(logits=None)

    texts = {"channel_mean": MEAN.tolist(), "channel_std": STD.tolist()}
    plain = {"mean": np.zeros(3), "std": np.ones(3), "logits": None}
    plain["with_normalization"] = with_normalization
    found = evaluation_mistakes(SimpleNamespace(**plain, result=texts))
    assert "not normalised" not in found
    names = ["normalised all the same", "normalised by 0.5", "pixels 0 to 255"]
    assert list(found)[:3] == names
    assert seen[0] == (MEAN.tolist(), STD.tolist())
    assert "normalised all the same" not in evaluation_mistakes(SimpleNamespace(**plain, result={}))


def test_images_are_shifted_by_up_to_four_pixels_and_half_of_them_flipped():
    """Each is found among the 162 ways to shift it into black and to flip it."""
    images = some_images(40).images
    ways = []
    for image, changed in zip(images, shifted_and_flipped(images), strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)))
        [way] = [
            (down, right, flipped)
            for down in range(9)
            for right in range(9)
            for flipped in (False, True)
            if np.array_equal(
                padded[down : down + 32, right : right + 32][:, :: -1 if flipped else 1], changed
            )
        ]
        ways.append(way)
    down, right, flipped = (set(part) for part in zip(*ways, strict=True))
    assert len(down) > 5 and len(right) > 5
    assert flipped == {False, True}
    np.testing.assert_array_equal(shifted_and_flipped(images), shifted_and_flipped(images))


def test_mistakes_in_training_mode_take_one_image_or_512_at_once():
    """By a network that answers with the number of images in its batch."""
    classifier = SimpleNamespace(
        mean=MEAN,
        std=STD,
        result={},
        logits=None,
        with_normalization=lambda mean, std: SimpleNamespace(logits=None),
        training_logits=lambda images, key: np.full((len(images), 2), len(images), np.float32),
    )
    found, images = evaluation_mistakes(classifier), np.zeros((600, 1, 1, 3), np.uint8)
    for count in (1, 512):
        answers = found[f"training mode, {count} at once"](images)
        np.testing.assert_array_equal(answers, np.full((600, 2), count))


@pytest.mark.parametrize("count", [1100, 512, 3])
def test_each_image_gets_its_own_answer_in_training_mode_also_in_the_last_batch(count):
    """By a network that answers with the first pixel of each image."""
    images = np.zeros((count, 2, 2, 3), np.uint8)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = np.divmod(np.arange(count), 256)

    def training_logits(batch, key):
        return batch[:, 0, 0, :2].astype(np.float32)

    classifier = SimpleNamespace(training_logits=training_logits)
    answers = training_mode_logits(classifier, 512, images)
    np.testing.assert_array_equal(answers @ np.array([256, 1]), np.arange(count))


def test_the_accuracy_of_a_mistake_is_the_share_of_right_answers():
    """Answers that are no numbers are wrong ones, also those that name the first class."""
    images, labels = some_images(50)
    lost = np.full((50, 10), np.nan)
    wrongly = {"mirrored": lambda images: linear(images[:, :, ::-1]), "lost": lambda images: lost}
    lines = []
    found = evaluate_with_mistakes(linear, wrongly, Examples(images, labels), DATE, lines.append)
    right = {
        "clean": np.mean(linear(images).argmax(1) == labels),
        "mirrored": np.mean(linear(images[:, :, ::-1]).argmax(1) == labels),
    }
    assert right["clean"] != right["mirrored"]
    assert found == {
        "date": DATE,
        "images": 50,
        "clean": pytest.approx(right["clean"]),
        "accuracy": {"mirrored": pytest.approx(right["mirrored"]), "lost": 0.0},
    }
    assert lines == ["evaluation mistake: mirrored", "evaluation mistake: lost"]


def test_evaluating_mistakes_keeps_and_reports_their_accuracy(
    finished, easy_dataset, at_hand, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    run = shutil.copytree(finished / "seed0", tmp_path / "run")
    evaluate_command.main([str(run), "--on", "slips"])
    results = read_evaluation(RunFolder(run))["slips"]
    classifier = load(run)
    images, labels = easy_dataset.test
    clean = np.mean(classifier.logits(images).argmax(1) == labels)
    unscaled = evaluation_mistakes(classifier)["pixels 0 to 255"](images)
    assert results["clean"] == pytest.approx(clean)
    expected = np.mean(unscaled.argmax(1) == labels)
    assert results["accuracy"]["pixels 0 to 255"] == pytest.approx(expected)
    assert results["images"] == 40
    screen = capsys.readouterr().out
    for name, value in (("none", clean), ("pixels 0 to 255", expected)):
        assert re.search(rf"^ *{name} +{value:.2%} *$", screen, re.M)
    assert read_looks(RunFolder(run))[-1]["purpose"] == "evaluate --on slips"
    text = write_report(run).with_name("REPORT.md").read_text()
    assert f"| none | {clean:.2%} |\n" in text
    assert f"| pixels 0 to 255 | {expected:.2%} |" in text


def test_evaluating_exits_0_and_shows_the_accuracy(finished, tmp_path, monkeypatch, capfd):
    """On photos; the training images are not at hand."""
    write_images(tmp_path / "lab" / "photos", {"c": 3, "i": 5})
    run = finished / "seed1"
    (run / "evaluation.json").unlink(missing_ok=True)  # it may have photos of another test
    where = ("--on", tmp_path / "lab" / "photos", "--data-dir", tmp_path)
    monkeypatch.setenv("COLUMNS", "160")
    code = exit_code_of(lambda: evaluate_command.main([str(word) for word in (run, *where)]))
    output = capfd.readouterr()
    assert (code, output.err) == (0, "")
    photos = str(tmp_path / "lab" / "photos")
    images, labels = load_set(photos, None, NAMES, tmp_path, print).examples
    accuracy = np.mean(load(run).logits(images).argmax(1) == labels)
    lines = [line.split() for line in output.out.splitlines()]
    name = f"{finished.name}/seed1"
    assert [*(name, "lab/photos", "8"), f"{accuracy:.2%}"] in [line[:4] for line in lines]
    assert read_evaluation(RunFolder(run))["sets"]["own:lab/photos"]["accuracy"] == accuracy


def test_training_mode_takes_the_batchs_statistics():
    """By a network that subtracts the mean of its batch, whose answers NumPy has too."""

    class Centred(nn.Module):
        @nn.compact
        def __call__(self, x, train):
            return nn.BatchNorm(not train, use_scale=False, use_bias=False)(x.mean((1, 2)))

    # Their brightness differs, or their variance would be lost in rounding.
    images = some_images(5).images // np.arange(1, 6).reshape(5, 1, 1, 1).astype(np.uint8)
    program = SimpleNamespace(model=Centred(), product_dtype=None)
    x = images.mean((1, 2)) / 255
    variables = Centred().init(jax.random.key(0), np.float32(images), train=False)
    hp = SimpleNamespace(mean=np.zeros(3, np.float32), std=np.ones(3, np.float32))
    classifier = SimpleNamespace(
        training_logits=lambda pixels, key: np.asarray(
            _training_logits.__wrapped__(program, variables, hp, jnp.asarray(pixels), key)
        )
    )
    error = error_of_sum(32 * 32)  # of a mean over an image, of up to 1
    alone = training_mode_logits(classifier, 1, images)
    assert_near(alone, np.zeros((5, 3)), error / np.sqrt(1e-5))
    whole = (x - x.mean(0)) / np.sqrt(x.var(0) + 1e-5)
    # The variance is that of the squares less the square of the mean.
    assert_near(training_mode_logits(classifier, 512, images), whole, 4 * error / x.var(0))


def test_a_quick_look_replaces_nothing(finished, at_hand, tmp_path, capsys):
    run = shutil.copytree(finished / "seed0", tmp_path / "run")
    for images in ([], ["--images", "20"]):
        evaluate_command.main([str(run), "--on", "val", *images])
    found = read_evaluation(RunFolder(run))["sets"]["val"]
    result = json.loads((run / "result.json").read_text())
    assert found["accuracy"] == pytest.approx(result["val_accuracy"], abs=1e-6)
    all_of_it = found["images"]
    assert all_of_it > 20
    assert f"keeps the figures of {all_of_it:,} images" in " ".join(capsys.readouterr().out.split())


def test_a_look_through_a_runs_weights_counts(finished, at_hand, tmp_path):
    run = shutil.copytree(finished / "seed0", tmp_path / "run")
    before = len(read_looks(RunFolder(run)))
    evaluate_command.main([str(run / "weights.safetensors"), "--images", "20"])
    assert len(read_looks(RunFolder(run))) == before + 1


def test_figures_of_a_folder_from_which_images_were_removed_are_replaced(tmp_path):
    save_evaluation(tmp_path, found_in("own:photos", 30), None)
    cleaned = found_in("own:photos", 20)
    save_evaluation(tmp_path, cleaned, None, always_replace=True)
    found = read_evaluation(RunFolder(tmp_path))
    assert found["sets"]["own:photos"] == cleaned["sets"]["own:photos"]


@pytest.mark.parametrize("name", ["test", "photos", "../photos", "photos/."])
def test_folders_of_one_name_in_two_places_are_two_sets(tmp_path, name):
    found = {}
    for lab, count in (("lab1", 3), ("lab2", 5)):
        (tmp_path / lab / "deeper").mkdir(parents=True)
        place = tmp_path / lab / "deeper" if name.startswith("..") else tmp_path / lab
        write_images(place / name, {"a": count, "b": count})
        images = load_set(f"{place}/{name}", None, NAMES, tmp_path, print)
        found[images.name] = (images.title, len(images.examples.labels))
    last = Path(name).name
    assert found == {
        f"own:lab1/{last}": (f"lab1/{last}", 6),
        f"own:lab2/{last}": (f"lab2/{last}", 10),
    }


def test_files_of_one_name_in_two_places_and_tables_of_one_folder_are_sets_of_their_own(tmp_path):
    paths = []
    for lab in ("lab1", "lab2"):
        (tmp_path / lab).mkdir()
        paths.append(tmp_path / lab / "cells.npz")
        np.savez(paths[-1], x=np.zeros((2, 32, 32), np.uint8), y=[0, 1])
    for number in range(2):
        image = Image.fromarray(np.full((32, 32, 3), number, np.uint8))
        image.save(tmp_path / "lab1" / f"{number}.png")
    (tmp_path / "lab1" / "sure.csv").write_text("file,kind,sort\n0.png,a,b\n1.png,b,c\n")
    (tmp_path / "lab1" / "doubtful.csv").write_text("file,kind\n0.png,c\n1.png,d\n")
    tables = ("sure.csv:kind", "sure.csv:sort", "doubtful.csv")
    paths += [tmp_path / "lab1" / table for table in tables]
    names = [load_set(str(path), None, NAMES, tmp_path, print).name for path in paths]
    assert names == [
        "own:lab1/cells.npz",
        "own:lab2/cells.npz",
        "own:lab1/sure.csv:kind",
        "own:lab1/sure.csv:sort",
        "own:lab1/doubtful.csv",
    ]


@pytest.mark.parametrize(("split", "uses_test"), [("test", True), ("train", False)])
def test_photos_that_are_test_images_of_the_run_are_noticed(easy_dataset, split, uses_test):
    images, labels = getattr(easy_dataset, split)
    examples = Examples(np.concatenate([images[:1] // 2, images[-1:]]), labels[:2])
    assert contains_test_images(examples, easy_dataset) is uses_test


def test_a_use_of_test_images_in_a_folder_of_photos_is_recorded():
    run = LoadedRun("run", None, None, [], [], None, has_test_copies=True)
    look = evaluate_command._use_of_test_images(run, ["photos/"], DATE)
    assert look == {"date": DATE, "purpose": "evaluate --on photos/"}
    without_copies = run._replace(has_test_copies=False)
    assert evaluate_command._use_of_test_images(without_copies, ["photos/"], DATE) is None
