"""What a study came to, as its command shows it: all rows, and the best."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration, line_printer

if TYPE_CHECKING:
    from jaxcifar.report.run_records import Records, StudiedNetwork, Variation


def show(console: Console, records: "Records") -> None:
    """Print a table of each network's rows, in the study's order, and which row is the best.

    Args:
      console: where.
      records: of the study's folder.
    """
    from jaxcifar.report.choice import collapses

    say = line_printer(console)
    for network in records.networks:
        alike = _alike(network)
        console.print(_table(network, alike))
        say(_winner(network, alike))
        for line in collapses(network, lambda name: f"“{printable(name)}”"):
            say(line)
    if records.without_validation:
        console.print(_on_all_table(records))
        say("Trained on all images: with none to validate, no row can be called the best.")


def _table(network: "StudiedNetwork", alike: Sequence[str]) -> Table:
    title = Text(printable(network.title))
    table = Table(title=title, box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("row", overflow="fold")
    for column in ("seeds", "validation", "test", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    table.add_column("")
    mark = "<- first" if alike else "<- best"
    for variation in network.variations:
        table.add_row(
            Text(printable(variation.name)),
            str(len(variation.runs)),
            _percent(variation, "val"),
            _percent(variation, "test"),
            duration(float(variation.values("wall_seconds").sum())),
            mark if variation is network.winner and len(network.variations) > 1 else "",
        )
    return table


def _on_all_table(records: "Records") -> Table:
    from jaxcifar.report.wording import accuracy, accuracy_with_flips

    table = Table(title="Trained on all images", box=SIMPLE_HEAD, padding=(0, 1, 0, 0))
    table.add_column("row", overflow="fold")
    for column in ("seeds", "test", "with flips", "time"):
        table.add_column(column, justify="right", no_wrap=True)
    for variation in records.without_validation:
        seconds = float(variation.values("wall_seconds").sum())
        cells = str(len(variation.runs)), accuracy(variation), accuracy_with_flips(variation)
        table.add_row(Text(printable(variation.name)), *cells, duration(seconds))
    return table


def _percent(variation: "Variation", split: str) -> str:
    """Its accuracy as reports spell it; nothing if it was not measured, as of what is converted."""
    from jaxcifar.report.wording import accuracy

    key = f"{split}_accuracy"
    return accuracy(variation, key, split) if key in variation.runs[0].result else ""


def _alike(network: "StudiedNetwork") -> list[str]:
    """The rows that can't be told from the first by the validation images."""
    from jaxcifar.report.choice import validation_lead

    first, *others = network.by_validation
    if first.runs[0].converted:
        return []
    return [other.name for other in others if not validation_lead(first, other).is_significant]


def _winner(network: "StudiedNetwork", alike: Sequence[str]) -> str:
    from jaxcifar.report.wording import join_names

    best, *others = network.by_validation
    said = f"{'first' if alike else 'best'}: {best.name}"
    if best.runs[0].converted:
        return f"{said}, {_percent(best, 'test')} of the test images"
    said += (
        f", {_percent(best, 'val')} of the validation images and "
        f"{_percent(best, 'test')} of the test images"
    )
    if others:
        ahead = best.values("val_accuracy").mean() - others[0].values("val_accuracy").mean()
        said += f"; in validation {100 * ahead:.2f} points ahead of {others[0].name}"
    if alike:
        said += f". It can't be told apart from {join_names(alike)}, so none of these is the best"
    return f"{said}."
