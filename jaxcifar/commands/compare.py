"""Lay runs side by side: `python -m experiments.compare RUN RUN... [--plot FILE]`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.cli import location
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.summary import picture
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.terminal import duration, line_printer, pluralize
from jaxcifar.runs.task import run_inside

if TYPE_CHECKING:
    from jaxcifar.report.run_records import RunRecord

EXAMPLES = (
    ("first rows/norm/seed0", "what differs, what they reached, in how long"),
    ("rows/*/seed0 --plot runs.png", "all rows of a study, and their curves"),
)
_CELL = 24  # characters of a value, at most


def parser() -> Parser:
    """The command's options."""
    parser = Parser("compare", "Lay runs side by side, finished or not.", EXAMPLES)
    parser.add_argument(
        "runs", nargs="+", type=location, metavar="RUN", help="folders of two runs or more"
    )
    parser.add_argument(
        "--plot",
        type=picture,
        metavar="FILE",
        help="draw validation accuracy by epoch (.png, .svg, .pdf; default: not at all)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Read the runs' folders, print a table, draw a picture."""
    options = parser().parse_args(argv)
    paths = list(dict.fromkeys(options.runs))
    if len(paths) < 2:
        raise UsageError("RUN: name two runs or more, such as those of a study: DIR/*/seed0")
    for path in paths:
        if not (path / "config.json").is_file():
            raise UsageError(f"{path}: no run (it has no config.json){run_inside(path)}")
    console = Console(emoji=False, highlight=False)
    line_printer(console)(f"reading {pluralize(len(paths), 'run')}")

    from jaxcifar.commands.shared.evaluated import short_names
    from jaxcifar.report.run_reading import read_run

    runs = []
    for path in paths:
        try:
            runs.append(read_run(path))
        except RunError as error:
            raise RunError(f"{path}: {error}") from error
    names = list(short_names(paths).values())
    show(console, names, runs)
    if options.plot:
        from jaxcifar.machine.files import atomic_write

        try:
            with atomic_write(options.plot) as file:
                draw(names, runs, file, options.plot.suffix.removeprefix("."))
        except OSError as error:
            raise RunError(f"--plot {options.plot}: {error.strerror or error}") from error


def show(console: Console, names: Sequence[str], runs: Sequence["RunRecord"]) -> None:
    """Print the table: a column a run, as many beside each other as the screen has room for."""
    say = line_printer(console)
    for number, name in enumerate(names, start=1):
        say(f"({number}) {name}")
    if len(titles := {run.config.network_title for run in runs}) == 1:
        data = dict.fromkeys(run.result["dataset"] for run in runs if run.result)
        say(f"{titles.pop()}{' on ' * bool(data)}{' and '.join(data)}")
    rows = {**_differences(runs), "": [""] * len(runs), **_reached(runs)}
    if len(devices := {*rows["device"]} - {"-"}) == 1:  # the widest name of all
        del rows["device"]
        say(f"on {devices.pop()}")
    rows = {name: [printable(cell, _CELL) for cell in cells] for name, cells in rows.items()}
    label = max(map(len, rows))
    widths = [max(5, *(len(cells[i]) for cells in rows.values())) for i in range(len(runs))]
    first = 0
    while first < len(runs):
        last = first + 1
        while last < len(runs) and label + sum(w + 2 for w in widths[first : last + 1]) <= (
            console.width
        ):
            last += 1
        heads = {" ": [f"({i + 1})" for i in range(len(runs))]}
        say("")
        for name, cells in (heads | rows).items():
            shown = (f"{cells[i]:>{widths[i]}}" for i in range(first, last))
            console.print(
                f"{name:{label}}  {'  '.join(shown)}".rstrip(), markup=False, soft_wrap=True
            )
        first = last


def _differences(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """The settings in which they are not all the same, in the order of a config."""
    from jaxcifar.config.settings import applicable, in_words
    from jaxcifar.report.wording import field_title

    settings = [applicable(run.config.settings()) for run in runs]
    rows = {}
    for name in dict.fromkeys(key for values in settings for key in values):
        digest = name.endswith("sha256") or name == "sources" or name.startswith("SHA-256")
        cells = ["-" if v.get(name) is None else in_words(v[name]) for v in settings]
        if len(set(cells)) > 1:
            rows[field_title(name)] = [cell[:8] for cell in cells] if digest else cells
    return rows


def _reached(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """What they came to, and in how long; of one that is not finished, so far."""
    return {
        "epochs trained": [f"{len(r.history)} of {r.config.epochs}" for r in runs],
        "best epoch": [str(r.selected["epoch"]) if r.history else "-" for r in runs],
        "validation": [_percent(r.history and r.selected, "val_accuracy") for r in runs],
        "test": [_percent(r.result, "test_accuracy") for r in runs],
        "test with flips": [_percent(r.result, "test_accuracy_flip") for r in runs],
        **_other_metrics(runs),
        "time": [duration(r.result["wall_seconds"]) if r.result else "-" for r in runs],
        "images/s": [_rate(r) for r in runs],
        "device": [r.result["device"] if r.result else "-" for r in runs],
    }


def _other_metrics(runs: Sequence["RunRecord"]) -> dict[str, list[str]]:
    """All metrics but the accuracy, of the validation images and of the test images."""
    from jaxcifar.runs.metric_fields import metrics_of, spelled

    results: list[dict[str, Any]] = [{**run.result} if run.result else {} for run in runs]
    chosen: list[dict[str, Any]] = [{**run.selected} if run.history else {} for run in runs]
    cells: dict[str, list[str]] = {}
    for metric in metrics_of(results, chosen):
        if metric["name"] == "accuracy":
            continue
        for split, word, figures in (("val", "validation", chosen), ("test", "test", results)):
            values = [figure.get(f"{split}_{metric['name']}") for figure in figures]
            shown = ["-" if v is None else spelled(v, metric["unit"]) for v in values]
            label = printable(f"{word} {metric['title']}")
            if label in (*cells, "test with flips"):
                label = f"{label} ({metric['name']})"
            if set(shown) != {"-"}:
                cells[label] = shown
    return cells


def _percent(values: Any, name: str) -> str:
    return f"{values[name]:.2%}" if values and name in values else "-"


def _rate(run: "RunRecord") -> str:
    from jaxcifar.runs.result import mean_rate

    return f"{mean_rate(run.history):,.0f}" if run.history else "-"


def draw(names: Sequence[str], runs: Sequence["RunRecord"], file: Any, form: str) -> None:
    """Validation accuracy by epoch, a line a run."""
    from matplotlib.ticker import PercentFormatter

    from jaxcifar.report.figures import COLORS
    from jaxcifar.runs.plots import draw_mean, figure_with_axes

    figure, axes = figure_with_axes(7.0, 4.2, "Validation accuracy by epoch")
    for number, (name, run) in enumerate(zip(names, runs, strict=True)):
        curve = [row["val_accuracy"] for row in run.history if "val_accuracy" in row]
        if curve:
            style = {"color": COLORS[number % len(COLORS)], "marker": "os^Dv"[number % 5]}
            style["linestyle"] = ("-", "--", ":", "-.")[number // len(COLORS) % 4]
            draw_mean(axes, _row(curve), f"{name}, best {max(curve):.2%}", **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy")
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    if axes.lines:
        for text in axes.legend().get_texts():
            text.set_parse_math(False)
    figure.savefig(file, format=form)


def _row(values: Sequence[float]) -> Any:
    import numpy as np

    return np.asarray([values], np.float64)
