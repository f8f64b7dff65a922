"""Every option that names a picture: the suffix of the file is its format."""

import json
import re
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import ROOT, obeyed

from jaxcifar.commands import compare
from jaxcifar.commands.summary import parser
from jaxcifar.trained.photos import draw_sheet

STARTS = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def assert_is_of_its_format(file):
    content = file.read_bytes()
    assert content.startswith(STARTS[file.suffix])
    assert (b"<svg" in content) == (file.suffix == ".svg")


def test_help_names_the_formats_below():
    told = re.search(
        r"draw the network into FILE \(([^;]*);", " ".join(parser().format_help().split())
    )
    assert told[1].split(", ") == [*STARTS]


@pytest.mark.parametrize("suffix", STARTS)
def test_the_picture_of_a_network(tmp_path, suffix):
    file = tmp_path / f"net{suffix}"
    done = obeyed("summary", "--arch", "cnn", "--plot", str(file))
    assert done.returncode == 0, done.stderr
    assert_is_of_its_format(file)


@pytest.mark.parametrize("suffix", STARTS)
def test_the_picture_of_runs_side_by_side(tmp_path, suffix):
    file = tmp_path / f"runs{suffix}"
    runs = [tmp_path / name for name in ("cnn_20_epochs", "cnn_strong_100_epochs")]
    for run in runs:
        shutil.copytree(ROOT / "docs" / "measurements" / "results" / run.name, run)
        config = json.loads((run / "result.json").read_text())["config"]
        (run / "config.json").write_text(json.dumps(config))
    compare.main([*map(str, runs), "--plot", str(file)])
    assert_is_of_its_format(file)


@pytest.mark.parametrize("suffix", STARTS)
def test_the_picture_of_predictions(tmp_path, suffix):
    file = tmp_path / f"sheet{suffix}"
    pictures = SimpleNamespace(names=["a.png"], pixels=np.zeros((1, 32, 32, 3), np.uint8))
    predictions = SimpleNamespace(labels=["cat"], probabilities=np.float32([[0.75, 0.25]]))
    draw_sheet(file, pictures, predictions)
    assert_is_of_its_format(file)
