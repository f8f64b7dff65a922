"""Report which variation of a network won on the validation images, and how certain that is."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.statistics import Difference, Sample, guessing_accuracy, is_guessing
from jaxcifar.report.study_records import StudiedNetwork
from jaxcifar.report.wording import (
    accuracy_text,
    escape_markdown,
    interval_text,
    join_names,
    mean_and_deviation,
    new_values_text,
    p_value_cell,
    percent,
    quoted_name,
    repeat_count_text,
    significance_text,
    unsigned_points,
)
from jaxcifar.training.metrics import only_predicted_class

_FOLDS_SENTENCE = (
    "These are means over folds, each validated on its own part of the training images. Folds "
    "share images to train on, so their p-values are too small."
)
_MAX_LISTED_EPOCHS = 5  # chosen epochs that a table cell lists


def winner_sentences(network: StudiedNetwork) -> str:
    """Return sentences that name the variation with the best validation accuracy and its lead.

    The sentences also list ties, and say how certain the lead is. Return "" for a single variation.
    """
    winner, *others = network.ranked_variations
    if not others:
        return ""
    leads = {quoted_name(other.name): validation_lead(winner, other) for other in others}
    tied_names = [name for name, lead in leads.items() if lead.is_tie]
    if tied_names:
        sentences = [_tie_sentence(network, tied_names)]
    else:
        sentences = [_lead_sentence(network, leads)]
    certainty = _certainty_sentence(leads, has_ties=bool(tied_names))
    if certainty:
        sentences.append(certainty)
    if network.has_folds:
        sentences.append(_FOLDS_SENTENCE)
    elif any(len(variation.runs) == 1 for variation in network.variations):
        sentences.append("With a single seed the spread between seeds is not known.")
    if _all_runs_guess(network):
        sentences.append("None can be told apart from guessing: there is no best among them.")
    return " ".join(sentences)


def winner_certainty_clause(network: StudiedNetwork) -> str:
    """Return the end of a sentence: how certain it is which variation of a network is the best.

    The variations are compared by validation accuracy. Return "" for a single variation.
    """
    winner, *others = network.ranked_variations
    if not others:
        return ""
    if _all_runs_guess(network):
        return ", which can't be told apart from guessing"
    names_without_significant_lead = [
        quoted_name(other.name)
        for other in others
        if not validation_lead(winner, other).is_significant
    ]
    if not names_without_significant_lead:
        return "; on validation its lead over every other row is more than chance explains"
    names = join_names(names_without_significant_lead)
    return f"; on validation it can't be told apart from {names}"


def _all_runs_guess(network: StudiedNetwork) -> bool:
    """Return whether no run of a network is better than guessing."""
    runs = [run for variation in network.variations for run in variation.runs]
    return all(is_guessing(run) for run in runs)


def validation_lead(winner: Variation, other: Variation) -> Difference:
    """Return how far a variation leads another in validation accuracy: `winner` minus `other`."""
    other_sample = Sample.of(other, "val_accuracy", "val")
    winner_sample = Sample.of(winner, "val_accuracy", "val")
    return Difference.between(other_sample, winner_sample)


def _tie_sentence(network: StudiedNetwork, tied_names: list[str]) -> str:
    winner, second, *_ = network.ranked_variations
    name = f"**{escape_markdown(winner.name)}**"
    return (
        f"{name} and {join_names(tied_names)} tie: of {_candidate_count_text(network)} they "
        f"reached the highest validation accuracy, "
        f"{accuracy_text(winner, 'val_accuracy', 'val')}. {name} is taken for "
        f"{_tie_break_reason(winner, second)}."
    )


def _tie_break_reason(winner: Variation, second: Variation) -> str:
    """Return why `winner` ranks before `second`, although their validation accuracies are equal."""
    winner_loss = np.mean([run.selected_metrics["val_loss"] for run in winner.runs])
    second_loss = np.mean([run.selected_metrics["val_loss"] for run in second.runs])
    return "its lower validation loss" if winner_loss < second_loss else "being listed first"


def _lead_sentence(network: StudiedNetwork, leads: dict[str, Difference]) -> str:
    """Return a sentence with the winner's validation accuracy and its lead over the second.

    `leads` maps the names of the other variations, best first, to the winner's lead over each.
    """
    winner = network.winner
    second, lead = next(iter(leads.items()))
    verb = "won among" if lead.is_significant else "is first among"
    return (
        f"**{escape_markdown(winner.name)}** {verb} {_candidate_count_text(network)} with "
        f"{accuracy_text(winner, 'val_accuracy', 'val')} validation accuracy, "
        f"{unsigned_points(lead)} points ahead of {second} ({significance_text(lead)})."
    )


def _candidate_count_text(network: StudiedNetwork) -> str:
    return f"{len(network.variations)} candidates ({repeat_count_text(network.variations)})"


def _certainty_sentence(leads: dict[str, Difference], has_ties: bool) -> str:
    """Return a sentence on whether the winner's leads over other variations are significant.

    `leads` maps the name of each other variation to the winner's lead in validation accuracy.
    Return "" if all other variations tie with the winner.
    """
    leads_without_ties = {name: lead for name, lead in leads.items() if not lead.is_tie}
    names_without_significant_lead = [
        name for name, lead in leads_without_ties.items() if not lead.is_significant
    ]
    if names_without_significant_lead:
        names = join_names(names_without_significant_lead)
        return f"It can't be told apart from {names}: none of these has won."
    if not leads_without_ties:
        return ""
    other_rows = "the other rows" if has_ties else "every other row"
    return f"Its lead over {other_rows} is larger than chance explains (p below 0.05 each)."


def candidate_cells(variation: Variation, winner: Variation) -> dict[str, Any]:
    """Return a row of the table that compares variations with the best one: its cells by column.

    Args:
      variation: the variation of this row.
      winner: the variation with the best validation accuracy.
    """
    lead = validation_lead(winner, variation)
    if variation is winner:
        lead_cells = {"points": "–", "interval": "–", "p": "–"}
    elif lead.is_tie:
        lead_cells = {"points": "a tie", "interval": "–", "p": "–"}
    else:
        lead_cells = {
            "points": unsigned_points(lead),
            "interval": interval_text(lead),
            "p": p_value_cell(lead),
        }
    validation_sample = Sample.of(variation, "val_accuracy", "val")
    best_epochs = _list_epochs([run.result["selected_epoch"] for run in variation.runs])
    return {
        "name": escape_markdown(variation.name),
        "accuracy": mean_and_deviation(validation_sample),
        **lead_cells,
        "epochs": f"{best_epochs} of {_list_epochs(variation.trained_epochs)}",
        "settings": new_values_text(winner.changes_to(variation)) or "–",
    }


def _list_epochs(epochs: list[int]) -> str:
    """Return epochs as text: "3, 4" for a few epochs, otherwise their range."""
    if len(epochs) <= _MAX_LISTED_EPOCHS:
        return ", ".join(map(str, epochs))
    return f"{min(epochs)} to {max(epochs)}"


def sentences_on_guessing_runs(
    network: StudiedNetwork, quote: Callable[[str], str] = quoted_name
) -> list[str]:
    """Return a sentence for each run whose test accuracy is no better than guessing.

    Args:
      network: the network with its variations and their runs.
      quote: puts the name of a variation or class in quotes; by default it also escapes Markdown.
    """
    sentences = []
    for variation in network.variations:
        for run in variation.runs:
            clause = _guessing_clause(run, quote)
            if clause:
                sentences.append(f"{quote(variation.name)}, {run.label}, {clause}.")
    return sentences


def _guessing_clause(run: FinishedRun, quote: Callable[[str], str]) -> str:
    """Return the end of a sentence on a run that is no better than guessing; "" for other runs.

    `quote` puts the name of a class in quotes.
    """
    test_accuracy, accuracy_by_guessing = run.result["test_accuracy"], guessing_accuracy(run)
    only_class = only_predicted_class(run.confusion)
    if only_class is not None:
        name = quote(run.class_names[only_class])
        return f"collapsed: it says {name} for every test image ({percent(test_accuracy)} right)"
    if not is_guessing(run):
        return ""
    is_no_better = test_accuracy <= accuracy_by_guessing
    comparison = "no better than" if is_no_better else "can't be told apart from"
    return (
        f"is right on {percent(test_accuracy)} of the test images: {comparison} always saying the "
        f"most frequent class ({percent(accuracy_by_guessing)})"
    )
