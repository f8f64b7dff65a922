"""What docs/your_own.md says works as it stands there."""

import json
import re

import pytest
from conftest import ROOT, finish, start_program

DOCS = ROOT / "docs" / "your_own.md"
MOST_LINES = 15


@pytest.fixture(scope="module")
def done(shapes_dir, tmp_path_factory):
    folder = tmp_path_factory.mktemp("own")
    program = start_program("your_own", DOCS, folder, shapes_dir)
    return folder, finish(program, timeout=900)  # it trains a dozen small networks


def test_snippets_are_short():
    for snippet in re.findall(
        r"^```(?:python|toml)\n# \S+\n(.*?)^```$", DOCS.read_text(), re.S | re.M
    ):
        assert len(snippet.splitlines()) <= MOST_LINES


def results(folder):
    files = sorted((folder / "checkpoints").glob("*/result.json"))
    return [json.loads(file.read_text()) for file in files]


def test_each_command_leaves_a_run_that_says_what_it_was(done):
    folder, _ = done
    runs = results(folder)
    configs = [run["config"] for run in runs]
    assert {config["augmentation"] for config in configs} == {"none", "noise.py:noise"}
    assert "rule.py:lion" in {config["optimizer"] for config in configs}
    assert "triangle.py:triangle" in {config["schedule"] for config in configs}
    titles = {run["dataset"]: run["class_names"] for run in runs}
    assert titles["greys.npz"] == ["dark", "grey", "light"]
    assert titles["images"] == ["cat", "dog"]
    for config in configs:
        if config["arch"] == "net.py:Net":
            assert len(config["sources"]["arch"]) == 64


def test_the_users_metrics_are_measured(done):
    folder, shown = done
    result = json.loads((folder / "checkpoints" / "measured" / "result.json").read_text())
    assert 0 <= result["test_mean_rank"] <= 9
    assert result["test_worst_recall"] == min(result["class_accuracy"].values())
    assert re.search(r"mean rank +\d\.?\d* classes", shown)


def test_the_observer_logs_the_run(done):
    [log] = done[0].rglob("log.txt")
    result = json.loads((log.parent / "result.json").read_text())
    row = json.loads((log.parent / "metrics.jsonl").read_text())
    assert log.read_text().splitlines() == [
        f"epoch 1: loss {row['train_loss']:.3f}",
        f"test accuracy {result['test_accuracy']:.2%}",
    ]


def test_the_picture_and_the_ablation_are_there(done):
    folder, _ = done
    assert (folder / "net.png").read_bytes().startswith(b"\x89PNG")
    report = (folder / "checkpoints" / "depth" / "REPORT.md").read_text()
    assert "| row | validation | test | depth |" in report


def test_the_script_trains_and_predicts(done):
    folder, shown = done
    accuracy, labels = shown.rpartition("SCRIPT")[2].strip().splitlines()[-2:]
    saved = json.loads((folder / "checkpoints" / "greys" / "result.json").read_text())
    assert float(accuracy) == saved["test_accuracy"] > 0.6  # of three classes
    assert set(re.findall(r"\w+", labels)) <= {"dark", "grey", "light"}
