"""Compare runs side by side: `jaxcifar compare RUN RUN... [--plot FILE]`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.common_options import add_picture_option, parse_path
from jaxcifar.commands.shared.comparison_rows import (
    NO_VALUE,
    result_rows,
    rows_of_different_settings,
)
from jaxcifar.commands.shared.output import draw_picture, screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.terminal import line_printer, pluralize
from jaxcifar.runs.task import advice_to_give_run

if TYPE_CHECKING:
    from jaxcifar.report.run_records import RunRecord

HELP_EXAMPLES = (
    ("first rows/norm/seed0", "print the settings that differ, accuracies and times"),
    ("rows/*/seed0 --plot runs.png", "compare the rows of a study, and draw their curves"),
)
_MAX_CELL_LENGTH = 24  # characters
_MIN_CELL_LENGTH = 5
_COLUMN_GAP = "  "
_MARKERS = "os^Dv"
_LINE_STYLES = ("-", "--", ":", "-.")


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar compare`."""
    parser = Parser("compare", "Compare runs side by side, finished or not.", HELP_EXAMPLES)
    parser.add_argument(
        "runs", nargs="+", type=parse_path, metavar="RUN", help="folders of two or more runs"
    )
    add_picture_option(parser, "--plot", "the validation accuracy by epoch")
    return parser


def main(argv: Sequence[str]) -> None:
    """Print a table of the settings and results of runs; draw their curves if `--plot` is given."""
    options = parser().parse_args(argv)
    paths = list(dict.fromkeys(options.runs))  # each run once
    if len(paths) < 2:
        raise UsageError("RUN: name two runs or more, such as those of a study: DIR/*/seed0")
    for path in paths:
        if not (path / "config.json").is_file():
            advice = advice_to_give_run(path)
            raise UsageError(f"{path}: is not a run (the folder has no config.json); {advice}")
    console = screen()
    line_printer(console)(f"reading {pluralize(len(paths), 'run')}")

    from jaxcifar.commands.shared.evaluated import short_names

    runs = [_read_run(path) for path in paths]
    names = list(short_names(paths).values())
    show_comparison(console, names, runs)
    if options.plot:
        draw_picture("--plot", options.plot, plot_accuracies, names, runs)


def _read_run(path: Path) -> "RunRecord":
    """Read and return the record of a run.

    Raises:
      RunError: a file of the run can't be read. The message begins with the path of the folder.
    """
    from jaxcifar.report.run_reading import read_run

    try:
        return read_run(path)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def show_comparison(
    console: Console, run_names: Sequence[str], runs: Sequence["RunRecord"]
) -> None:
    """Print a table of settings and results, with a column for each run.

    Columns that do not fit go to a second table below.
    """
    print_line = line_printer(console)
    for number, run_name in enumerate(run_names, start=1):
        print_line(f"({number}) {run_name}")
    network_titles = {run.config.network_title for run in runs}
    if len(network_titles) == 1:
        datasets = dict.fromkeys(run.result["dataset"] for run in runs if run.result)
        on_datasets = f" on {' and '.join(datasets)}" if datasets else ""
        [network_title] = network_titles
        print_line(f"{network_title}{on_datasets}")
    result_cells_by_title = result_rows(runs)
    devices = {device for device in result_cells_by_title["device"] if device != NO_VALUE}
    if len(devices) == 1:  # one line for all runs, because a device's name is long
        del result_cells_by_title["device"]
        [device] = devices
        print_line(f"on {device}")
    setting_cells_by_title = rows_of_different_settings(runs)
    _print_table(console, setting_cells_by_title, result_cells_by_title, len(runs))
    for line in _lines_about_folds(runs):
        print_line(line)


