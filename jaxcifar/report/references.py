"""Our runs beside the figures that a study's file knows from somewhere else."""

import itertools
import operator
import shlex
from collections.abc import Sequence
from typing import Any

import numpy as np

from jaxcifar.config import registry
from jaxcifar.errors import RunError, printable
from jaxcifar.report.run_records import FinishedRun, StudyRecord, Variation
from jaxcifar.report.statistics import Distance, Sample
from jaxcifar.report.wording import (
    field_title,
    field_value,
    listed,
    percent,
    plain,
    significance,
    size,
)
from jaxcifar.runs.evaluation_file import NORMALISED, NOT_NORMALISED, read_evaluation
from jaxcifar.runs.folder import RunFolder

_LONGEST = 2000  # of a command


def reference_sets(study: StudyRecord) -> list[tuple[str, Distance]]:
    """How far sets of rows are from the reference, by name, the nearest first.

    The rows of a set agree in the fields that the study's reference names as `sets`.
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


def nearest_set(sets: Sequence[tuple[str, Distance]]) -> str:
    """Which set comes nearest, and how sure that is."""
    (name, nearest), *others = sets
    sentence = f"{name} comes nearest, by the root mean square of its rows' differences"
    if not others:
        return f"{sentence}."
    second, distance = others[0]
    difference = distance.behind(nearest)
    if difference.is_tie:
        return f"{sentence}, and so does {second}: a tie."
    sentence += f", {size(difference)} points before {second} ({significance(difference)})."
    return sentence if difference.can_be_told else f"{sentence} The two can't be told apart."


def mismatched(variation: Variation) -> tuple[float, ...]:
    """Accuracies on test images that are normalised the other way, one a run; none if one lacks.

    Results of older versions have them; else `experiments.evaluate --on slips` measures them.
    """
    found = [_mismatched(run) for run in variation.runs]
    values = [value for value in found if value is not None]
    return tuple(values) if len(values) == len(found) else ()


def _mismatched(run: FinishedRun) -> float | None:
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
    """Rows trained without normalisation whose reference figure is known, where it was measured."""
    return [
        {
            "name": plain(v.name),
            "test": Sample.of(v, "test_accuracy").mean,
            "mismatched": float(np.mean(mismatched(v))),
            "reference": sum(v.reference) / len(v.reference),
        }
        for v in _not_normalised(study)
        if mismatched(v)
    ]


def to_measure(study: StudyRecord, beside: str) -> list[str]:
    """The commands that measure what `mismatches` lacks, as a shell takes them.

    Args:
      study: with its runs.
      beside: its folder, relative to the report's.
    """
    lines = []
    for v in _not_normalised(study):
        if not mismatched(v):
            places = [run.path.relative_to(study.path).as_posix() for run in v.runs]
            runs = shlex.join(f"{beside}/{place}".removeprefix("./") for place in places)
            lines.append(printable(f"python -m experiments.evaluate {runs} --on slips", _LONGEST))
    return lines


def _not_normalised(study: StudyRecord) -> list[Variation]:
    return [v for v in study.variations if v.reference and not v.config.normalize]


def mismatch_verdict(lines: Sequence[dict[str, Any]]) -> str:
    """Whether images normalised at the wrong moment explain the reference's low figures."""
    low = [line for line in lines if line["test"] - line["reference"] > 0.02]
    if not low:
        return "Here there is nothing to explain: our figures for these rows are no higher."
    shares = [(x["test"] - x["mismatched"]) / (x["test"] - x["reference"]) for x in low]
    falls = [
        f"“{line['name']}” falls from {percent(line['test'])} to {percent(line['mismatched'])}, "
        f"the reference has {percent(line['reference'])}"
        for line in low
    ]
    told = "; ".join(falls)
    explained = [2 / 3 <= share <= 1.5 for share in shares]
    if any(explained) and not all(explained):
        some = "; ".join(itertools.compress(falls, explained))
        others = "; ".join(itertools.compress(falls, map(operator.not_, explained)))
        left = "the other" if explained.count(False) == 1 else "the others"
        share = f"{sum(explained)} of {len(explained)}"
        return f"That explains {share}: {some}. It does not explain {left}: {others}."
    if all(explained):
        verdict = "That explains them: on such images our networks fall about as low"
    elif all(1 / 3 <= share <= 3 for share in shares):
        verdict = "That explains them in part: on such images our networks fall too, but not as low"
        if all(share > 1 for share in shares):
            verdict = "That explains them in part: on such images our networks fall even lower"
        elif any(share > 1 for share in shares):
            verdict = (
                "That explains them in part: on such images our networks fall too, but some less "
                "and some more"
            )
    else:
        verdict = "That does not explain all of them"
    return f"{verdict} ({told})."


def setting_note(study: StudyRecord) -> str:
    """What to keep in mind when comparing with the reference; "" if the settings agree."""
    theirs, parts = dict(study.reference), []
    if entry := registry.KINDS["arch"].get(theirs.get("arch", "")):
        theirs["arch"] = entry.title
    ours = {
        "arch": ("network", lambda v: v.config.network_title),
        "dataset": ("dataset", lambda v: v.data.name),
        "epochs": ("epochs", lambda v: v.config.epochs),
    }
    for key, (what, value) in ours.items():
        there = theirs.get(key)
        here = dict.fromkeys(map(value, study.variations))
        here.pop(there, None)
        if there is not None and here:
            named = listed(plain(str(name)) for name in here)
            parts.append(f"{what} {plain(str(there))} there, {named} here")
    if not parts:
        return ""
    return (
        f"The reference was measured otherwise ({'; '.join(parts)}). So compare which changes "
        "help, not by how much."
    )
