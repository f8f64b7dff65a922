"""The notebook, run from end to end at a tiny size."""

import html.parser
import importlib.metadata
import os
import re
import shutil
import subprocess
import time
import zipfile

import pytest
from conftest import ROOT
from PIL import Image

nbclient = pytest.importorskip("nbclient", reason="nbclient runs the notebook")
nbformat = pytest.importorskip("nbformat")

COMMON = {"epochs": 2, "train_examples": 256, "batch_size": 32, "val_fraction": 0.01}
TINY = {"network": "cnn", **COMMON, "optimizer": "sgd", "arch_args": {"widths": (4,), "hidden": 8}}
ABLATION = "--arch cnn --epochs 1 --train-examples 256 --batch-size 32 --val-fraction 0.01"
ABLATION += " --optimizer sgd --arch-args widths=4, hidden=8 --rows both"
NOTEBOOK = ROOT / "notebooks" / "colab_tpu.ipynb"
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


def run(cells, data_dir="", folder=ROOT):
    """Run cells in a new kernel that starts in a folder; returns the client."""
    notebook = nbformat.v4.new_notebook(cells=cells)
    resources = {"metadata": {"path": str(folder)}}
    client = Client(notebook, timeout=300, resources=resources)
    client.execute(env={**os.environ, "TFDS_DATA_DIR": data_dir})
    return client


def text_of(cells):
    return "".join(output.get("text", "") for cell in cells for output in cell.outputs)


def pictures_in(cell):
    return sum("image/png" in output.get("data", {}) for output in cell.outputs)


class Frames(html.parser.HTMLParser):
    """Collects the pages in the frames of an output."""

    def __init__(self, cell):
        super().__init__()
        self.pages = []
        for output in cell.outputs:
            self.feed(output.get("data", {}).get("text/html", ""))

    def handle_starttag(self, tag, attributes):
        if tag == "iframe":
            self.pages.append(dict(attributes)["srcdoc"])


def with_values(cell, values):
    """Set variables in the source of a cell; each is there once."""
    for name, value in values.items():
        cell.source, count = re.subn(rf"(?m)^{name} = .*", f"{name} = {value!r}", cell.source)
        assert count == 1, name


def test_the_notebook_runs_from_start_to_end_and_once_more(shapes_dir, tmp_path):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = {cell.id: cell for cell in notebook.cells if cell.cell_type == "code"}
    settings = cells["settings"]
    values = {
        "DATASET": "shapes10",
        "RUNS": str(tmp_path),
        "OWN": {**COMMON, "arch_args": {"width": 4}},
        "CNN": TINY,
        "RESNET18": TINY,  # a run that is finished, by the link below
        "ABLATION": ABLATION,
    }
    with_values(settings, values)
    photo = tmp_path / "photo.png"
    Image.new("RGB", (60, 40), (200, 30, 30)).save(photo)
    with_values(cells["photo"], {"PHOTO": str(photo)})
    (tmp_path / "resnet18").symlink_to(tmp_path / "cnn")
    client = run(list(cells.values()), shapes_dir)
    text = text_of(cells.values())
    assert text.count("test accuracy") == 3
    assert text.count("This run is finished") == 1
    assert "BatchNorm" in text_of([cells["own"]])  # of its layers
    with_a_picture = ("data", "own", "predictions", "photo", "cnn", "mistakes", "resnet18")
    shown = {name: count for name in cells if (count := pictures_in(cells[name]))}
    assert shown == dict.fromkeys(with_a_picture, 1)
    assert {name for name in cells if len(cells[name].outputs) > MOST_OUTPUTS} == set()
    lines = [output for _, output in client.replaced if not output.startswith("curves")]
    assert "epoch" in "".join(lines)
    assert lines[-1] == ""  # nothing stays of it
    for name in ("own", "cnn", "resnet18"):
        [curves] = [
            o.data["text/plain"] for o in cells[name].outputs if "image/png" in o.get("data", {})
        ]
        assert curves.startswith("curves: epoch 2 of 2, training accuracy")
    [page] = Frames(cells["report"]).pages
    base = '<base href="about:srcdoc">'  # without it a link to a section leaves the frame
    assert page.count(base) == 1
    assert page.replace(base, "") == (tmp_path / "mine" / "report.html").read_text()
    [page] = Frames(cells["ablation"]).pages
    assert "These are not CIFAR-10 results" in page
    again = run([settings, cells["report"], cells["ablation"]], shapes_dir)
    assert "0 runs done now" in text_of(again.nb.cells)


