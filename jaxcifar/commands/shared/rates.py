"""What the bench prints: tables of rates."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import PrintLine, line_printer


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures, a table a network, each within 80 columns."""
    say = line_printer(console)
    say(f"{figures['device']}, jax {figures['versions']['jax']}")
    for arch in dict.fromkeys(row["arch"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["arch"] == arch]
        console.print(_table(arch, sorted(rows, key=lambda row: row["phase"])))
        contestants = [(f"{row['implementation']} {row['dtype']}", row) for row in rows]
        _say_who_was_left_out(contestants, say)
    if figures["programs"]:
        console.print(_programs(figures["programs"]))
        programs = [(", ".join(program["runs"]), program) for program in figures["programs"]]
        _say_who_was_left_out(programs, say)
    for arch, phases in figures["ratio"].items():
        for phase, ratio in phases.items():
            say(
                f"{arch} {phase}: {ratio['float32']:.2f} x PyTorch's best float32, "
                f"{ratio['any']:.2f} x its best of any precision"
            )
    for arch, ours in figures["ours"].items():
        first = ours["first_step_seconds"]
        say(
            f"{arch}: first step after {first['cold']:.1f} s, {first['warm']:.1f} s with a "
            f"warm compilation cache; a run's epoch of {ours['epoch_images']:,} images takes "
            f"{ours['epoch_seconds']:.2f} s; {ours['seconds_beyond_steps']:.2f} s of a run of two "
            "are not steps"
        )
        for together in ours["at_once"]:
            say(f"{arch}: {together['runs']} at once, {_rate(together)} images/s")
        at_once = [
            (f"{arch}, {together['runs']} at once", together) for together in ours["at_once"]
        ]
        _say_who_was_left_out(at_once, say)


def _say_who_was_left_out(contestants: list[tuple[str, dict[str, Any]]], say: PrintLine) -> None:
    """Print one line per left-out contestant, with the reason.

    Args:
      contestants: pairs (name, figures).
      say: prints a line.
    """
    reasons = {name: figures["left_out"] for name, figures in contestants if "left_out" in figures}
    for name, reason in reasons.items():
        say(f"{name} was left out of the rounds: {reason}")
    if any(figures["rounds"] == 0 and _is_measured(figures) for _, figures in contestants):
        say("~ is the rate of first steps, measured briefly")


def _is_measured(figures: dict[str, Any]) -> bool:
    return figures["images_per_second"] is not None


def _rate(figures: dict[str, Any]) -> str:
    """Return images per second as text.

    It begins with "~" if only the first steps were measured. It is "-" if nothing was measured.
    """
    if not _is_measured(figures):
        return "-"
    mark = "" if figures["rounds"] else "~"
    return f"{mark}{figures['images_per_second']:,.0f}"


def _milliseconds(milliseconds: float | None) -> str:
    """Return milliseconds as text; "-" if nothing was measured."""
    if milliseconds is None:
        return "-"
    if milliseconds < 10_000:
        return f"{milliseconds:,.1f}"
    return f"{milliseconds:,.0f}"


def _teraflops(flops: float | None) -> str:
    """Return FLOP/s as text, in TFLOP/s; "-" if nothing was measured."""
    if flops is None:
        return "-"
    teraflops = flops / 1e12
    if teraflops < 0.001:
        return f"{teraflops:.5f}"
    return f"{teraflops:.3g}"


def _gigabytes(memory: int | None) -> str:
    """Return bytes as text, in GB; "-" if nothing was measured."""
    return "-" if memory is None else f"{memory / 1e9:.2f}"


def _table(arch: str, rows: list[dict[str, Any]]) -> Table:
    """One network's figures; the range of the rounds is in the file of `--json`."""
    table = Table(title=Text(printable(arch)), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("phase", "implementation", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("images/s", "ms a\nbatch", "TFLOP/s", "of\npeak", "peak\nGB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        table.add_row(
            row["phase"],
            row["implementation"],
            row["dtype"],
            _rate(row),
            _milliseconds(row["milliseconds"]),
            _teraflops(row["flops_per_second"]),
            f"{row['share_of_peak']:.0%}" if "share_of_peak" in row else "",
            _gigabytes(row["peak_memory_bytes"]),
        )
    return table


def _programs(programs: list[dict[str, Any]]) -> Table:
    """A line a program, with the rows of a study that train by it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("rows")
    for column in ("batch", "precision", "images/s", "from-to"):
        table.add_column(column, justify="right", no_wrap=True)
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
