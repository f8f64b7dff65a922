"""Compare a study's test accuracies with the reference accuracies listed in its file."""

import itertools
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.errors import RunError, printable
from jaxcifar.machine.terminal import pluralize
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.statistics import Distance, Sample
from jaxcifar.report.study_records import StudyRecord
from jaxcifar.report.wording import (
    escape_markdown,
    field_title,
    field_value,
    percent,
    significance,
    unsigned_points,
)
from jaxcifar.runs.evaluation_file import NORMALISED, NOT_NORMALISED, read_evaluation
from jaxcifar.runs.folder import RunFolder

_MAX_COMMAND = 2000  # characters


def reference_sets(study: StudyRecord) -> list[tuple[str, Distance]]:
    """Group a study's rows, and return (name, distance from the reference) for each group.

    Rows of a group agree in the settings that the study's file lists. The nearest group is first.
    """
    fields = study.reference.get("sets", [])
    sets: dict[str, list[Variation]] = {}
    for v in study.variations:
        if fields and v.reference:
            name = ", ".join(f"{field_title(f)} {field_value(v.settings.get(f))}" for f in fields)
            sets.setdefault(name, []).append(v)
    distances = {
        name: Distance(
            tuple(Sample.of(v, "test_accuracy") for v in rows),
            tuple(float(np.mean(v.reference)) for v in rows),
        )
        for name, rows in sets.items()
    }
    return sorted(distances.items(), key=lambda item: item[1].value)


def nearest_set_text(sets: Sequence[tuple[str, Distance]]) -> str:
    """Return a sentence on the result of `reference_sets`: the nearest group and its certainty."""
    (name, nearest), *others = sets
    sentence = f"{name} comes nearest, by the root mean square of its rows' differences"
    if not others:
        return f"{sentence}."
    second, distance = others[0]
    difference = distance.minus(nearest)
    if difference.is_tie:
        return f"{sentence}, and so does {second}: a tie."
    lead = f"{unsigned_points(difference)} points before {second} ({significance(difference)})"
    doubt = "" if difference.is_significant else " The two can't be told apart."
    return f"{sentence}, {lead}.{doubt}"


def mismatched_accuracies(variation: Variation) -> tuple[float, ...]:
    """Return each run's test accuracy on images normalised differently than in training.

    The images are normalised if training used no normalisation, and not normalised otherwise.
    `jaxcifar evaluate --on slips` measures the accuracies. If one is missing, return ().
    """
    values = [_mismatched_accuracy(run) for run in variation.runs]
    known = tuple(value for value in values if value is not None)
    return known if len(known) == len(values) else ()


def _mismatched_accuracy(run: FinishedRun) -> float | None:
    if "test_accuracy_mismatched" in run.result:
        return run.result["test_accuracy_mismatched"]
    try:
        evaluation = read_evaluation(RunFolder(run.path))
    except RunError:
        return None
    if evaluation is None or "slips" not in evaluation:
        return None
    slips = evaluation["slips"]["accuracy"]
    return slips.get(NORMALISED, slips.get(NOT_NORMALISED))


def mismatches(study: StudyRecord) -> list[dict[str, Any]]:
    """Return table rows with accuracies of a study's variations on wrongly normalised test images.

    The variations were trained without normalisation, have a reference accuracy, and were also
    tested on normalised images.
    """
    return [
        {
            "name": escape_markdown(v.name),
            "test": Sample.of(v, "test_accuracy").mean,
            "mismatched": float(np.mean(mismatched_accuracies(v))),
            "reference": sum(v.reference) / len(v.reference),
        }
        for v in _not_normalised(study)
        if mismatched_accuracies(v)
    ]


def measuring_commands(study: StudyRecord, folder: str) -> list[str]:
    """Return the shell commands that measure the accuracies which `mismatches` lacks.

    `folder` is the study's folder relative to the report.
    """
    commands = []
    for v in _not_normalised(study):
        if mismatched_accuracies(v):
            continue
        paths = [f"{folder}/{run.path.relative_to(study.path).as_posix()}" for run in v.runs]
        runs = shlex.join(path.removeprefix("./") for path in paths)
        command = f"jaxcifar evaluate {runs} --on slips"
        commands.append(printable(command, _MAX_COMMAND))
    return commands


def _not_normalised(study: StudyRecord) -> list[Variation]:
    return [v for v in study.variations if v.reference and not v.config.normalize]


def mismatch_verdict(lines: Sequence[dict[str, Any]]) -> str:
    """Return a sentence on whether wrongly normalised test images explain low reference accuracies.

    They explain a reference accuracy if the network's accuracy on them is about as low.
    """
    low = [line for line in lines if line["test"] - line["reference"] > 0.02]
    if not low:
        return "Here there is nothing to explain: our figures for these rows are no higher."
    # 1 means that the accuracy falls exactly to the reference, 0 that it does not fall.
    shares = [(x["test"] - x["mismatched"]) / (x["test"] - x["reference"]) for x in low]
    falls = [
        f"“{line['name']}” falls from {percent(line['test'])} to {percent(line['mismatched'])}, "
        f"the reference has {percent(line['reference'])}"
        for line in low
    ]
    explained = [2 / 3 <= share <= 1.5 for share in shares]
    count = sum(explained)
    if 0 < count < len(low):
        yes = "; ".join(itertools.compress(falls, explained))
        no = "; ".join(itertools.compress(falls, [not x for x in explained]))
        others = "the other" if len(low) - count == 1 else "the others"
        return f"That explains {count} of {len(low)}: {yes}. It does not explain {others}: {no}."
    return f"{_verdict(shares, all(explained))} ({'; '.join(falls)})."


def _verdict(shares: Sequence[float], all_explained: bool) -> str:
    if all_explained:
        return "That explains them: on such images our networks fall about as low"
    if not all(1 / 3 <= share <= 3 for share in shares):
        return "That does not explain all of them"
    if all(share > 1 for share in shares):
        fall = "fall even lower"
    elif any(share > 1 for share in shares):
        fall = "fall too, but some less and some more"
    else:
        fall = "fall too, but not as low"
    return f"That explains them in part: on such images our networks {fall}"


def epochs_note(study: StudyRecord) -> str:
    """Return a sentence on epochs that differ from the reference's, or ""."""
    there = study.reference.get("epochs")
    epochs = sorted({v.config.epochs for v in study.variations if v.reference})
    if there is None or not epochs or epochs == [there]:
        return ""
    here = " to ".join(dict.fromkeys([str(epochs[0]), str(epochs[-1])]))
    return (
        f"The reference was trained for {pluralize(there, 'epoch')}, these rows for {here}. So "
        "compare which changes help, not by how much."
    )
