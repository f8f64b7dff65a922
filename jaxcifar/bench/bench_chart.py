"""The bar chart of `jaxcifar bench --plot`: images per second of each implementation."""

from collections import Counter
from collections.abc import Sequence
from typing import Any, BinaryIO

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.bench.bench_rows import OUR_IMPLEMENTATION
from jaxcifar.bench.work import PHASES
from jaxcifar.runs.plots import safe_title

# Ours, and others by precision; they differ in lightness too, so they differ in grey prints.
_OUR_COLOR = "#e07b00"
_COLOR_OF_DTYPE = {"float32": "#00457c", "bfloat16": "#7fb2d9"}
_TITLE_OF_PHASE = {"train": "training", "eval": "evaluation"}
_PANEL_WIDTH, _BAR_HEIGHT = 4.6, 0.3  # inches
_PANEL_MARGIN, _TITLE_HEIGHT = 0.9, 0.4  # inches


def plot_rates(
    rows: Sequence[dict[str, Any]], title: str, file: BinaryIO, picture_format: str
) -> None:
    """Draw the images per second of each implementation, with a panel for each network and phase.

    Most implementations were measured in several rounds. A line on their bars leads from the
    slowest to the fastest round. A hatched bar shows the speed in the first steps instead: its
    implementation took part in no round, because it was too slow or failed.

    Args:
      rows: rows of the table of results, as `bench_rows.result_rows` returns them.
      title: title of the chart: the device and the versions of packages.
      file: open file that the picture is written to.
      picture_format: format of the picture, such as "png".
    """
    archs = list(dict.fromkeys(row["arch"] for row in rows))
    bar_counts = Counter((row["arch"], row["phase"]) for row in rows)
    panel_height = _PANEL_MARGIN + _BAR_HEIGHT * max(bar_counts.values())
    figure_height = len(archs) * panel_height + _TITLE_HEIGHT
    figure_width = _PANEL_WIDTH * len(PHASES)
    figure = Figure((figure_width, figure_height), dpi=120, layout="constrained")
    figure.suptitle(safe_title(title), fontsize=9, parse_math=False)
    panels = figure.subplots(len(archs), len(PHASES), squeeze=False)
    for arch, panels_of_arch in zip(archs, panels, strict=True):
        for phase, panel in zip(PHASES, panels_of_arch, strict=True):
            panel_rows = [row for row in rows if row["arch"] == arch and row["phase"] == phase]
            panel_title = f"{arch}, {_TITLE_OF_PHASE[phase]}, batch {panel_rows[0]['batch_size']}"
            panel.set_title(safe_title(panel_title), fontsize=9, parse_math=False)
            measured_rows = [row for row in panel_rows if row["images_per_second"] is not None]
            _draw_bars(panel, measured_rows)
    figure.savefig(file, format=picture_format)


def _draw_bars(panel: Axes, rows: Sequence[dict[str, Any]]) -> None:
    """Draw a bar with the images per second of each row of results, the first at the top."""
    fastest_rates = []
    for position, row in enumerate(rows):
        rate = row["images_per_second"]
        slowest_rate, fastest_rate = row["spread"]
        color = _COLOR_OF_DTYPE.get(row["dtype"], "grey")
        if row["implementation"] == OUR_IMPLEMENTATION:
            color = _OUR_COLOR
        fastest_rates.append(fastest_rate)
        took_part_in_rounds = row["rounds"] > 0
        hatch = None if took_part_in_rounds else "///"
        panel.barh(position, rate, 0.7, color=color, hatch=hatch, edgecolor="white")
        panel.plot([slowest_rate, fastest_rate], [position, position], color="black", linewidth=1)
        panel.text(fastest_rate, position, f"  {rate:,.0f}", va="center", fontsize=8)
    labels = [f"{row['implementation']} {row['dtype']}" for row in rows]
    panel.set_yticks(range(len(rows)), labels, fontsize=8)
    panel.invert_yaxis()
    panel.set_xlabel("images/s", fontsize=8)
    panel.grid(axis="x", alpha=0.3)
    panel.set_axisbelow(True)
    largest_rate = max(fastest_rates, default=1.0)
    panel.set_xlim(0, 1.2 * largest_rate)  # with space for the numbers
