"""The notebook, run from end to end at a tiny size."""

import os
import re
import time

import pytest
from conftest import ROOT

nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebook")
nbformat = pytest.importorskip("nbformat")

COMMON = {"epochs": 2, "train_examples": 256, "batch_size": 32, "val_fraction": 0.01}
TINY = {"network": "cnn", **COMMON, "optimizer": "sgd", "arch_args": {"widths": (4,), "hidden": 8}}
ABLATION = "--arch cnn --epochs 1 --train-examples 256 --batch-size 32 --val-fraction 0.01"
ABLATION += " --optimizer sgd --arch-args widths=4, hidden=8 --rows both"
MOST_OUTPUTS = 30  # of a cell; it had 649 once, each of them a picture of a bar


class Client(nbclient.NotebookClient):
    """Also notes when an output was replaced."""

    def __init__(self, *arguments, **options):
        super().__init__(*arguments, **options)
        self.replaced = []

    def process_message(self, message, cell, index):
        if message["msg_type"] == "update_display_data":
            self.replaced.append((time.monotonic(), message["content"]["data"]["text/plain"]))
        return super().process_message(message, cell, index)


def run(cells, data_dir):
    """Run cells in a new kernel; returns the client."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(ROOT)}}
    client = Client(notebook, timeout=300, resources=resources)
    client.execute(env={**os.environ, "TFDS_DATA_DIR": data_dir})
    return client


def text_of(cells):
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def pictures_in(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


def test_from_end_to_end_and_once_more(shapes_dir, tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "colab_tpu.ipynb", as_version=4)
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    settings = cells["settings"]
    for name, value in {
        "DATASET": "shapes10",
        "RUNS": str(tmp_path),
        "OWN": {**COMMON, "arch_args": {"width": 4}},
        "CNN": TINY,
        "RESNET18": TINY,  # a run that is finished, by the link below
        "ABLATION": ABLATION,
    }.items():
        settings.source, count = re.subn(
            rf"(?m)^{name} = .*", f"{name} = {value!r}", settings.source
        )
        assert count == 1
    (tmp_path / "resnet18").symlink_to(tmp_path / "cnn")
    client = run(list(cells.values()), shapes_dir)
    text = text_of(cells.values())
    assert text.count("test accuracy") == 3
    assert text.count("This run is finished") == 1
    assert "BatchNorm" in text_of([cells["own"]])  # of its layers
    shown = {"data": 1, "predictions": 1, "mistakes": 1, "cnn": 2, "resnet18": 2}
    assert {name: count for name in cells if (count := pictures_in(cells[name]))} == shown
    assert {name for name in cells if len(cells[name].outputs) > MOST_OUTPUTS} == set()
    assert "epoch" in "".join(said for _, said in client.replaced)
    assert client.replaced[-1][1] == ""  # nothing stays of it
    pages = [output.get("data", {}).get("text/html", "") for output in cells["ablation"].outputs]
    assert "These are not CIFAR-10 results" in "".join(pages)
    again = run([settings, cells["ablation"]], shapes_dir)
    assert "0 runs done now" in text_of(again.nb.cells)


def test_each_cell_is_told_of_before():
    """What it shows, and how long that takes."""
    notebook = nbformat.read(ROOT / "notebooks" / "colab_tpu.ipynb", as_version=4)
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", cell.id
            assert re.search(r"seconds?|minutes|hours", before.source), cell.id
