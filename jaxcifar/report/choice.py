"""How the best variation was found among the candidates, and how sure that is."""

from collections.abc import Callable
from typing import Any

from jaxcifar.report.run_records import StudiedNetwork, Variation
from jaxcifar.report.statistics import Difference, Sample, guessing_level, is_guessing
from jaxcifar.report.wording import (
    accuracy,
    bare_p,
    differing,
    interval,
    listed,
    percent,
    plain,
    quoted,
    seeds,
    significance,
    size,
    spread,
)
from jaxcifar.runs.result import only_answer


def choice(network: StudiedNetwork) -> str:
    """Which variation won, by how much, and from which it can't be told apart."""
    winner, *others = network.by_validation
    name = f"**{plain(winner.name)}**"
    if not others:
        return "Nothing else was tried, so there was nothing to choose between."
    margins = {quoted(other.name): behind(other, winner) for other in others}
    count = f"{len(others) + 1} candidates ({seeds(network.variations)})"
    validated = accuracy(winner, "val_accuracy", "val")
    ties = [other for other, difference in margins.items() if difference.is_tie]
    if ties:
        sentence = (
            f"{name} and {listed(ties)} tie: of {count} they reached the highest validation "
            f"accuracy, {validated}. {name} is taken for {_tie_break(winner, others[0])}."
        )
    else:
        second, difference = next(iter(margins.items()))
        won = "won among" if difference.can_be_told else "is first among"
        sentence = (
            f"{name} {won} {count} with {validated} validation accuracy, "
            f"{size(difference)} points ahead of {second} ({significance(difference)})."
        )
    sentences = [sentence, *_certainty(margins, ties)]
    if any(len(v.runs) == 1 for v in network.variations):
        sentences.append("With a single seed the spread between seeds is not known.")
    if all(is_guessing(run) for v in network.variations for run in v.runs):
        sentences.append("None can be told apart from guessing: there is no best among them.")
    return " ".join(sentences)


def behind(other: Variation, winner: Variation) -> Difference:
    """How far the winner is ahead of another in validation accuracy."""
    samples = (Sample.of(v, "val_accuracy", "val") for v in (other, winner))
    return Difference.between(*samples)


def _tie_break(winner: Variation, second: Variation) -> str:
    losses = [sum(r.selected["val_loss"] for r in v.runs) / len(v.runs) for v in (winner, second)]
    return "its lower validation loss" if losses[0] < losses[1] else "being listed first"


def _certainty(behind: dict[str, Difference], ties: list[str]) -> list[str]:
    """From which of the others the winner can be told, and by what."""
    rest = {other: d for other, d in behind.items() if other not in ties}
    alike = [other for other, difference in rest.items() if not difference.can_be_told]
    sentences = []
    if alike:
        sentences.append(f"It can't be told apart from {listed(alike)}: none of these has won.")
    elif rest:
        whom = "the others" if ties else "every other"
        sentences.append(f"It can be told from {whom} (p below 0.05 each).")
    return sentences


def candidate(variation: Variation, winner: Variation) -> dict[str, Any]:
    """The cells of one line of the table of candidates."""
    first, margin = variation is winner, behind(variation, winner)
    epochs = ", ".join(str(run.result["selected_epoch"]) for run in variation.runs)
    return {
        "name": plain(variation.name),
        "accuracy": spread(Sample.of(variation, "val_accuracy", "val")),
        "points": "–" if first else "a tie" if margin.is_tie else size(margin),
        "interval": "–" if first or margin.is_tie else interval(margin),
        "p": "–" if first or margin.is_tie else bare_p(margin),
        "epochs": f"{epochs} of {variation.config.epochs}",
        "settings": differing(winner.changes_to(variation)) or "–",
    }


def collapses(network: StudiedNetwork, quote: Callable[[str], str] = quoted) -> list[str]:
    """The runs that learned nothing that the test images show, a sentence each.

    Args:
      network: whose runs.
      quote: how names of rows and classes are written; for Markdown by default.
    """
    sentences = []
    for variation in network.variations:
        for run in variation.runs:
            right, level = run.result["test_accuracy"], guessing_level(run)
            if (answer := only_answer(run.confusion)) is not None:
                said = quote(run.class_names[answer])
                what = f"collapsed: it says {said} for every test image ({percent(right)} right)"
            elif is_guessing(run):
                compared = "no better than" if right <= level else "can't be told apart from"
                what = (
                    f"is right on {percent(right)} of the test images: {compared} always saying "
                    f"the most frequent class ({percent(level)})"
                )
            else:
                continue
            sentences.append(f"{quote(variation.name)}, seed {run.config.seed}, {what}.")
    return sentences
