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


def show_ranking(console: Console, records: "Records") -> None:
    """Print a table of each network's rows, in the study's order, and name the best row.

    A row has the results of one set of settings, averaged over its seeds and folds.

    Args:
      console: where to print.
      records: the runs in the study's folder.
    """
    from jaxcifar.report.choice import sentences_on_guessing_runs

    print_line = line_printer(console)
    for network in records.networks:
        tied_rows = _rows_tied_with_best(network)
        console.print(_ranked_table(network, tied_rows))
        print_line(_best_row_sentence(network, tied_rows))
        if network.has_folds:
            print_line(
                "With folds: mean ± standard deviation over the folds; the validation images of "
                "each fold are other images. Each run used the test images once, at its end."
            )
        for sentence in sentences_on_guessing_runs(network, _quoted_name):
            print_line(sentence)
    if records.variations_without_validation:
        console.print(_table_without_validation(records))
        print_line(
            "Trained on all images: without validation images, no row can be called the best."
        )


def _quoted_name(name: str) -> str:
    return f"“{printable(name)}”"


def _ranked_table(network: "StudiedNetwork", tied_rows: Sequence[str]) -> Table:
    """Return a table of one network's rows, in which the best row is marked.

    The mark is "best", or "first" if there are `tied_rows`: names of rows that may be as good.
    """
    from jaxcifar.report.run_times import device_seconds

    count_column = "runs" if network.has_folds else "seeds"
    number_columns = (count_column, "validation", "test", "time")
    table = make_table(network.title, ("row",), number_columns)
    table.add_column("")  # for the mark of the best row
    has_rows_to_compare = len(network.variations) > 1
    mark_of_best = ""
    if has_rows_to_compare:
        mark_of_best = "<- first" if tied_rows else "<- best"
    for variation in network.variations:
        table.add_row(
            Text(printable(variation.name)),
            _run_count_text(variation),
            _accuracy_or_empty(variation, "val"),
            _accuracy_or_empty(variation, "test"),
            duration(device_seconds(variation.runs)),
            mark_of_best if variation is network.winner else "",
        )
    return table


def _table_without_validation(records: "Records") -> Table:
    """Return a table of the rows whose runs trained on all images, without validation images."""
    from jaxcifar.report.run_times import device_seconds
    from jaxcifar.report.wording import accuracy_text, accuracy_with_flips_text

    number_columns = ("seeds", "test", "with flips", "time")
    table = make_table("Trained on all images", ("row",), number_columns)
    for variation in records.variations_without_validation:
        seconds = device_seconds(variation.runs)
        accuracies = accuracy_text(variation), accuracy_with_flips_text(variation)
        run_count = _run_count_text(variation)
        table.add_row(Text(printable(variation.name)), run_count, *accuracies, duration(seconds))
    return table


def _run_count_text(variation: "Variation") -> str:
    """Return the number of a row's runs as text: "3" (seeds), "5 folds", or "5 folds x 3"."""
    fold_count = len(variation.folds)
    if fold_count < 2:
        return str(len(variation.runs))
    seed_count = len({run.config.seed for run in variation.runs})
    return f"{fold_count} folds x {seed_count}" if seed_count > 1 else f"{fold_count} folds"


def _accuracy_or_empty(variation: "Variation", split: str) -> str:
    """Return a row's accuracy on the split "val" or "test" as text; "" if it was not measured."""
    from jaxcifar.report.wording import accuracy_text

    result_field = f"{split}_accuracy"
    is_measured = result_field in variation.runs[0].result
    return accuracy_text(variation, result_field, split) if is_measured else ""


def _rows_tied_with_best(network: "StudiedNetwork") -> list[str]:
    """Return the names of rows that may be as good as the row with the best validation accuracy.

    The validation accuracy of such a row is not significantly lower.
    """
    from jaxcifar.report.choice import validation_lead

    best, *others = network.ranked_variations
    if network.converted:  # no validation accuracy
        return []
    return [other.name for other in others if not validation_lead(best, other).is_significant]


def _best_row_sentence(network: "StudiedNetwork", tied_rows: Sequence[str]) -> str:
    """Return a sentence about the row with the best validation accuracy.

    Args:
      network: the rows of a study with the same network.
      tied_rows: names of other rows that may be as good, because the difference may be chance.
    """
    from jaxcifar.machine.name_lists import join_names

    best, *others = network.ranked_variations
    rank = "first" if tied_rows else "best"
    sentence = f"{rank}: {best.name}"
    test_text = f"{_accuracy_or_empty(best, 'test')} of the test images"
    if network.converted:  # no validation accuracy
        return f"{sentence}, {test_text}"
    sentence += f", {_accuracy_or_empty(best, 'val')} of the validation images and {test_text}"
    if others:
        second = others[0]
        lead = best.mean("val_accuracy") - second.mean("val_accuracy")
        sentence += f"; in validation {100 * lead:.2f} points ahead of {second.name}"
    if tied_rows:
        sentence += (
            f". Its lead over {join_names(tied_rows)} may be chance, so none of these is the best"
        )
    return f"{sentence}."
