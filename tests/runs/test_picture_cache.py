"""A picture is drawn once for the same plot, data and settings."""

import io

import matplotlib
import numpy as np
import pytest

from jaxcifar.runs import picture_cache
from jaxcifar.runs.picture_cache import draw_once

DRAWN = []


def write_text(text, values, file):
    """Write what stands for a picture, and note that it was drawn."""
    DRAWN.append(text)
    file.write(f"{text} {values.sum()} {matplotlib.rcParams['savefig.dpi']}".encode())


@pytest.fixture(autouse=True)
def _nothing_drawn(monkeypatch):
    monkeypatch.setattr(picture_cache, "_pictures", type(picture_cache._pictures)())
    DRAWN.clear()


def test_equal_arguments_are_drawn_once_and_others_again():
    first = draw_once(write_text, ("a", np.arange(3)), {"savefig.dpi": 80})
    assert draw_once(write_text, ("a", np.arange(3)), {"savefig.dpi": 80}) == first == b"a 3 80.0"
    assert DRAWN == ["a"]
    assert draw_once(write_text, ("a", np.arange(4)), {"savefig.dpi": 80}) == b"a 6 80.0"
    assert draw_once(write_text, ("a", np.arange(3)), {"savefig.dpi": 90}) == b"a 3 90.0"
    assert draw_once(write_text, ("b", np.arange(3)), {"savefig.dpi": 80}) == b"b 3 80.0"
    assert DRAWN == ["a", "a", "a", "b"]


def test_arguments_that_can_not_be_compared_are_drawn_each_time():
    def write(text, values, file):
        write_text(text, values, file)

    for _ in range(2):
        assert draw_once(write, ("a", np.arange(3)), {"savefig.dpi": 80}) == b"a 3 80.0"
    assert DRAWN == ["a", "a"]


def test_a_plot_that_fails_is_tried_again():
    with pytest.raises(AttributeError):
        draw_once(write_text, ("a", "no array"))
    with pytest.raises(AttributeError):
        draw_once(write_text, ("a", "no array"))
    assert DRAWN == ["a", "a"]


def test_the_pictures_that_were_not_used_for_longest_are_given_up(monkeypatch):
    monkeypatch.setattr(picture_cache, "_MAX_PICTURES", 2)
    for text in ("a", "b", "a", "c", "a", "b"):
        draw_once(write_text, (text, np.arange(3)))
    assert DRAWN == ["a", "b", "c", "b"]


def test_a_picture_of_matplotlib_is_what_the_plot_writes_itself():
    from jaxcifar.runs.plots import plot_curves

    rows = [{"epoch": 1, "train_loss": 2.0, "val_loss": 2.5}]
    file = io.BytesIO()
    plot_curves([rows], [1], "loss", "title", file)
    assert draw_once(plot_curves, ([rows], [1], "loss", "title")) == file.getvalue()
