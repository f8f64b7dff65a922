"""What the bench prints: tables of rates."""

from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import teller


def show(console: Console, figures: dict[str, Any]) -> None:
    """Print the figures, a table a network, each within 80 columns."""
    say = teller(console)
    say(f"{figures['device']}, jax {figures['versions']['jax']}")
    for arch in dict.fromkeys(row["arch"] for row in figures["rows"]):
        rows = [row for row in figures["rows"] if row["arch"] == arch]
        console.print(_table(arch, sorted(rows, key=lambda row: row["phase"])))
    if figures["programs"]:
        console.print(_programs(figures["programs"]))
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
            rate = together["images_per_second"]
            say(f"{arch}: {together['runs']} at once, {rate:,.0f} images/s")


def _table(arch: str, rows: list[dict[str, Any]]) -> Table:
    """One network's figures; the range of the rounds is in the file of `--json`."""
    table = Table(title=Text(printable(arch)), box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    for column in ("phase", "implementation", "precision"):
        table.add_column(column, no_wrap=True)
    for column in ("images/s", "ms a\nbatch", "TFLOP/s", "of\npeak", "memory\nGB"):
        table.add_column(column, justify="right", no_wrap=True)
    for row in rows:
        share = row.get("share_of_peak")
        table.add_row(
            row["phase"],
            row["implementation"],
            row["dtype"],
            f"{row['images_per_second']:,.0f}",
            f"{row['milliseconds']:,.1f}",
            f"{row['flops_per_second'] / 1e12:.3g}",
            f"{share:.0%}" if share else "",
            f"{row['peak_memory_bytes'] / 1e9:.2f}",
        )
    return table


def _programs(programs: list[dict[str, Any]]) -> Table:
    """A line a program, with the rows of a study that train by it."""
    table = Table(box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("rows")
    for column in ("batch", "precision", "images/s", "from-to"):
        table.add_column(column, justify="right", no_wrap=True)
    for program in programs:
        low, high = program["spread"]
        table.add_row(
            Text(printable(", ".join(program["runs"]))),
            str(program["batch_size"]),
            program["dtype"],
            f"{program['images_per_second']:,.0f}",
            f"{low:,.0f}-{high:,.0f}",
        )
    return table
