"""Report which variation of a network won on the validation images, and how certain that is."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcifar.report.run_records import FinishedRun, StudiedNetwork, Variation
from jaxcifar.report.statistics import Difference, Sample, guessing_accuracy, is_guessing
from jaxcifar.report.wording import (
    accuracy,
    escape_markdown,
    interval,
    join_names,
    mean_and_deviation,
    new_values,
    p_cell,
    percent,
    quoted,
    seed_count,
    significance,
    unsigned_points,
)
from jaxcifar.training.metrics import only_predicted_class

_FOLDS_SENTENCE = (
    "These are means over folds, each validated on its own part of the training images. Folds "
    "share images to train on, so their p-values are too small."
)
_MAX_EPOCHS = 5  # chosen epochs that a table cell lists


def choice_text(network: StudiedNetwork) -> str:
    """Return sentences on the variation with the best validation accuracy: its lead and ties.

    Return "" if there is no other variation.
    """
    winner, *others = network.by_validation
    if not others:
        return ""
    leads = {quoted(other.name): validation_lead(winner, other) for other in others}
    ties = [name for name, lead in leads.items() if lead.is_tie]
    sentences = [
        _tie_sentence(network, ties) if ties else _lead_sentence(network, leads),
        *_certainty(leads, bool(ties)),
    ]
    if any(len(v.folds) > 1 for v in network.variations):
        sentences.append(_FOLDS_SENTENCE)
    elif any(len(v.runs) == 1 for v in network.variations):
        sentences.append("With a single seed the spread between seeds is not known.")
    if all(is_guessing(run) for v in network.variations for run in v.runs):
        sentences.append("None can be told apart from guessing: there is no best among them.")
    return " ".join(sentences)


def short_choice(network: StudiedNetwork) -> str:
    """Return how certain it is that the winner is the best, as the end of a sentence, or ""."""
    winner, *others = network.by_validation
    if not others:
        return ""
    if all(is_guessing(run) for v in network.variations for run in v.runs):
        return ", which can't be told apart from guessing"
    leads = [(other, validation_lead(winner, other)) for other in others]
    near = [quoted(other.name) for other, lead in leads if not lead.is_significant]
    if not near:
        return "; on validation its lead over every other row is more than chance explains"
    return f"; on validation it can't be told apart from {join_names(near)}"


def validation_lead(winner: Variation, other: Variation) -> Difference:
    """Return the validation accuracy of `winner` minus the validation accuracy of `other`."""
    samples = (Sample.of(v, "val_accuracy", "val") for v in (other, winner))
    return Difference.between(*samples)


def _tie_sentence(network: StudiedNetwork, ties: list[str]) -> str:
    winner, second, *_ = network.by_validation
    name = f"**{escape_markdown(winner.name)}**"
    return (
        f"{name} and {join_names(ties)} tie: of {_candidates(network)} they reached the highest "
        f"validation accuracy, {accuracy(winner, 'val_accuracy', 'val')}. {name} is taken for "
        f"{_tie_break(winner, second)}."
    )


def _tie_break(winner: Variation, second: Variation) -> str:
    losses = [np.mean([r.selected["val_loss"] for r in v.runs]) for v in (winner, second)]
    return "its lower validation loss" if losses[0] < losses[1] else "being listed first"


def _lead_sentence(network: StudiedNetwork, leads: dict[str, Difference]) -> str:
    winner = network.winner
    second, lead = next(iter(leads.items()))
    won = "won among" if lead.is_significant else "is first among"
    return (
        f"**{escape_markdown(winner.name)}** {won} {_candidates(network)} with "
        f"{accuracy(winner, 'val_accuracy', 'val')} validation accuracy, "
        f"{unsigned_points(lead)} points ahead of {second} ({significance(lead)})."
    )


def _candidates(network: StudiedNetwork) -> str:
    return f"{len(network.variations)} candidates ({seed_count(network.variations)})"


def _certainty(leads: dict[str, Difference], has_ties: bool) -> list[str]:
    """Return at most one sentence, on whether the winner's leads over others are significant."""
    others = {name: lead for name, lead in leads.items() if not lead.is_tie}
    alike = [name for name, lead in others.items() if not lead.is_significant]
    if alike:
        return [f"It can't be told apart from {join_names(alike)}: none of these has won."]
    if not others:
        return []
    beaten = "the others" if has_ties else "every other"
    return [f"It can be told from {beaten} (p below 0.05 each)."]


def candidate(variation: Variation, winner: Variation) -> dict[str, Any]:
    """Return a variation's cells, by column, in the table that compares it with the winner."""
    lead = validation_lead(winner, variation)
    compared = variation is not winner and not lead.is_tie
    points = unsigned_points(lead) if compared else "a tie"
    epochs = _epochs([run.result["selected_epoch"] for run in variation.runs])
    return {
        "name": escape_markdown(variation.name),
        "accuracy": mean_and_deviation(Sample.of(variation, "val_accuracy", "val")),
        "points": "–" if variation is winner else points,
        "interval": interval(lead) if compared else "–",
        "p": p_cell(lead) if compared else "–",
        "epochs": f"{epochs} of {_epochs(variation.trained_epochs)}",
        "settings": new_values(winner.changes_to(variation)) or "–",
    }


def _epochs(chosen: list[int]) -> str:
    """Return epochs as text: each of a few, or the range of many."""
    if len(chosen) <= _MAX_EPOCHS:
        return ", ".join(map(str, chosen))
    return f"{min(chosen)} to {max(chosen)}"


def collapses(network: StudiedNetwork, quote: Callable[[str], str] = quoted) -> list[str]:
    """Return a sentence for each run whose test accuracy is no better than guessing.

    `quote` puts the name of a variation or class in quotes; by default it also escapes Markdown.
    """
    sentences = []
    for variation in network.variations:
        for run in variation.runs:
            problem = _collapse(run, quote)
            if problem:
                sentences.append(f"{quote(variation.name)}, {run.label}, {problem}.")
    return sentences


def _collapse(run: FinishedRun, quote: Callable[[str], str]) -> str:
    accuracy, guessing = run.result["test_accuracy"], guessing_accuracy(run)
    answer = only_predicted_class(run.confusion)
    if answer is not None:
        name = quote(run.class_names[answer])
        return f"collapsed: it says {name} for every test image ({percent(accuracy)} right)"
    if not is_guessing(run):
        return ""
    compared = "no better than" if accuracy <= guessing else "can't be told apart from"
    return (
        f"is right on {percent(accuracy)} of the test images: {compared} always saying the most "
        f"frequent class ({percent(guessing)})"
    )
