"""Parts of the report's pictures: learning curves, grids of panels, colours and legends."""

import functools
import math
from collections.abc import Sequence
from typing import Any

from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.legend import Legend

from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.runs.plots import plot_curves, safe_title

WIDTH = 6.4  # inches; text stays readable when a phone scales the picture to its width
_HALF_WIDTH_FIGURE_SIZE = (4.6, 3.0)  # inches, of one of two pictures side by side
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
    """Draw the learning curves of runs that differ only in seed or fold, as two pictures.

    Args:
      draw: draws a picture and returns its path.
      runs: the runs.
      title: title of both pictures.
      prefix: beginning of the pictures' file names.

    Returns:
      the paths of the two pictures, under the keys "accuracy" and "loss".
    """
    plot = functools.partial(plot_curves, size=_HALF_WIDTH_FIGURE_SIZE)
    histories = [run.history for run in runs]
    best_epochs = [run.result["selected_epoch"] for run in runs]
    paths = {}
    for quantity in ("accuracy", "loss"):
        paths[quantity] = draw(f"{prefix}{quantity}", plot, histories, best_epochs, quantity, title)
    return paths


def make_panel_grid(
    panel_count: int, title: str, panel_height: float, other_height: float
) -> tuple[Figure, Sequence[Axes]]:
    """Return a figure with `panel_count` panels in rows of `PANEL_COLUMNS`, and the panels.

    Args:
      panel_count: the number of panels.
      title: the figure's title.
      panel_height: height in inches of one row of panels.
      other_height: height in inches of everything else together.
    """
    rows = math.ceil(panel_count / PANEL_COLUMNS)
    figure_height = other_height + panel_height * rows
    figure = Figure(figsize=(1.4 * WIDTH, figure_height), dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=10, parse_math=False)
    grid: Any = figure.subplots(rows, PANEL_COLUMNS, squeeze=False, sharex=True, sharey=True)
    panels = grid.ravel()
    for unused_panel in panels[panel_count:]:
        unused_panel.set_axis_off()
    return figure, panels[:panel_count]


def add_legend(figure: Figure, font_size: int = 10, title: str | None = None) -> None:
    """Add a legend below the axes of a figure; a "$" in its texts does not start a formula."""
    layout: dict[str, Any] = {"loc": "outside lower center", "ncols": 2}
    legend = figure.legend(**layout, fontsize=font_size, title=title)
    show_as_plain_text(legend)


def show_as_plain_text(legend: Legend) -> None:
    """Switch off matplotlib's formulas in a legend: a "$" in a name is only a character."""
    for text in legend.get_texts():
        text.set_parse_math(False)
