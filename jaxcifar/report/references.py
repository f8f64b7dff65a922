"""Compare a study's test accuracies with the reference accuracies listed in its file."""

import shlex
from collections.abc import Sequence
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.errors import RunError, printable
from jaxcifar.machine.terminal import pluralize
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.statistics import Distance, Sample
from jaxcifar.report.study_records import StudyRecord
from jaxcifar.report.wording import (
    escape_markdown,
    field_title,
    percent,
    significance_text,
    unsigned_points,
    value_text,
)
from jaxcifar.runs.evaluation_file import NORMALISED, NOT_NORMALISED, read_evaluation
from jaxcifar.runs.folder import RunFolder

_MAX_COMMAND_CHARACTERS = 2000
_LEAST_GAP_TO_EXPLAIN = 0.02  # between our accuracy and a lower reference accuracy
# Shares of this gap by which our accuracy falls: 1 means exactly to the reference, 0 not at all.
_LEAST_SHARE_TO_EXPLAIN, _MOST_SHARE_TO_EXPLAIN = 2 / 3, 1.5
_LEAST_COMPARABLE, _MOST_COMPARABLE = 1 / 3, 3


class ReferenceSet(NamedTuple):
    """A group of a study's rows, and the distance of its accuracies from published accuracies."""

    name: str
    distance: Distance


def reference_sets(study: StudyRecord) -> list[ReferenceSet]:
    """Group a study's rows, and return each group's distance from its published accuracies.

    The study's file lists settings under "sets". Rows with the same values of these settings, and
    with published accuracies, form a set. Its distance is the root mean square of the differences.

    Returns:
      the sets, nearest set first; [] if the file lists no settings.
    """
    settings_that_define_a_set = study.reference.get("sets", [])
    if not settings_that_define_a_set:
        return []
    rows_of_set: dict[str, list[Variation]] = {}
    for row in study.variations:
        if row.reference_accuracies:
            set_name = ", ".join(
                f"{field_title(setting)} {value_text(row.settings.get(setting))}"
                for setting in settings_that_define_a_set
            )
            rows_of_set.setdefault(set_name, []).append(row)
    sets = []
    for set_name, rows in rows_of_set.items():
        our_samples = tuple(Sample.of(row, "test_accuracy") for row in rows)
        reference_means = tuple(float(np.mean(row.reference_accuracies)) for row in rows)
        sets.append(ReferenceSet(set_name, Distance(our_samples, reference_means)))
    return sorted(sets, key=lambda reference_set: reference_set.distance.value)


def nearest_set_text(sets: Sequence[ReferenceSet]) -> str:
    """Return a sentence on which group of rows is nearest to its published accuracies.

    `sets` has the nearest group first.
    """
    nearest_set, *others = sets
    sentence = f"{nearest_set.name} comes nearest, by the root mean square of its rows' differences"
    if not others:
        return f"{sentence}."
    next_set = others[0]
    lead = next_set.distance.minus(nearest_set.distance)
    if lead.is_tie:
        return f"{sentence}, and so does {next_set.name}: a tie."
    lead_text = f"{unsigned_points(lead)} points before {next_set.name} ({significance_text(lead)})"
    doubt = "" if lead.is_significant else " The two can't be told apart."
    return f"{sentence}, {lead_text}.{doubt}"


def accuracies_with_wrong_normalisation(variation: Variation) -> tuple[float, ...]:
    """Return a row's accuracies on test images that are normalised wrongly.

    The images are normalised if the row was trained without normalisation, and otherwise not.
    `jaxcifar evaluate --on slips` (common mistakes in test code) measures these accuracies.

    Returns:
      an accuracy for each fold, or for each seed of a row without folds; () if one is unknown.
    """
    accuracies = [_accuracy_with_wrong_normalisation(run) for run in variation.runs]
    known_accuracies = [accuracy for accuracy in accuracies if accuracy is not None]
    if len(known_accuracies) < len(accuracies):
        return ()
    return tuple(variation.average_each_fold(np.asarray(known_accuracies)).tolist())


def _accuracy_with_wrong_normalisation(run: FinishedRun) -> float | None:
    """Return a run's accuracy on wrongly normalised test images; None if it is not known."""
    if "test_accuracy_mismatched" in run.result:
        return run.result["test_accuracy_mismatched"]
    try:
        evaluation = read_evaluation(RunFolder(run.path))
    except RunError:
        return None
    if evaluation is None or "slips" not in evaluation:
        return None
    accuracy_by_mistake = evaluation["slips"]["accuracy"]
    normalising_is_a_mistake = NORMALISED in accuracy_by_mistake
    mistake = NORMALISED if normalising_is_a_mistake else NOT_NORMALISED
    return accuracy_by_mistake.get(mistake)


def wrong_normalisation_rows(study: StudyRecord) -> list[dict[str, Any]]:
    """Return the accuracies of the study's rows that were trained without normalisation.

    A row is left out if it has no published accuracy, or none on normalised test images.

    Returns:
      a dict for each row: its "name"; "test", the accuracy on the usual test images;
      "mismatched", the accuracy on normalised test images; and "reference", the mean of the
      accuracies that were published for the row.
    """
    rows = []
    for variation in _variations_without_normalisation(study):
        accuracies = accuracies_with_wrong_normalisation(variation)
        references = variation.reference_accuracies
        if accuracies:
            row = {
                "name": escape_markdown(variation.name),
                "test": Sample.of(variation, "test_accuracy").mean,
                "mismatched": float(np.mean(accuracies)),
                "reference": sum(references) / len(references),
            }
            rows.append(row)
    return rows


