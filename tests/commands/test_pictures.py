"""Every option that names a picture: the suffix of the file is its format."""

import json
import re
import shutil

import numpy as np
import pytest
from conftest import ROOT, obeyed

from jaxcifar.commands import compare
from jaxcifar.commands.shared.output import draw_picture
from jaxcifar.commands.summary import parser
from jaxcifar.runs import image_sheets
from jaxcifar.runs.image_sheets import plot_predictions

STARTS = {".png": b"\x89PNG\r\n", ".svg": b"<?xml", ".pdf": b"%PDF-"}


def assert_is_of_its_format(file):
    content = file.read_bytes()
    assert content.startswith(STARTS[file.suffix])
    assert (b"<svg" in content) == (file.suffix == ".svg")


def test_help_names_the_formats_below():
    output = re.search(
        r"draw the network into FILE \(([^;]*);", " ".join(parser().format_help().split())
    )
    assert output[1].split(", ") == [*STARTS]


@pytest.mark.parametrize("suffix", STARTS)
def test_the_picture_of_a_network_has_the_format_of_its_suffix(tmp_path, suffix):
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
def test_the_picture_of_predictions_has_the_format_of_its_name(tmp_path, suffix):
    file = tmp_path / f"sheet{suffix}"
    images = np.zeros((1, 32, 32, 3), np.uint8)
    draw_picture("--sheet", file, plot_predictions, ["a.png"], images, ["cat"], [0.75])
    assert_is_of_its_format(file)


def test_the_picture_of_predictions_has_the_first_images_with_names_and_classes(monkeypatch):
    drawn = []
    monkeypatch.setattr(image_sheets, "_plot_image_sheet", lambda *drawing: drawn.append(drawing))
    for count in (2, 201):
        names = [f"photos/{number}.png" for number in range(count)]
        plot_predictions(names, np.arange(count), ["cat"] * count, [0.75] * count, "sheet.png")
    two, first_200 = drawn
    assert two[1:3] == (["0.png\ncat 75%", "1.png\ncat 75%"], "2 images")
    assert first_200[0].tolist() == list(range(200)) and len(first_200[1]) == 200
    assert first_200[2] == "The first 200 of 201 images"
