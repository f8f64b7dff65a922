"""The curves in a notebook while a run trains: the numbers of its rows, one picture, replaced."""

import base64
import io
import sys
from types import SimpleNamespace

import numpy as np
import pytest
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from PIL import Image
from rich.console import Console
from runs.test_fit import CONFIG, rows

import jaxcifar
from jaxcifar.errors import UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs import live_curves
from jaxcifar.runs.fit import fit
from jaxcifar.runs.live_curves import LiveCurves, draw_curves
from jaxcifar.runs.observers import ObservedRun, create_observers, find_factories
from jaxcifar.runs.task import Task

pytest.importorskip("IPython.display", reason="IPython shows pictures in notebooks")
pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")


class Notebook:
    """In place of IPython: keeps what is shown, and what replaces it."""

    def __init__(self):
        self.shown, self.replaced = [], []

    def display(self, content, raw, display_id):
        assert raw
        assert display_id is True
        self.shown.append(content)
        return SimpleNamespace(update=self.update)

    def update(self, content, raw):
        assert raw
        self.replaced.append(content)

    @property
    def captions(self):
        return [content["text/plain"] for content in (*self.shown, *self.replaced)]


@pytest.fixture
def notebook(monkeypatch):
    shown = Notebook()
    monkeypatch.setattr(live_curves, "_runs_in_ipython", lambda: True)
    monkeypatch.setattr("IPython.display.display", shown.display)
    return shown


@pytest.fixture
def hours(monkeypatch):
    """A clock that goes on an hour each time it is read, so that every epoch is long."""
    times = iter(range(0, 10**9, 3600))
    clock = SimpleNamespace(monotonic=lambda: next(times))
    monkeypatch.setattr(live_curves, "time", clock)


def train(path, dataset, **options):
    observers = create_observers(find_factories([LiveCurves]))
    task = Task(CONFIG, path, observers=observers)
    return fit(task, lambda: dataset, Console(file=io.StringIO()), **options)


def caption(row):
    return (
        f"curves: epoch {row['epoch']} of 3, training accuracy {row['train_accuracy']:.2%}, "
        f"validation accuracy {row['val_accuracy']:.2%}"
    )


ROWS = [
    {"epoch": 1, "train_accuracy": 0.25, "train_loss": 2.0, "val_accuracy": 0.3, "val_loss": 1.5},
    {"epoch": 2, "train_accuracy": 0.5, "train_loss": 1.0, "val_accuracy": 0.45, "val_loss": 1.75},
]


def show(path, shown_rows, chosen_epoch):
    """Call an observer as a new run of three epochs does."""
    observer = LiveCurves()
    observer.began(ObservedRun("", path, CONFIG, "shapes10"))
    for row in shown_rows:
        observer.epoch(row)
    observer.finished({"selected_epoch": chosen_epoch})


def test_each_epoch_replaces_the_picture(notebook, hours, tmp_path):
    show(tmp_path, ROWS, chosen_epoch=1)
    assert len(notebook.shown) == 1
    captions = [caption(row) for row in ROWS]
    assert notebook.captions == ["curves: no epoch of 3 yet", *captions, captions[-1]]
    pictures = [content["image/png"] for content in (*notebook.shown, *notebook.replaced)]
    assert len(set(pictures)) == len(pictures)  # the last one marks the chosen epoch
    for picture in pictures:
        image = Image.open(io.BytesIO(base64.b64decode(picture, validate=True)))
        assert (image.format, image.size) == ("PNG", (900, 360))


def test_short_epochs_cost_no_pictures(notebook, monkeypatch, tmp_path):
    monkeypatch.setattr(live_curves, "time", SimpleNamespace(monotonic=lambda: 0.0))
    show(tmp_path, ROWS, chosen_epoch=1)
    assert notebook.captions == ["curves: no epoch of 3 yet", caption(ROWS[-1])]


def test_a_resumed_run_and_a_finished_one_begin_with_earlier_epochs(
    notebook, hours, tmp_path, easy_dataset
):
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(6))
    first, *others = rows(tmp_path)
    assert others == []
    assert notebook.captions[-1] == caption(first)
    notebook.__init__()
    train(tmp_path, easy_dataset)
    captions = [caption(row) for row in rows(tmp_path)]
    assert notebook.captions == [*captions, captions[-1]]
    notebook.__init__()
    train(tmp_path, easy_dataset)
    assert notebook.captions == [captions[-1]] * 2


def points(axes):
    """The points of each curve, by its name in the legend."""
    return {line.get_label(): line.get_xydata().tolist() for line in axes.lines}


def test_the_curves_are_the_numbers_of_the_rows():
    figure = draw_curves(ROWS, epochs=30, title="CNN $ on CIFAR-10", chosen_epoch=2)
    accuracy, loss = figure.axes
    training, validation, chosen = "training (mean over the epoch)", "validation", "chosen epoch: 2"
    assert points(accuracy) == {
        training: [[1, 0.25], [2, 0.5]],
        validation: [[1, 0.3], [2, 0.45]],
        chosen: [[2, 0.45]],
    }
    assert points(loss) == {
        training: [[1, 2.0], [2, 1.0]],
        validation: [[1, 1.5], [2, 1.75]],
        chosen: [[2, 1.75]],
    }
    assert (accuracy.get_title(), loss.get_title()) == ("accuracy", "loss")
    for axes in figure.axes:
        left, right = axes.get_xlim()
        assert left < 1
        assert right > 30  # the axis shows how much is left
        assert {1, 30} <= set(np.round(axes.get_xticks()))
    assert figure.get_suptitle() == "CNN $ on CIFAR-10"


def test_a_run_without_validation_images_has_one_curve_a_quantity():
    names = ("epoch", "train_accuracy", "train_loss")
    without = [{name: row[name] for name in names} for row in ROWS]
    figure = draw_curves(without, epochs=2, title="CNN", chosen_epoch=2)
    assert [len(axes.lines) for axes in figure.axes] == [1, 1]


@pytest.mark.parametrize("imports_ipython", [True, False])
def test_outside_a_notebook_one_line_says_what_to_use(imports_ipython, monkeypatch, tmp_path):
    if not imports_ipython:
        monkeypatch.delitem(sys.modules, "IPython")
    with pytest.raises(UsageError, match="draws in a notebook only") as refused:
        jaxcifar.train("cnn", run_dir=tmp_path / "run", observers=[jaxcifar.LiveCurves])
    assert "\n" not in str(refused.value)
    assert str(refused.value).startswith("observer LiveCurves: ")
    assert not (tmp_path / "run").exists()
