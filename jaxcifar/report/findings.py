"""What the rows of a study show, a sentence or a table's line each, computed from the runs."""

from collections.abc import Sequence
from typing import Any

from jaxcifar.report.records import Variation
from jaxcifar.report.statistics import Difference, Sample, epochs_to_share
from jaxcifar.report.wording import (
    accuracy,
    basis,
    changes,
    interval,
    p_value,
    plain,
    points,
    significance,
    verdict,
)


def step_from(variation: Variation, before: Sequence[Variation]) -> str:
    """What a row changes against the row before that is closest to it, and what that gives."""
    if not before:
        return f"{plain(variation.name)} comes first: {accuracy(variation)} test accuracy."
    closest = min(before, key=lambda other: len(other.changes_to(variation)))
    difference = _between(closest, variation)
    outcome = f"{points(difference.value)} points of test accuracy ({significance(difference)})"
    if difference.is_tie:
        outcome = "the same test accuracy"
    elif not difference.can_be_told:
        outcome += "; the two can't be told apart"
    what = changes(closest.changes_to(variation)) or "nothing changed"
    return f"{plain(closest.name)} with {what}: {outcome}. {_lead(variation, before)}"


def _lead(variation: Variation, before: Sequence[Variation]) -> str:
    """Who is first on validation now; with equal figures, whoever came first."""
    leader = max([*before, variation], key=lambda v: v.values("val_accuracy").mean())
    if leader is variation:
        return "It now leads on validation."
    return f"On validation {plain(leader.name)} still leads."


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
        "p": p_value(difference).removeprefix("p ").removeprefix("= "),
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
    widest, narrowest = (f(lines, key=lambda line: line["gap"]) for f in (max, min))
    fastest, slowest = (f(lines, key=lambda line: line["epochs"]) for f in (min, max))
    if len(lines) == 1:
        return f"The gap is {points(widest['gap'])} points."
    speed = (
        f"All reach 90% of their last validation accuracy in epoch {fastest['epochs']}."
        if fastest["epochs"] == slowest["epochs"]
        else f"{fastest['name']} is first to reach 90% of its last validation accuracy (epoch "
        f"{fastest['epochs']}), {slowest['name']} is last (epoch {slowest['epochs']})."
    )
    return (
        f"The gap is widest for {widest['name']} ({points(widest['gap'])} points) and smallest "
        f"for {narrowest['name']} ({points(narrowest['gap'])}). {speed}"
    )
