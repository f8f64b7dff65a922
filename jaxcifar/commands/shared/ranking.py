"""The tables that `jaxcifar ablation` prints: all rows of a study, and the best row."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.output import make_table
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import duration, line_printer

if TYPE_CHECKING:
    from jaxcifar.report.run_records import Variation
    from jaxcifar.report.study_records import Records, StudiedNetwork


def show(console: Console, records: "Records") -> None:
    """Print a table of each network's rows, in the study's order, and name the best row.

    A row has the results of one set of settings, averaged over its seeds and folds.

    Args:
      console: where to print.
      records: the runs in the study's folder.
    """
    from jaxcifar.report.choice import collapse_sentences

    print_line = line_printer(console)
    for network in records.networks:
        ties = _ties_with_first(network)
        console.print(_table(network, ties))
        print_line(_winner(network, ties))
        if any(len(variation.folds) > 1 for variation in network.variations):
            print_line(
                "With folds: mean ± standard deviation over the folds; the validation images of "
                "each fold are other images. Each run used the test images once, at its end."
            )
        for line in collapse_sentences(network, lambda name: f"“{printable(name)}”"):
            print_line(line)
    if records.variations_without_validation:
        console.print(_on_all_table(records))
        print_line(
            "Trained on all images: without validation images, no row can be called the best."
        )


def _table(network: "StudiedNetwork", ties: Sequence[str]) -> Table:
    """Return a table of one network's rows, in which the best row is marked.

    The mark is "best", or "first" if there are `ties`: names of rows that may be as good.
    """
    from jaxcifar.report.run_times import device_seconds

    has_folds = any(len(variation.folds) > 1 for variation in network.variations)
    numbers = ("runs" if has_folds else "seeds", "validation", "test", "device time")
    table = make_table(network.title, ("row",), numbers)
    table.add_column("")  # for the mark of the best row
    mark = "<- first" if ties else "<- best"
    for variation in network.variations:
        table.add_row(
            Text(printable(variation.name)),
            _run_count(variation),
            _percent(variation, "val"),
            _percent(variation, "test"),
            duration(device_seconds(variation.runs)),
            mark if variation is network.winner and len(network.variations) > 1 else "",
        )
    return table


def _on_all_table(records: "Records") -> Table:
    """Return a table of the rows that were trained without validation images."""
    from jaxcifar.report.run_times import device_seconds
    from jaxcifar.report.wording import accuracy_text, accuracy_with_flips_text

    numbers = ("seeds", "test", "with flips", "device time")
    table = make_table("Trained on all images", ("row",), numbers)
    for variation in records.variations_without_validation:
        seconds = device_seconds(variation.runs)
        cells = _run_count(variation), accuracy_text(variation), accuracy_with_flips_text(variation)
        table.add_row(Text(printable(variation.name)), *cells, duration(seconds))
    return table


def _run_count(variation: "Variation") -> str:
    """Return the number of a row's runs as text: "3" seeds, "5 folds", or "5 folds x 3" seeds."""
    folds = len(variation.folds)
    if folds < 2:
        return str(len(variation.runs))
    seeds = len({run.config.seed for run in variation.runs})
    return f"{folds} folds" + (f" x {seeds}" if seeds > 1 else "")


def _percent(variation: "Variation", split: str) -> str:
    """Return a row's accuracy on the split "val" or "test" as text; "" if it was not measured."""
    from jaxcifar.report.wording import accuracy_text

    key = f"{split}_accuracy"
    return accuracy_text(variation, key, split) if key in variation.runs[0].result else ""


def _ties_with_first(network: "StudiedNetwork") -> list[str]:
    """Return names of rows whose validation accuracy is not significantly below the best row's."""
    from jaxcifar.report.choice import validation_lead

    first, *others = network.by_validation
    if first.runs[0].converted:
        return []
    return [other.name for other in others if not validation_lead(first, other).is_significant]


def _winner(network: "StudiedNetwork", ties: Sequence[str]) -> str:
    """Return a sentence about the row with the best validation accuracy.

    Args:
      network: the rows of a study with the same network.
      ties: names of other rows that may be as good: their distance may be chance.
    """
    from jaxcifar.machine.name_lists import join_names

    best, *others = network.by_validation
    sentence = f"{'first' if ties else 'best'}: {best.name}"
    if best.runs[0].converted:
        return f"{sentence}, {_percent(best, 'test')} of the test images"
    sentence += (
        f", {_percent(best, 'val')} of the validation images and "
        f"{_percent(best, 'test')} of the test images"
    )
    if others:
        means = [row.repeats("val_accuracy").mean() for row in (best, others[0])]
        ahead = means[0] - means[1]
        sentence += f"; in validation {100 * ahead:.2f} points ahead of {others[0].name}"
    if ties:
        sentence += (
            f". Its lead over {join_names(ties)} may be chance, so none of these is the best"
        )
    return f"{sentence}."
