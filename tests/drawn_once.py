"""Pictures that tests have drawn again and again, drawn once: Matplotlib takes half of a tiny run.

What is drawn is what would be drawn but for times and folders.
"""

import hashlib
import io
import pickle
from pathlib import Path

import pytest
from matplotlib.figure import Figure

from jaxcifar.runs import picture_cache, result_pictures
from jaxcifar.runs.picture_cache import draw_once
from jaxcifar.runs.plots import plot_curves

_TIMES = {"seconds", "images_per_second", "compile_seconds", "wall_seconds"}


class _PicklerWithoutTimes(pickle.Pickler):
    """Leaves out what differs between two runs of the same config: times and folders."""

    def persistent_id(self, part):
        if isinstance(part, Path):
            return "a path"
        if isinstance(part, dict):
            return [(name, value) for name, value in part.items() if name not in _TIMES]
        return None


def _digest_without_times(*plot_arguments_and_settings):
    content = io.BytesIO()
    try:
        _PicklerWithoutTimes(content).dump(plot_arguments_and_settings)
    except Exception:  # objects that can't be pickled may raise anything
        return None
    return hashlib.sha256(content.getvalue()).digest()


def save_no_figures(patch):
    """Have reports draw figures without saving them, each once; `patch` is a `MonkeyPatch`."""

    def digest(*plot_arguments_and_settings):
        picture = _digest_without_times(*plot_arguments_and_settings)
        return picture and b"not saved: " + picture

    patch.setattr(Figure, "savefig", lambda figure, file, **options: None)
    patch.setattr(picture_cache, "_digest", digest)


def _plot_curves_once(histories, chosen_epochs, quantity, title, file):
    """Write the picture that `plot_curves` draws, whatever the times of the epochs."""
    fields = (f"train_{quantity}", f"val_{quantity}")
    drawn = [
        [{field: row[field] for field in fields if field in row} for row in rows]
        for rows in histories
    ]
    file.write(draw_once(plot_curves, (drawn, chosen_epochs, quantity, title)))


@pytest.fixture(scope="module")
def curves_drawn_once():
    """Runs draw the curves of the same numbers once."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(result_pictures, "plot_curves", _plot_curves_once)
        yield


@pytest.fixture(scope="module")
def pictures_drawn_once(curves_drawn_once):
    """Runs and reports draw pictures once that differ in nothing but times and folders."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(picture_cache, "_digest", _digest_without_times)
        yield
