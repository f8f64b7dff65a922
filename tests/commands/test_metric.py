"""`--metric FILE.py:NAME` of the commands that measure."""

import json

import pytest
from conftest import assert_one_line_error, obeyed

SMALL = ("--arch", "tests/own/net.py:Net", "--dataset", "shapes10")
SMALL += ("--train-examples", "64", "--batch-size", "32", "--val-fraction", "0.02", "--epochs", "1")
FILE = """
from jaxcifar import Metric

mean_label = Metric("mean_label", "mean label", "", False, per_image=lambda logits, labels: labels)


def one_number(logits, labels):
    return logits.sum()
"""
STUDY = '[config]\narch = "cnn"\n[rows]\nonly = { learning_rate = 0.1 }\n'


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    (folder / "mine.py").write_text(FILE)
    (folder / "study.toml").write_text(STUDY)
    return folder


@pytest.fixture(scope="module")
def study(folder, shapes_dir):
    """A study of one run with a metric, and what was shown."""
    words = ("--study", f"{folder}/study.toml", "--data-dir", shapes_dir, "--out", f"{folder}/rows")
    done = obeyed("ablation", *SMALL, *words, "--metric", f"{folder}/mine.py:mean_label")
    assert done.returncode == 0, done.stderr
    return folder / "rows", done.stdout


def test_a_study_measures_the_users_metric(study):
    path, shown = study
    run = path / "only" / "seed0"
    assert json.loads((run / "result.json").read_text())["test_mean_label"] == 4.5
    [row] = map(json.loads, (run / "metrics.jsonl").read_text().splitlines())
    assert row["val_mean_label"] == 4.5
    assert "  mean label 4.5" in shown
    assert "| mean label ↓ |" in (path / "REPORT.md").read_text()


def test_a_finished_run_is_measured_by_evaluating(study, folder, shapes_dir):
    run = study[0] / "only" / "seed0"
    words = ("--metric", f"{folder}/mine.py:mean_label", "--data-dir", shapes_dir, "--on", "val")
    done = obeyed("evaluate", str(run), *words)
    assert done.returncode == 0, done.stderr
    found = json.loads((run / "evaluation.json").read_text())["sets"]["val"]["metrics"]
    assert found[-1]["title"] == "mean label" and found[-1]["value"] == 4.5
    assert "mean label" in done.stdout


@pytest.mark.parametrize("command", ["run", "ablation"])
def test_a_metric_that_can_not_be_used_stops_before_training(command, folder, shapes_dir, tmp_path):
    where = {"run": ("--run-dir",), "ablation": ("--study", f"{folder}/study.toml", "--out")}
    words = (*SMALL, "--data-dir", shapes_dir, *where[command], str(tmp_path / "x"))
    name = f"{folder}/mine.py:one_number"
    done = obeyed(command, *words, "--metric", name)
    assert_one_line_error(done, 2, f"--metric {name}: returns float32[] for logits [30, 10] and")
    assert not list(tmp_path.rglob("config.json"))


@pytest.mark.parametrize("command", ["run", "ablation", "evaluate"])
def test_a_metric_that_is_not_there_is_an_error(command, study, shapes_dir, tmp_path):
    words = {
        "run": (*SMALL, "--run-dir", str(tmp_path / "x")),
        "ablation": (*SMALL, "--out", str(tmp_path / "x")),
        "evaluate": (str(study[0] / "only" / "seed0"),),
    }
    done = obeyed(command, *words[command], "--data-dir", shapes_dir, "--metric", "gone.py:f")
    assert_one_line_error(done, 2, "--metric gone.py:f: there is no such file as gone.py")
