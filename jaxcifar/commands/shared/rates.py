"""The tables of speeds that `jaxcifar bench` prints."""

from collections.abc import Callable, Sequence
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import PrintLine, line_printer


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print benchmark results in a table for each network, at most 80 characters wide.

    `figures` is the content of the file that `jaxcifar bench --json` writes.
    """
    print_line = line_printer(console)
    print_line(f"{figures['device']}, jax {figures['versions']['jax']}")
    for arch in dict.fromkeys(row["arch"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["arch"] == arch]
        console.print(_table(arch, sorted(rows, key=lambda row: row["phase"])))
        contestants = [(f"{row['implementation']} {row['dtype']}", row) for row in rows]
        _print_left_out(contestants, print_line)
    if figures["programs"]:
        console.print(_programs(figures["programs"]))
        programs = [(", ".join(program["runs"]), program) for program in figures["programs"]]
        _print_left_out(programs, print_line)
    for arch, phases in figures["ratio"].items():
        for phase, ratio in phases.items():
            print_line(
                f"{arch} {phase}: {_ratio(ratio, 'float32')} x PyTorch's best float32, "
                f"{_ratio(ratio, 'any')} x its best of any precision"
            )
    for arch, ours in figures["ours"].items():
        first = ours["first_step_seconds"]
        print_line(
            f"{arch}: first step after {first['cold']:.1f} s, {first['warm']:.1f} s with a "
            f"warm compilation cache; a run's epoch of {ours['epoch_images']:,} images takes "
            f"{ours['epoch_seconds']:.2f} s; {ours['seconds_beyond_steps']:.2f} s of a run of two "
            "are not steps"
        )
        for together in ours["at_once"]:
            print_line(f"{arch}: {together['runs']} at once, {_rate(together)} images/s")
        at_once = [
            (f"{arch}, {together['runs']} at once", together) for together in ours["at_once"]
        ]
        _print_left_out(at_once, print_line)


def _print_left_out(contestants: list[tuple[str, dict[str, Any]]], print_line: PrintLine) -> None:
    """Print why some programs were left out of the timed rounds.

    Args:
      contestants: (name, measured results) of each program that was to be measured.
      print_line: prints a line.
    """
    reasons = {name: figures["left_out"] for name, figures in contestants if "left_out" in figures}
    for name, reason in reasons.items():
        print_line(f"{name} was left out of the rounds: {reason}")
    estimates = [f for _, f in contestants if f["rounds"] == 0]
    if any(figures["images_per_second"] is not None for figures in estimates):
        print_line("~ is the rate of first steps, measured briefly")


def _rate(figures: dict[str, Any]) -> str:
    """Return the images per second in `figures` as text.

    The text begins with "~" if only the first steps were measured; "-" means no measurement.
    """
    mark = "" if figures["rounds"] else "~"
    return _text_or_dash(figures["images_per_second"], lambda rate: f"{mark}{rate:,.0f}")


def _text_or_dash(value: float | None, text_of: Callable[[float], str]) -> str:
    """Return a number as text by calling `text_of`; "-" for None."""
    return "-" if value is None else text_of(value)


def _ratio(ratios: dict[str, Any], name: str) -> str:
    """Return the ratio `name` as text, with the range over the rounds if known: "1.1 (1.0-1.2)"."""
    spread = ratios[f"{name}_spread"]
    return f"{ratios[name]:.2f} ({_range_of(spread)})" if spread else f"{ratios[name]:.2f}"


def _range_of(spread: Sequence[float]) -> str:
    """Return (lowest, highest) as text, such as "1.02-1.10"."""
    return f"{spread[0]:.2f}-{spread[1]:.2f}"


def _gigabytes(memory: float) -> str:
    """Return a number of bytes as gigabytes, such as "1.25"."""
    return f"{memory / 1e9:.2f}"


def _table(arch: str, rows: list[dict[str, Any]]) -> Table:
    """Return the table of one network's speeds, with a line for each measurement."""
    texts = ("phase", "implementation", "precision")
    numbers = ("images/s", "ours\nover it", "from-to", "peak\nGB")
    table = make_table(arch, texts, numbers, wrap_text=False)
    for row in rows:
        table.add_row(
            row["phase"],
            row["implementation"],
            row["dtype"],
            _rate(row),
            _text_or_dash(row["ratio"], "{:.2f}".format) if "ratio" in row else "",
            _range_of(row["ratio_spread"]) if row.get("ratio_spread") else "",
            _text_or_dash(row["peak_memory_bytes"], _gigabytes),
        )
    return table


def _programs(programs: list[dict[str, Any]]) -> Table:
    """Return a table of the speed of each compiled program, with the runs that use the program."""
    numbers = ("batch", "precision", "images/s", "from-to")
    table = make_table("", ("rows",), numbers)
    for program in programs:
        spread = program["spread"] if program["rounds"] else None
        table.add_row(
            Text(printable(", ".join(program["runs"]))),
            str(program["batch_size"]),
            program["dtype"],
            _rate(program),
            f"{spread[0]:,.0f}-{spread[1]:,.0f}" if spread else "-",
        )
    return table