def wrong_normalisation_commands(study: StudyRecord, folder: str) -> list[str]:
    """Return the shell commands that test a study's runs on wrongly normalised images.

    There is a command for each row that was trained without normalisation, unless its accuracy on
    such images is already known. `folder` is the study's folder relative to the report.
    """
    commands = []
    for variation in _variations_without_normalisation(study):
        is_already_tested = len(accuracies_with_wrong_normalisation(variation)) > 0
        if is_already_tested:
            continue
        run_folders = []
        for run in variation.runs:
            folder_in_study = run.path.relative_to(study.path).as_posix()
            run_folders.append(f"{folder}/{folder_in_study}".removeprefix("./"))
        command = f"jaxcifar evaluate {shlex.join(run_folders)} --on slips"
        commands.append(printable(command, _MAX_COMMAND_CHARACTERS))
    return commands


def _variations_without_normalisation(study: StudyRecord) -> list[Variation]:
    """Return the rows with published accuracies that were trained without normalisation."""
    return [
        variation
        for variation in study.variations
        if variation.reference_accuracies and not variation.config.normalize
    ]


def wrong_normalisation_verdict(rows: Sequence[dict[str, Any]]) -> str:
    """Return a sentence on whether wrongly normalised test images explain low published accuracies.

    Such images explain a published accuracy if our accuracy falls about as low on them. `rows` has
    the result of `wrong_normalisation_rows`.
    """
    rows_with_low_reference = [
        row for row in rows if row["test"] - row["reference"] > _LEAST_GAP_TO_EXPLAIN
    ]
    if not rows_with_low_reference:
        return "Here there is nothing to explain: our figures for these rows are no higher."
    shares_of_gap: list[float] = []
    explained: list[str] = []
    unexplained: list[str] = []
    for row in rows_with_low_reference:
        share_of_gap = _fall_as_share_of_gap(row)
        shares_of_gap.append(share_of_gap)
        fall_text = (
            f"“{row['name']}” falls from {percent(row['test'])} to "
            f"{percent(row['mismatched'])}, the reference has {percent(row['reference'])}"
        )
        is_explained = _LEAST_SHARE_TO_EXPLAIN <= share_of_gap <= _MOST_SHARE_TO_EXPLAIN
        if is_explained:
            explained.append(fall_text)
        else:
            unexplained.append(fall_text)
    if explained and unexplained:
        others = "the other" if len(unexplained) == 1 else "the others"
        return (
            f"That explains {len(explained)} of {len(shares_of_gap)}: {'; '.join(explained)}. "
            f"It does not explain {others}: {'; '.join(unexplained)}."
        )
    falls_text = "; ".join(explained or unexplained)
    return f"{_verdict_start(shares_of_gap, all_explained=not unexplained)} ({falls_text})."


def _fall_as_share_of_gap(row: dict[str, Any]) -> float:
    """Return the fall of our accuracy as a share of its gap to the published accuracy.

    The share is 0 if our accuracy does not fall, 1 if it falls exactly to the published accuracy,
    and more if it falls even lower. `row` is one row of `wrong_normalisation_rows`.
    """
    fall = row["test"] - row["mismatched"]
    gap_to_reference = row["test"] - row["reference"]
    return fall / gap_to_reference


def _verdict_start(shares_of_gap: Sequence[float], all_explained: bool) -> str:
    """Return the start of a sentence on whether wrong normalisation explains low accuracies.

    Args:
      shares_of_gap: the result of `_fall_as_share_of_gap` for each row.
      all_explained: True if wrong normalisation explains all published accuracies.
    """
    if all_explained:
        return "That explains them: on such images our networks fall about as low"
    if not all(_LEAST_COMPARABLE <= share <= _MOST_COMPARABLE for share in shares_of_gap):
        return "That does not explain all of them"
    fall_below_reference = [share > 1 for share in shares_of_gap]
    if all(fall_below_reference):
        fall = "fall even lower"
    elif any(fall_below_reference):
        fall = "fall too, but some less and some more"
    else:
        fall = "fall too, but not as low"
    return f"That explains them in part: on such images our networks {fall}"


def epochs_note(study: StudyRecord) -> str:
    """Return a sentence if rows have other numbers of epochs than the reference, otherwise ""."""
    reference_epochs = study.reference.get("epochs")
    compared_rows = [row for row in study.variations if row.reference_accuracies]
    epochs = sorted({row.config.epochs for row in compared_rows})
    if reference_epochs is None or not epochs or epochs == [reference_epochs]:
        return ""
    epoch_range = str(epochs[0]) if len(epochs) == 1 else f"{epochs[0]} to {epochs[-1]}"
    return (
        f"The reference was trained for {pluralize(reference_epochs, 'epoch')}, these rows for "
        f"{epoch_range}. So compare which changes help, not by how much."
    )
