"""The report's section on what was found out about the winner after its run."""

import json
import re

import numpy as np
import pytest
from report.test_report import THREE_SEEDS, report, write_study

from jaxcifar.data.corruptions import CORRUPTIONS
from jaxcifar.runs.evaluation_file import BINS, record

DATE = "2026-01-02T03:04:05+00:00"
LOOK = {"date": DATE, "purpose": "evaluate --on test"}


def calibration(confidence, accuracy, ece):
    """Two bins, of 900 images and of 100, that come to these means."""
    bins = [{"images": 0, "confidence": 0.0, "accuracy": 0.0} for _ in range(BINS)]
    bins[12] = {"images": 900, "confidence": confidence + 0.02, "accuracy": accuracy + 0.01}
    bins[10] = {"images": 100, "confidence": confidence - 0.18, "accuracy": accuracy - 0.09}
    return {"loss": 0.5, "ece": ece, "bins": bins}


def figures(title, accuracy, confidence=0.87):
    return {
        "title": title,
        "date": DATE,
        "images": 1000,
        "accuracy": accuracy,
        "interval": [accuracy - 0.02, accuracy + 0.02],
        "accuracy_flip": accuracy + 0.005,
        "class_accuracy": {"cat": accuracy},
        "plain": calibration(confidence, accuracy, abs(confidence - accuracy)),
        "tempered": calibration(accuracy, accuracy, 0.0),
        "mistakes": [{"index": 3, "label": "cat", "predicted": "dog", "confidence": 0.99}],
    }


def found(**said):
    kinds = {kind: [0.8, 0.7, 0.6, 0.5, 0.41] for kind in CORRUPTIONS}
    kinds |= {"blur": [0.8, 0.8, 0.8, 0.8, 0.79], "noise": [0.5, 0.3, 0.1, 0.07, 0.03]}
    corruptions = {"date": DATE, "images": 1000, "clean": 0.81, "accuracy": kinds}
    sets = {"test": figures("CIFAR-10, test", 0.825), "own:x": figures("photos", 0.7)}
    return {"temperature": 1.5, "sets": sets, "corruptions": corruptions, **said}


@pytest.fixture
def study(tmp_path):
    """A study's folder, and that of its winner's best run."""
    return write_study(tmp_path, THREE_SEEDS), tmp_path / "fast" / "seed2"


def section(text):
    [body] = re.findall(
        r"^## \d+\. [^\n]*: what it knows, and other images$(.*?)^## ", text, re.M | re.S
    )
    return body


def test_it_tells_what_evaluate_found(study):
    folder, winner = study
    record(winner, found(), LOOK)
    text = report(folder, pictures=True)
    body = section(text)
    accuracies, errors = "82.50% (80.50 to 84.50) | 83.00%", "0.5000 | 4.50% | 0.5000 | 0.00%"
    assert f"| CIFAR-10, test | 1,000 | {accuracies} | {errors} |" in body
    assert "87.00% on average, and 82.50% are right: it is surer than it should be" in body
    assert "Dividing its logits by 1.5" in body
    assert "On photos its accuracy is -12.50 points from that on the test images" in body
    means = [0.2, 0.798, *[0.602] * 5]
    assert f"{100 * np.mean(means):.2f}% are left on average" in body
    assert "What harms most is noise (-61.00 points), what harms least blur (-1.20)" in body
    assert "| noise | 50.00% | 30.00% | 10.00% | 7.00% | 3.00% | 20.00% |" in body
    assert "the test images have been looked at again: once" in body
    assert "looked at once, after that, and again where it says so." in text
    pictures = re.findall(r"\]\((report/.*?\.svg)\)", body)
    assert len(pictures) == 2
    assert all((folder / picture).stat().st_size > 5000 for picture in pictures)


@pytest.mark.parametrize(
    ("confidence", "words"),
    [(0.75, "less sure than it could"), (0.826, "can be taken as they are")],
)
def test_the_verdict_follows_the_figures(study, confidence, words):
    sets = {"test": figures("CIFAR-10, test", 0.825, confidence)}
    record(study[1], found(sets=sets), None)
    body = section(report(study[0]))
    assert words in body
    assert "looked at" not in body


def test_nothing_found_is_nothing_said(study):
    record(study[0] / "raw" / "seed0", found(), None)  # not the winner
    text = report(study[0])
    assert "what it knows" not in text
    assert "looked at once, after that.\n" in text


@pytest.mark.parametrize("part", ["sets", "corruptions", "looks"])
def test_a_part_alone(study, part):
    if part == "looks":
        (study[1] / "test_looks.jsonl").write_text(json.dumps(LOOK) + "\n")
    else:
        record(study[1], {"sets": {}, part: found()[part]}, None)
    body = section(report(study[0]))
    assert ("| images |" in body) == (part == "sets")
    assert ("Corrupted test images" in body) == (part == "corruptions")
    assert "Dividing" not in body


@pytest.mark.parametrize("content", ["", "[1]", json.dumps({"sets": {"test": 3}})])
def test_a_damaged_file_is_named(study, content):
    (study[1] / "evaluation.json").write_text(content)
    assert "Not shown here: evaluation.json" in section(report(study[0]))


def test_text_from_the_file_is_text(study):
    evil = "<script>x</script> ![a](b.png) | **bold** $x$"
    kinds = {evil: [0.5] * 5, "b" * 900: [0.5] * 5}
    corruptions = {**found()["corruptions"], "accuracy": kinds}
    sets = {evil: figures(evil, 0.7), "test": figures("CIFAR-10, test", 0.8)}
    record(study[1], found(sets=sets, corruptions=corruptions), None)
    body = section(report(study[0], pictures=True))
    assert "<script" not in body.replace("\\<", "")
    assert "![a](b.png)" not in body
    assert "<script" not in (study[0] / "report.html").read_text()