def test_each_cell_is_explained_before_it_runs():
    """What it shows, and how long that takes."""
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for before, cell in zip(notebook.cells, notebook.cells[1:], strict=False):
        if cell.cell_type == "code":
            assert before.cell_type == "markdown", cell.id
            assert re.search(r"seconds?|minutes|hours", before.source), cell.id


def the_first_cell(**values):
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    [cell] = [cell for cell in notebook.cells if cell.id == "settings"]
    with_values(cell, values)
    return cell


# As on a new machine: this package is not installed, others are. pip is asked, and does nothing.
NEW_MACHINE = f"""
import importlib.metadata, pathlib, sys
sys.path = [path for path in sys.path if path != {str(ROOT)!r}]
sys.modules["jaxcifar"] = None  # cannot be found
everything = importlib.metadata.distributions
importlib.metadata.distributions = lambda: [d for d in everything() if d.name != "jaxcifar"]

def pip(line):
    del sys.modules["jaxcifar"]
    print("pip", line)
    file = line.split("--constraint")[1].split('"')[1]
    print(pathlib.Path(file).read_text())

get_ipython().register_magic_function(pip)
"""
WHERE = "print(jaxcifar.__file__)"


def on_a_new_machine(folder, **values):
    """Run the first cell in a folder; returns the text of its outputs."""
    sources = [nbformat.v4.new_code_cell(source) for source in (NEW_MACHINE, WHERE)]
    cells = [sources[0], the_first_cell(**values), sources[1]]
    run(cells, folder=folder)
    return text_of(cells)


def archived(folder):
    """Put an archive of the project into a folder, as a user uploads it."""
    with zipfile.ZipFile(folder / "jaxcifar-main.zip", "w") as archive:
        for path in [ROOT / "pyproject.toml", *(ROOT / "experiments").glob("*.py")]:
            archive.write(path, "jaxcifar-main" / path.relative_to(ROOT))
        for path in (ROOT / "jaxcifar").rglob("*.py"):
            archive.write(path, "jaxcifar-main" / path.relative_to(ROOT))
    return folder / "jaxcifar-main" / "jaxcifar-main" / "jaxcifar" / "__init__.py"


def test_uploaded_code_is_used_and_the_machines_jax_stays(tmp_path):
    package = archived(tmp_path)
    output = on_a_new_machine(tmp_path)
    assert str(package) in output.splitlines()
    assert "--editable ." in output
    for name in ("jax", "jaxlib", "numpy"):
        assert f"{name}=={importlib.metadata.version(name)}" in output.splitlines()
    assert re.search(r"jaxcifar \S+ with jax \S+ on .+", output)


@pytest.mark.skipif(not shutil.which("git"), reason="git is not installed")
def test_the_address_is_cloned(tmp_path):
    origin, work = tmp_path / "origin", tmp_path / "work"
    origin.mkdir()
    work.mkdir()
    archived(origin)
    shutil.unpack_archive(origin / "jaxcifar-main.zip", origin)
    source = origin / "jaxcifar-main"
    user = ("-c", "user.name=A", "-c", "user.email=a@example.org")
    for words in (("init", "--quiet"), ("add", "."), (*user, "commit", "--quiet", "-m", "all")):
        subprocess.run(["git", *words], cwd=source, check=True)
    output = on_a_new_machine(work, ADDRESS=source.as_uri())
    assert str(work / "jaxcifar" / "jaxcifar" / "__init__.py") in output.splitlines()


def test_without_code_the_cell_says_how_to_get_it(tmp_path):
    with pytest.raises(nbclient.exceptions.CellExecutionError) as stopped:
        on_a_new_machine(tmp_path)
    assert "Upload jaxcifar.zip under Files" in str(stopped.value)
    assert "USE_DRIVE = True" in str(stopped.value)
