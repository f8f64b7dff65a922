"""Findings about a study, computed from its runs, as sentences and table cells."""

from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.report.run_records import ValueChange, Variation
from jaxcifar.report.single_changes import SingleChange
from jaxcifar.report.statistics import (
    ROUNDING_ERROR,
    Difference,
    Sample,
    first_epoch_at_share,
)
from jaxcifar.report.wording import (
    accuracy_text,
    changes_in_words,
    changes_with_arrows,
    comparison_verdict,
    escape_markdown,
    interval_text,
    join_names,
    p_value_cell,
    quoted_name,
    signed_points,
    significance_text,
    unsigned_points,
)
from jaxcifar.training.metrics import only_predicted_class

_SHARE_OF_LAST_ACCURACY = 0.9  # that tells how fast a network learns


def most_similar_row(variation: Variation, earlier_rows: Sequence[Variation]) -> Variation:
    """Return the earlier variation that differs from `variation` in the fewest settings.

    If several differ in equally few settings, return the first of them.
    """
    return min(earlier_rows, key=lambda other: len(other.changes_to(variation)))


def comparison_sentences(variation: Variation, earlier_rows: Sequence[Variation]) -> str:
    """Return sentences that compare a variation with the most similar earlier variation.

    The sentences say which settings differ, and by how much the test accuracy changes.
    """
    collapse = _collapse_sentence(variation)
    if not earlier_rows:
        return f"The first row: {accuracy_text(variation)} test accuracy.{collapse}"
    similar_row = most_similar_row(variation, earlier_rows)
    difference = _test_difference(similar_row, variation)
    if difference.is_tie:
        outcome = "Its test accuracy is the same: a tie"
    else:
        direction = "higher" if difference.value > 0 else "lower"
        outcome = (
            f"Its test accuracy is {unsigned_points(difference)} points {direction} "
            f"({significance_text(difference)})"
        )
        if not difference.is_significant:
            outcome += ", so the two can't be told apart"
    changes = changes_in_words(similar_row.changes_to(variation)) or "nothing"
    return f"Changes {changes}, compared with {quoted_name(similar_row.name)}. {outcome}.{collapse}"


def comparison_cells(variation: Variation, earlier_rows: Sequence[Variation]) -> dict[str, str]:
    """Return the table cells, by column, that compare a variation with an earlier variation.

    The variation is compared with the most similar earlier one. If there is no earlier variation,
    most cells are "–".
    """
    cells = {"name": escape_markdown(variation.name), "accuracy": accuracy_text(variation)}
    if not earlier_rows:
        columns = ("compared", "changes", "points", "interval", "p", "basis", "verdict")
        return cells | dict.fromkeys(columns, "–")
    similar_row = most_similar_row(variation, earlier_rows)
    difference = _test_difference(similar_row, variation)
    return cells | {
        "compared": escape_markdown(similar_row.name),
        "changes": changes_with_arrows(similar_row.changes_to(variation)) or "–",
        **_difference_cells(difference),
    }


def _collapse_sentence(variation: Variation) -> str:
    """Return a sentence on the runs that predict only one class, or "" without such runs.

    The sentence begins with a space, to follow another sentence.
    """
    runs = variation.runs
    collapsed_runs = [run for run in runs if only_predicted_class(run.confusion) is not None]
    if not collapsed_runs:
        return ""
    subject = "It" if len(runs) == 1 else f"{len(collapsed_runs)} of its {len(runs)} runs"
    return f" **{subject} collapsed**: every test image is given the same class."


def _test_difference(first: Variation, second: Variation) -> Difference:
    """Return the mean test accuracy of the second variation minus that of the first."""
    first_sample = Sample.of(first, "test_accuracy")
    second_sample = Sample.of(second, "test_accuracy")
    return Difference.between(first_sample, second_sample)


def change_cells(change: SingleChange) -> dict[str, str]:
    """Return the table cells, by column, on how a change of one setting affects test accuracy."""
    difference = _test_difference(change.old_row, change.new_row)
    value_change = ValueChange(change.old_value, change.new_value)
    return {
        "change": changes_with_arrows({change.setting: value_change}),
        "rows": f"{escape_markdown(change.old_row.name)} → {escape_markdown(change.new_row.name)}",
        **_difference_cells(difference),
    }


def _difference_cells(difference: Difference) -> dict[str, str]:
    return {
        "points": signed_points(difference.value),
        "interval": interval_text(difference),
        "p": p_value_cell(difference),
        "basis": difference.error_basis,
        "verdict": comparison_verdict(difference),
    }


def learning_cells(variation: Variation) -> dict[str, Any]:
    """Return how well a variation fits its training images, and how fast it learns.

    Returns:
      a dict with these keys:
        "name": the variation's name.
        "train", "val": the mean accuracies of all runs in their last epoch.
        "gap": the difference of these two accuracies.
        "epochs": the first epoch with 90% of the last validation accuracy.
        "trained_epochs": the number of all epochs.
      If some runs ended early, the validation accuracy of later epochs is that of the other runs.
    """
    last_rows = [run.history[-1] for run in variation.runs]
    train_accuracy = float(np.mean([row["train_accuracy"] for row in last_rows]))
    val_accuracy = float(np.mean([row["val_accuracy"] for row in last_rows]))
    mean_curve = np.nanmean(variation.curve("val_accuracy"), 0)
    return {
        "name": escape_markdown(variation.name),
        "train": train_accuracy,
        "val": val_accuracy,
        "gap": train_accuracy - val_accuracy,
        "epochs": first_epoch_at_share(mean_curve, _SHARE_OF_LAST_ACCURACY),
        "trained_epochs": len(mean_curve),
    }


def learning_sentence(rows: Sequence[dict[str, Any]]) -> str:
    """Return sentences on which variations overfit most and least, and learn fastest and slowest.

    `rows` has the result of `learning_cells` for each variation.
    """
    gaps = [row["gap"] for row in rows]
    epochs_with_90_percent = [row["epochs"] for row in rows]
    widest, narrowest = max(gaps), min(gaps)
    fastest, slowest = min(epochs_with_90_percent), max(epochs_with_90_percent)
    if len(rows) == 1:
        return f"The gap is {signed_points(widest)} points."
    gaps_are_equal = widest - narrowest < ROUNDING_ERROR
    if gaps_are_equal:
        gap_sentence = f"The gap is the same for all: {signed_points(widest)} points."
    else:
        widest_names = _names_of_rows_with(rows, "gap", widest)
        narrowest_names = _names_of_rows_with(rows, "gap", narrowest)
        gap_sentence = (
            f"The gap is widest for {widest_names} ({signed_points(widest)} points) "
            f"and smallest for {narrowest_names} ({signed_points(narrowest)})."
        )
    if fastest == slowest:
        speed_sentence = f"All reach 90% of their last validation accuracy in epoch {fastest}."
    else:
        speed_sentence = (
            "The first to reach 90% of the last validation accuracy: "
            f"{_names_of_rows_with(rows, 'epochs', fastest)} (epoch {fastest}); the last: "
            f"{_names_of_rows_with(rows, 'epochs', slowest)} (epoch {slowest})."
        )
    return f"{gap_sentence} {speed_sentence}"


def _names_of_rows_with(rows: Sequence[dict[str, Any]], key: str, value: float) -> str:
    """Return the quoted names of the variations for which the number `key` equals `value`.

    `rows` has the result of `learning_cells` for each variation.
    """
    return join_names(f"“{row['name']}”" for row in rows if row[key] == value)
