"""Compare runs side by side: `jaxcifar compare RUN RUN... [--plot FILE]`."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.common_options import add_picture, location
from jaxcifar.commands.shared.output import explain_write_errors, screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.terminal import line_printer, pluralize
from jaxcifar.runs.task import nested_run_hint

if TYPE_CHECKING:
    from jaxcifar.report.run_records import RunRecord

HELP_EXAMPLES = (
    ("first rows/norm/seed0", "print the settings that differ, accuracies and times"),
    ("rows/*/seed0 --plot runs.png", "compare the rows of a study, and draw their curves"),
)
_MAX_CELL_LENGTH = 24  # characters
_MIN_CELL_LENGTH = 5
_COLUMN_GAP = "  "


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar compare`."""
    parser = Parser("compare", "Compare runs side by side, finished or not.", HELP_EXAMPLES)
    parser.add_argument(
        "runs", nargs="+", type=location, metavar="RUN", help="folders of two or more runs"
    )
    add_picture(parser, "--plot", "the validation accuracy by epoch")
    return parser


def main(argv: Sequence[str]) -> None:
    """Print a table of the settings and results of runs; draw their curves if `--plot` is given."""
    options = parser().parse_args(argv)
    paths = list(dict.fromkeys(options.runs))
    if len(paths) < 2:
        raise UsageError("RUN: name two runs or more, such as those of a study: DIR/*/seed0")
    for path in paths:
        if not (path / "config.json").is_file():
            hint = nested_run_hint(path)
            raise UsageError(f"{path}: no run (the folder has no config.json){hint}")
    console = screen()
    line_printer(console)(f"reading {pluralize(len(paths), 'run')}")

    from jaxcifar.commands.shared.evaluated import short_names

    runs = [_read(path) for path in paths]
    names = list(short_names(paths).values())
    show(console, names, runs)
    if options.plot:
        from jaxcifar.machine.files import atomic_write

        with explain_write_errors(f"--plot {options.plot}"), atomic_write(options.plot) as file:
            draw(names, runs, file, options.plot.suffix.removeprefix("."))


def _read(path: Path) -> "RunRecord":
    """Read the folder of a run; error messages begin with the path of the folder."""
    from jaxcifar.report.run_reading import read_run

    try:
        return read_run(path)
    except RunError as error:
        raise RunError(f"{path}: {error}") from error


def show(console: Console, names: Sequence[str], runs: Sequence["RunRecord"]) -> None:
    """Print a table of settings and results, with a column for each run.

    Columns that do not fit go to a second table below. `names` are the names of the runs.
    """
    print_line = line_printer(console)
    for number, name in enumerate(names, start=1):
        print_line(f"({number}) {name}")
    titles = {run.config.network_title for run in runs}
    if len(titles) == 1:
        datasets = dict.fromkeys(run.result["dataset"] for run in runs if run.result)
        on_datasets = f" on {' and '.join(datasets)}" if datasets else ""
        print_line(f"{titles.pop()}{on_datasets}")
    rows = {**_differences(runs), "": [""] * len(runs), **_results(runs)}
    devices = {device for device in rows["device"] if device != "-"}
    if len(devices) == 1:  # one line for all runs, because a device's name is long
        del rows["device"]
        print_line(f"on {devices.pop()}")
    rows = {name: [printable(cell, _MAX_CELL_LENGTH) for cell in rows[name]] for name in rows}
    label_width = max(map(len, rows))
    rows = {" ": [f"({number})" for number in range(1, len(runs) + 1)], **rows}
    widths = [
        max(_MIN_CELL_LENGTH, *(len(cells[column]) for cells in rows.values()))
        for column in range(len(runs))
    ]
    for columns in _columns_that_fit(widths, console.width - label_width):
        print_line("")
        for name, cells in rows.items():
            shown = _COLUMN_GAP.join(f"{cells[i]:>{widths[i]}}" for i in columns)
            line = f"{name:{label_width}}{_COLUMN_GAP}{shown}".rstrip()
            console.print(line, markup=False, soft_wrap=True)
    for line in _fold_lines(runs):
        print_line(line)


def _fold_lines(runs: Sequence["RunRecord"]) -> Iterator[str]:
    """Yield a line for each group of finished runs that differ only in fold and seed.

    The line has the mean and standard deviation of the validation accuracy over the folds, that is,
    over different choices of the validation images.
    """
    from jaxcifar.report.run_groups import group_runs
    from jaxcifar.report.run_records import FinishedRun, Variation
    from jaxcifar.report.wording import accuracy_text

    finished = [run for run in runs if isinstance(run, FinishedRun)]
    for group in group_runs([run for run in finished if "val_accuracy" in run.result]):
        variation = Variation("", group)
        folds = variation.folds
        if len(folds) > 1:
            numbers = " ".join(f"({n})" for n, run in enumerate(runs, start=1) if run in group)
            mean = accuracy_text(variation, "val_accuracy", "val")
            yield (
                f"{numbers}: validation {mean} over {len(folds)} of {folds[0].total} folds (mean ± "
                "standard deviation); each run used the test images once, at its end"
            )


