"""What the rows of a study show, a sentence or a table's line each, computed from the runs."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.report.run_records import Variation
from jaxcifar.report.statistics import SAME, Difference, Sample, epochs_to_share
from jaxcifar.report.wording import (
    accuracy,
    bare_p,
    basis,
    changes,
    changes_in_words,
    interval,
    listed,
    plain,
    points,
    quoted,
    significance,
    size,
    verdict,
)
from jaxcifar.runs.result import only_answer


def step_from(variation: Variation, before: Sequence[Variation]) -> str:
    """What a row changes against the row before that is closest to it, and what that gives."""
    collapsed = [run for run in variation.runs if only_answer(run.confusion) is not None]
    told = f" {_collapsed(variation, len(collapsed))}" if collapsed else ""
    if not before:
        return f"The first row: {accuracy(variation)} test accuracy.{told}"
    closest = min(before, key=lambda other: len(other.changes_to(variation)))
    difference, other = _between(closest, variation), quoted(closest.name)
    if difference.is_tie:
        outcome = "Its test accuracy is the same: a tie"
    else:
        way = "higher" if difference.value > 0 else "lower"
        outcome = (
            f"Its test accuracy is {size(difference)} points {way} ({significance(difference)})"
        )
        if not difference.can_be_told:
            outcome += ", so the two can't be told apart"
    what = changes_in_words(closest.changes_to(variation)) or "nothing"
    return f"Changes {what}, compared with {other}. {outcome}.{told} {_lead(variation, before)}"


def _collapsed(variation: Variation, number: int) -> str:
    what = "It" if len(variation.runs) == 1 else f"{number} of its {len(variation.runs)} runs"
    return f"**{what} collapsed**: every test image is given the same class."


def _lead(variation: Variation, before: Sequence[Variation]) -> str:
    """Who is first on validation now; with equal figures, whoever came first."""
    leader, value = best(before), variation.values("val_accuracy").mean()
    ahead = value - leader.values("val_accuracy").mean()
    if abs(ahead) < SAME:
        return f"On validation it ties with {quoted(leader.name)}."
    if ahead > 0:
        return "It now leads on validation."
    return f"On validation {quoted(leader.name)} still leads."


def best(variations: Sequence[Variation]) -> Variation:
    """The highest on validation; with equal figures, whoever came first."""
    return max(variations, key=lambda v: v.values("val_accuracy").mean())


def _between(first: Variation, second: Variation) -> Difference:
    return Difference.between(Sample.of(first, "test_accuracy"), Sample.of(second, "test_accuracy"))


def single_change(field: str, before: Any, after: Any, first: Variation, second: Variation) -> dict:
    """The cells of one line of the table of single changes."""
    difference = _between(first, second)
    return {
        "change": changes({field: (before, after)}),
        "rows": f"{plain(first.name)} → {plain(second.name)}",
        "points": points(difference.value),
        "interval": interval(difference),
        "p": bare_p(difference),
        "basis": basis(difference),
        "verdict": verdict(difference),
    }


def learning(variation: Variation) -> dict[str, Any]:
    """Overfitting gap and speed of learning of the mean curves."""
    train, val = (variation.curve(f"{split}_accuracy").mean(0) for split in ("train", "val"))
    return {
        "name": plain(variation.name),
        "train": float(train[-1]),
        "val": float(val[-1]),
        "gap": float(train[-1] - val[-1]),
        "epochs": epochs_to_share(val, 0.9),
        "of": len(val),
    }


def learning_sentence(lines: Sequence[dict[str, Any]]) -> str:
    """Which rows overfit most and least, learn fastest and slowest."""
    if len(lines) == 1:
        return f"The gap is {points(lines[0]['gap'])} points."
    widest, narrowest = (f(line["gap"] for line in lines) for f in (max, min))
    fastest, slowest = (f(line["epochs"] for line in lines) for f in (min, max))
    gap = (
        f"The gap is widest for {_who(lines, 'gap', widest)} ({points(widest)} points) and "
        f"smallest for {_who(lines, 'gap', narrowest)} ({points(narrowest)})."
    )
    if widest - narrowest < SAME:
        gap = f"The gap is the same for all: {points(widest)} points."
    if fastest == slowest:
        return f"{gap} All reach 90% of their last validation accuracy in epoch {fastest}."
    return (
        f"{gap} The first to reach 90% of the last validation accuracy: "
        f"{_who(lines, 'epochs', fastest)} (epoch {fastest}); the last: "
        f"{_who(lines, 'epochs', slowest)} (epoch {slowest})."
    )


def _who(lines: Sequence[dict[str, Any]], key: str, value: float) -> str:
    return listed(f"“{line['name']}”" for line in lines if line[key] == value)
