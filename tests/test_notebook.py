"""The notebook, run from end to end at a tiny size."""

import os
import re

import pytest
from conftest import ROOT
from test_run import SMALL

nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebook")
nbformat = pytest.importorskip("nbformat")

TINY = " ".join((*SMALL, "--arch-args", "widths=4,", "hidden=8"))
# Two convolutions of 3x3, normalised; two dense layers, the first one normalised.
PARAMETERS = (27 + 1 + 2) * 4 + (36 + 1 + 2) * 4 + (16 * 16 * 4 + 1 + 2) * 8 + (8 + 1) * 10


def run(notebook, data_dir, cells):
    """Run some cells by their ids, each time in a new kernel; returns all that was shown."""
    notebook = nbformat.from_dict(notebook)
    notebook.cells = [cell for name in cells for cell in notebook.cells if cell.id == name]
    client = nbclient.NotebookClient(
        notebook, timeout=300, resources={"metadata": {"path": str(ROOT)}}
    )
    client.execute(env={**os.environ, "TFDS_DATA_DIR": data_dir})
    return [output for cell in notebook.cells for output in cell.outputs]


def test_from_end_to_end_and_once_more(shapes_dir, tmp_path):
    notebook = nbformat.read(ROOT / "notebooks" / "colab_tpu.ipynb", as_version=4)
    nbformat.validate(notebook)
    first = next(cell for cell in notebook.cells if cell.id == "settings")
    for name, value in {
        "DATASET": "shapes10",
        "RUNS": str(tmp_path),
        "CNN": TINY,
        "RESNET18": TINY,  # the last --arch counts: a run that is finished, by the link below
        "ABLATION": f"{TINY} --rows both",
    }.items():
        first.source, count = re.subn(rf"(?m)^{name} = .*", f"{name} = {value!r}", first.source)
        assert count == 1
    (tmp_path / "resnet18").symlink_to(tmp_path / "cnn")
    code = [cell.id for cell in notebook.cells if cell.cell_type == "code"]
    shown = run(notebook, shapes_dir, code)
    text = "".join(output.get("text", "") for output in shown)
    assert text.count("test accuracy") == 2
    assert text.count("This run is finished") == 1
    assert text.count(f"Total params: {PARAMETERS:,}") == 2
    images = [output for output in shown if "image/png" in output.get("data", {})]
    assert len(images) == 4
    pages = [output.data.get("text/html") for output in shown if "data" in output]
    [report] = filter(None, pages)
    assert "These are not CIFAR-10 results" in report
    again = run(notebook, shapes_dir, ["settings", "ablation"])
    text = "".join(output.get("text", "") for output in again)
    assert "0 runs done now" in text