def _print_table(
    console: Console,
    setting_cells_by_title: Mapping[str, Sequence[str]],
    result_cells_by_title: Mapping[str, Sequence[str]],
    run_count: int,
) -> None:
    """Print the settings of runs and, after an empty line, their results, below the runs' numbers.

    If not all columns fit on the screen, several tables are printed.

    Args:
      console: where to print.
      setting_cells_by_title: title of a setting's row -> its cells, one for each run.
      result_cells_by_title: title of a result's row -> its cells, one for each run.
      run_count: number of runs.
    """
    run_numbers = [f"({number})" for number in range(1, run_count + 1)]
    empty_cells = [""] * run_count
    titles = ["", *setting_cells_by_title, "", *result_cells_by_title]
    full_rows = [
        run_numbers,
        *setting_cells_by_title.values(),
        empty_cells,
        *result_cells_by_title.values(),
    ]
    rows = [[printable(cell, _MAX_CELL_LENGTH) for cell in full_row] for full_row in full_rows]
    title_width = max(len(title) for title in titles)
    column_widths = []
    for cells_of_run in zip(*rows, strict=True):
        cell_lengths = [len(cell) for cell in cells_of_run]
        column_widths.append(max(_MIN_CELL_LENGTH, *cell_lengths))
    width_for_cells = console.width - title_width
    for columns in _column_ranges_that_fit(column_widths, width_for_cells):
        console.print()
        for title, cells in zip(titles, rows, strict=True):
            padded_title = title.ljust(title_width)
            padded_cells = [cells[column].rjust(column_widths[column]) for column in columns]
            line = _COLUMN_GAP.join([padded_title, *padded_cells])
            console.print(line.rstrip(), markup=False, soft_wrap=True)


def _lines_about_folds(runs: Sequence["RunRecord"]) -> Iterator[str]:
    """Yield a line about cross-validation for each group of runs that differ in fold and seed only.

    The line has the mean and standard deviation of the validation accuracy over the folds. A fold
    is one of the parts of the training images that take turns as validation images.
    """
    from jaxcifar.report.run_groups import group_runs
    from jaxcifar.report.run_records import FinishedRun, Variation
    from jaxcifar.report.wording import accuracy_text

    finished_runs = [run for run in runs if isinstance(run, FinishedRun)]
    validated_runs = [run for run in finished_runs if "val_accuracy" in run.result]
    for group in group_runs(validated_runs):
        unnamed_variation = Variation(name="", runs=group)
        folds = unnamed_variation.folds
        if len(folds) < 2:
            continue
        run_numbers = [f"({number})" for number, run in enumerate(runs, start=1) if run in group]
        accuracy = accuracy_text(unnamed_variation, key="val_accuracy", split="val")
        planned_fold_count = folds[0].total
        yield (
            f"{' '.join(run_numbers)}: validation {accuracy} over {len(folds)} of "
            f"{planned_fold_count} "
            "folds (mean ± standard deviation); each run used the test images once, at its end"
        )


def _column_ranges_that_fit(column_widths: Sequence[int], line_width: int) -> Iterator[range]:
    """Yield ranges of column numbers; the columns of a range fit into a line of the screen.

    The widths are in characters. A column that is wider than a line has a range of its own.
    """
    first_column, used_width = 0, 0
    for column, column_width in enumerate(column_widths):
        needed_width = len(_COLUMN_GAP) + column_width
        if column > first_column and used_width + needed_width > line_width:
            yield range(first_column, column)
            first_column, used_width = column, 0
        used_width += needed_width
    yield range(first_column, len(column_widths))


def plot_accuracies(
    run_names: Sequence[str], runs: Sequence["RunRecord"], file: Any, picture_format: str
) -> None:
    """Draw the validation accuracy by epoch, with a curve for each run.

    Args:
      run_names: names of the runs.
      runs: records of the same runs.
      file: where to write the picture.
      picture_format: such as "png".
    """
    import numpy as np
    from matplotlib.ticker import PercentFormatter

    from jaxcifar.report.figures import show_as_plain_text
    from jaxcifar.runs.plots import draw_mean, figure_with_axes

    figure, axes = figure_with_axes(7.0, 4.2, "Validation accuracy by epoch")
    for curve_number, (run_name, run) in enumerate(zip(run_names, runs, strict=True)):
        accuracies = [epoch["val_accuracy"] for epoch in run.history if "val_accuracy" in epoch]
        if accuracies:
            label = f"{run_name}, best {max(accuracies):.2%}"
            curves_of_single_run = np.asarray([accuracies], np.float64)
            draw_mean(axes, curves_of_single_run, label, **_style_of_curve(curve_number))
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    has_curves = bool(axes.lines)
    if has_curves:
        show_as_plain_text(axes.legend())
    figure.savefig(file, format=picture_format)


def _style_of_curve(curve_number: int) -> dict[str, str]:
    """Return color, marker and line style of a curve, given its number, from 0.

    After the last color, the colors are used again with the next line style.
    """
    from jaxcifar.report.figures import COLORS

    times_colors_were_used = curve_number // len(COLORS)
    return {
        "color": COLORS[curve_number % len(COLORS)],
        "marker": _MARKERS[curve_number % len(_MARKERS)],
        "linestyle": _LINE_STYLES[times_colors_were_used % len(_LINE_STYLES)],
    }
