"""Parts of the report's pictures: learning curves, grids of panels, colours and legends."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.plots import plot_curves, safe_title

WIDTH = 6.4  # inches; text stays readable when a phone scales the picture to its width
_HALF_SIZE = (4.6, 3.0)  # inches, of one of two pictures side by side
# Okabe and Ito's colours without yellow, which is faint on white, and five more that are far from
# them and from each other, also for people who are blind to red, green or blue.
COLORS = (
    *("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000"),
    *("#8700f0", "#5a2d00", "#001e87", "#5a4b5a", "#9678ff"),
)
PANEL_COLUMNS = 4


def draw_curves(
    draw: DrawPicture, runs: Sequence[FinishedRun], title: str, prefix: str = ""
) -> dict[str, str]:
    """Draw the learning curves of runs that differ only in seed, as two pictures.

    Args:
      draw: draws a picture and returns its path.
      runs: the runs.
      title: title of both pictures.
      prefix: beginning of the pictures' file names.

    Returns:
      the paths of the two pictures, under the keys "accuracy" and "loss".
    """
    plot = functools.partial(plot_curves, size=_HALF_SIZE)
    histories = [run.history for run in runs]
    best_epochs = [run.result["selected_epoch"] for run in runs]
    paths = {}
    for quantity in ("accuracy", "loss"):
        paths[quantity] = draw(f"{prefix}{quantity}", plot, histories, best_epochs, quantity, title)
    return paths


def panel_grid(
    count: int, title: str, heights: tuple[float, float]
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with `count` panels in rows of `PANEL_COLUMNS`, and the panels.

    `heights` has two heights in inches: of one row of panels, and of everything else together.
    """
    rows = math.ceil(count / PANEL_COLUMNS)
    panel_height, other_height = heights
    height = other_height + panel_height * rows
    figure = Figure(figsize=(1.4 * WIDTH, height), dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=10, parse_math=False)
    grid: Any = figure.subplots(rows, PANEL_COLUMNS, squeeze=False, sharex=True, sharey=True)
    panels = grid.ravel()
    for panel in panels[count:]:
        panel.set_axis_off()
    return figure, panels[:count]


def add_legend(figure: Figure, font_size: int = 10, title: str | None = None) -> None:
    """Add a legend below the axes of a figure; a "$" in its texts does not start a formula."""
    layout: dict[str, Any] = {"loc": "outside lower center", "ncols": 2}
    legend = figure.legend(**layout, fontsize=font_size, title=title)
    for text in legend.get_texts():
        text.set_parse_math(False)
