"""The tables and lines that `evaluate` shows, by figures of two made-up runs that all differ."""

import io
import re

import numpy as np
import pytest
from rich.console import Console

from jaxcifar.commands import evaluate
from jaxcifar.commands.shared.evaluated import show_evaluations
from jaxcifar.errors import UsageError
from jaxcifar.evaluation.calibration import fitted_temperature
from jaxcifar.runs.evaluation_file import BINS

DATE = "2026-01-02T03:04:05+00:00"
EMPTY = [{"images": 0, "confidence": 0.0, "accuracy": 0.0}] * BINS


def figures(title, accuracy, classes, mistakes=()):
    """Figures of a set of images; each is a number of its own."""
    return {
        "title": title,
        "date": DATE,
        "images": round(10_000 * accuracy),
        "accuracy": accuracy,
        "interval": [accuracy - 0.021, accuracy + 0.013],
        "accuracy_flip": accuracy + 0.007,
        "class_accuracy": classes,
        "plain": {"loss": 1.7 - accuracy, "ece": accuracy / 10, "bins": EMPTY},
        "tempered": {"loss": 1.5 - accuracy, "ece": accuracy / 20, "bins": EMPTY},
        "mistakes": list(mistakes),
    }


def mistake(index, label, predicted, confidence):
    return {"index": index, "label": label, "predicted": predicted, "confidence": confidence}


MISTAKES = [mistake(1000 + i, f"ant{i}", f"bee{i}", 0.99 - i / 100) for i in range(7)]
ONE = {
    "temperature": 1.2344,
    "sets": {
        "test": figures("test images", 0.81, {"ant": 0.9, "bee": 0.72}, MISTAKES),
        "own:x": figures("photos", 0.33, {"ant": 0.0, "bee": 1.0}),
    },
    "slips": {
        "date": DATE,
        "images": 900,
        "clean": 0.82,
        "accuracy": {"not normalised": 0.41, "red and blue swapped": 0.62},
    },
}
TWO = {
    "temperature": 0.8764,
    "sets": {"test": figures("test images", 0.64, {"ant": 0.55, "cow": 0.73})},
    "slips": {
        "date": DATE,
        "images": 800,
        "clean": 0.66,
        "accuracy": {"red and blue swapped": 0.53, "normalised all the same": 0.31},
    },
}
LOOKS = [{"date": "2025-01-01", "purpose": "first"}, {"date": "2025-02-02", "purpose": "second"}]


def shown(evaluations, looks=()):
    screen = io.StringIO()
    show_evaluations(Console(file=screen, width=200), evaluations, dict(looks))
    return screen.getvalue()


@pytest.fixture(scope="module")
def output():
    return shown({"one": ONE, "two": TWO}, [("one", LOOKS), ("two", [])])


def table(output, title):
    """The lines of a table, each a list of its cells; empty cells are left out."""
    lines = [line.strip() for line in output.splitlines()]
    rows = []
    for line in lines[lines.index(title) + 1 :]:
        if not line and len(rows) > 2:
            break
        if line and not line.startswith("─"):
            rows.append(re.split(r" {2,}", line))
    return rows


def test_the_accuracy_of_each_run_on_each_set_is_shown(output):
    assert [line for line in table(output, "Accuracy") if line[0] in ("one", "two")] == [
        ["one", "test images", "8,100", "81.00%", "78.90-82.30", "81.70%"],
        ["one", "photos", "3,300", "33.00%", "30.90-34.30", "33.70%"],
        ["two", "test images", "6,400", "64.00%", "61.90-65.30", "64.70%"],
    ]


def test_the_calibration_of_each_run_on_each_set_is_shown(output):
    assert [line for line in table(output, "Calibration") if line[0] in ("one", "two")] == [
        ["one", "test images", "0.8900", "8.10%", "0.6900", "4.05%"],
        ["one", "photos", "1.3700", "3.30%", "1.1700", "1.65%"],
        ["two", "test images", "1.0600", "6.40%", "0.8600", "3.20%"],
    ]


def test_the_accuracy_by_class_has_a_column_for_each_run_and_set(output):
    head, *lines = table(output, "Accuracy by class")
    assert head == ["class", "one: test images", "one: photos", "two: test images"]
    lines = [line for line in lines if line[0] in ("ant", "bee", "cow")]
    assert lines == [
        ["ant", "90.00%", "0.00%", "55.00%"],
        ["bee", "72.00%", "100.00%"],
        ["cow", "73.00%"],
    ]
    [cow] = [line for line in output.splitlines() if line.strip().startswith("cow ")]
    [ant] = [line for line in output.splitlines() if line.strip().startswith("ant ")]
    assert cow.index("73.00%") == ant.index("55.00%")  # in the column of the second run


def test_a_single_run_is_not_named_above_its_columns():
    head, *_ = table(shown({"one": ONE}), "Accuracy by class")
    assert head == ["class", "test images", "photos"]


def test_a_set_whose_images_are_all_taken_for_one_class_has_a_line(output):
    collapsed = [line for line in output.splitlines() if "collapsed" in line]
    assert collapsed == ["one, photos: collapsed, every image is classified as bee"]


def test_the_five_surest_mistakes_are_listed_with_their_images(output):
    after = output.partition("one, test images: most confident mistakes\n")[2].splitlines()
    assert after[:5] == [
        f"  image 1,00{i} is ant{i}, classified as bee{i} ({99 - i}.00%)" for i in range(5)
    ]
    assert "ant5" not in output
    assert output.count("most confident mistakes") == 1


def test_the_slips_of_each_run_stand_below_its_accuracy_without_a_slip(output):
    title = "Accuracy on 800 test images with a mistake in evaluating mistake one two"
    assert title in " ".join(output.split())  # its lines are folded to the width of the table
    lines = [re.split(r" {2,}", line.strip()) for line in output.splitlines()]
    names = ("none", "not normalised", "red and blue swapped", "normalised all the same")
    assert [line for line in lines if line[0] in names] == [
        ["none", "82.00%", "66.00%"],
        ["not normalised", "41.00%"],
        ["red and blue swapped", "62.00%", "53.00%"],
        ["normalised all the same", "31.00%"],
    ]


def test_each_run_has_a_line_with_its_temperature(output):
    lines = [line for line in output.splitlines() if ": temperature " in line]
    assert lines == ["one: temperature 1.234", "two: temperature 0.876"]


@pytest.mark.parametrize("runs", [[], ["a.safetensors"]])
def test_a_run_after_on_gets_advice(runs):
    words = [*runs, "--on", "test", "b.safetensors"]
    with pytest.raises(UsageError, match=r"safetensors: is a run, .*; write runs before --on"):
        evaluate.main(words)
    with pytest.raises(UsageError, match="no RUN is given; write runs before --on"):
        evaluate.main(["--on", "test"])


def test_looks_at_the_test_images_are_counted_with_the_runs_own_and_the_last_is_named(output):
    lines = [line for line in output.splitlines() if "were used" in line]
    assert lines == [
        "one: the test images were used 3 times: when the run ended, and by evaluate, last on "
        "2025-02-02 (second)"
    ]


def test_a_temperature_at_a_limit_is_not_shown_as_the_best():
    """All validation images are right, so the loss falls with the temperature without end."""
    logits, labels = np.eye(3)[[0, 1, 2]], np.arange(3)
    line = shown({"one": {**ONE, "temperature": fitted_temperature(logits, labels)}})
    assert "one: temperature 0.010 is a limit, so loss/T and ECE/T say nothing" in line
    assert "limit" not in shown({"one": ONE})