def _columns_that_fit(widths: Sequence[int], room: int) -> Iterator[range]:
    """Yield ranges of columns that fit into a line of `room` characters, at least one in each.

    `widths` are the widths of all columns, in characters.
    """
    first, used = 0, 0
    for column, width in enumerate(widths):
        needed = len(_COLUMN_GAP) + width
        if column > first and used + needed > room:
            yield range(first, column)
            first, used = column, 0
        used += needed
    yield range(first, len(widths))


def _differences(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return table rows of the settings that differ: title of the setting -> cell for each run."""
    from jaxcifar.config.settings import effective_settings, readable_text
    from jaxcifar.report.wording import field_title

    settings = [effective_settings(run.config.settings()) for run in runs]
    rows = {}
    for name in dict.fromkeys(key for values in settings for key in values):
        cells = ["-" if v.get(name) is None else readable_text(v[name]) for v in settings]
        if len(set(cells)) > 1:
            is_digest = name.endswith("sha256") or name.startswith("SHA-256")
            rows[field_title(name)] = [cell[:8] for cell in cells] if is_digest else cells
    return rows


def _results(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return table rows of results: title -> cell for each run, "-" if a run lacks the result."""
    from jaxcifar.report.run_times import device_time_text

    return {
        "epochs trained": [f"{len(r.history)} of {r.config.epochs}" for r in runs],
        "best epoch": [str(r.selected_metrics["epoch"]) if r.history else "-" for r in runs],
        "validation": [
            _percent(r.selected_metrics if r.history else None, "val_accuracy") for r in runs
        ],
        "test": [_percent(r.result, "test_accuracy") for r in runs],
        "test with flips": [_percent(r.result, "test_accuracy_flip") for r in runs],
        **_other_metrics(runs),
        "device time": [device_time_text(r) for r in runs],
        "images/s": [_rate(r) for r in runs],
        "device": [r.result["device"] if r.result else "-" for r in runs],
    }


def _other_metrics(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """Return table rows of all metrics except accuracy.

    Returns:
      title of the row, such as "test loss" -> text for each run, "-" without a value.
    """
    from jaxcifar.runs.metric_fields import format_value, measured_metrics

    results: list[dict[str, Any]] = [{**run.result} if run.result else {} for run in runs]
    selected: list[dict[str, Any]] = [
        {**run.selected_metrics} if run.history else {} for run in runs
    ]
    rows: dict[str, list[str]] = {}
    for metric in measured_metrics(results, selected):
        if metric["name"] == "accuracy":
            continue
        for split, word, figures in (("val", "validation", selected), ("test", "test", results)):
            values = [figure.get(f"{split}_{metric['name']}") for figure in figures]
            if all(value is None for value in values):
                continue
            title = printable(f"{word} {metric['title']}")
            if title in (*rows, "test with flips"):
                title = f"{title} ({metric['name']})"
            rows[title] = ["-" if v is None else format_value(v, metric["unit"]) for v in values]
    return rows


def _percent(values: Mapping[str, Any] | None, name: str) -> str:
    """Return the value `name` in `values` as text, such as "88.41%"; "-" if there is no value."""
    return f"{values[name]:.2%}" if values and name in values else "-"


def _rate(run: "RunRecord") -> str:
    """Return the training speed of a run in images per second; "-" before its first epoch."""
    from jaxcifar.runs.result import mean_images_per_second

    return f"{mean_images_per_second(run.history):,.0f}" if run.history else "-"


def draw(names: Sequence[str], runs: Sequence["RunRecord"], file: Any, form: str) -> None:
    """Draw the validation accuracy by epoch, with a curve for each run.

    Args:
      names: names of the runs.
      runs: records of the same runs.
      file: where to write the picture.
      form: format of the picture, such as "png".
    """
    import numpy as np
    from matplotlib.ticker import PercentFormatter

    from jaxcifar.report.figures import COLORS
    from jaxcifar.runs.plots import draw_mean, figure_with_axes

    figure, axes = figure_with_axes(7.0, 4.2, "Validation accuracy by epoch")
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        curve = [row["val_accuracy"] for row in run.history if "val_accuracy" in row]
        if curve:
            style = {"color": COLORS[number % len(COLORS)], "marker": "os^Dv"[number % 5]}
            style["linestyle"] = ("-", "--", ":", "-.")[number // len(COLORS) % 4]
            label = f"{name}, best {max(curve):.2%}"
            draw_mean(axes, np.asarray([curve], np.float64), label, **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if axes.lines:
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
    figure.savefig(file, format=form)
