"""Accuracy on wrongly normalised test images: by older results, or by what evaluating found."""

import json
import shlex

import pytest
from report.test_report import THREE_SEEDS, report, write_study

from jaxcifar.runs.evaluation_file import save_evaluation

ROWS = {"raw": THREE_SEEDS["raw"][:2], "norm": THREE_SEEDS["norm"]}


@pytest.fixture
def study(tmp_path):
    """A study whose results say nothing of wrongly normalised images."""
    folder = write_study(tmp_path / "the study", ROWS)
    for file in folder.rglob("result.json"):
        result = json.loads(file.read_text())
        del result["test_accuracy_mismatched"]
        file.write_text(json.dumps(result))
    return folder


def evaluate(run, slip, accuracy):
    """As `evaluate --on slips` leaves it."""
    accuracies = {slip: accuracy, "pixels 0 to 255": 0.1}
    slips = {"date": "now", "images": 2000, "clean": 0.7, "accuracy": accuracies}
    save_evaluation(run, {"sets": {}, "slips": slips}, None)


def section(text):
    return text.partition(". Images normalised at the wrong moment\n")[2].partition("\n## ")[0]


def test_the_report_says_how_to_measure_it(study):
    text = report(study.parent)
    output = section(text)
    assert "This has not been measured for all of these rows." in output
    [command] = [line for line in output.splitlines() if line.startswith("jaxcifar ")]
    words = shlex.split(command)
    runs = ["the study/raw/seed0", "the study/raw/seed1"]  # not of rows trained with normalisation
    assert words == ["jaxcifar", "evaluate", *runs, "--on", "slips"]
    assert all((study.parent / run / "result.json").exists() for run in runs)
    assert "That explains" not in text and "| test | mismatched |" not in text
    assert "Were the test images of the reference normalised" not in text


def test_one_evaluated_seed_of_two_is_not_enough(study):
    evaluate(study / "raw" / "seed0", "normalised all the same", 0.22)
    assert "This has not been measured" in section(report(study))
    assert "jaxcifar evaluate raw/seed0 raw/seed1 --on slips" in section(report(study))


def test_what_evaluating_found_is_reported(study):
    evaluate(study / "raw" / "seed0", "normalised all the same", 0.22)
    evaluate(study / "raw" / "seed1", "normalised all the same", 0.20)
    evaluate(study / "norm" / "seed0", "not normalised", 0.31)
    text = report(study)
    assert "has not been measured" not in text
    assert "That explains them" in section(text)
    assert "| raw | 71.00% | 21.00% | 20.00% |" in section(text)
    rows = text.partition(". All rows\n")[2]
    assert "| test | mismatched | reference |" in rows
    assert "| raw | 72.00 ± 1.41% | 71.00 ± 1.41% | 21.00 ± 1.41% |" in rows
    assert "| norm | 82.00 ± 1.00% | 81.00 ± 1.00% | – |" in rows  # of one seed of three


def test_older_results_are_reported_as_they_are(tmp_path):
    text = report(write_study(tmp_path / "s", ROWS))
    assert "| raw | 71.00% | 20.00% | 20.00% |" in section(text)
    assert "has not been measured" not in text


def test_an_evaluation_that_can_not_be_read_counts_as_none(study):
    for seed in (0, 1):
        (study / "raw" / f"seed{seed}" / "evaluation.json").write_text("[]")
    assert "has not been measured" in section(report(study))
