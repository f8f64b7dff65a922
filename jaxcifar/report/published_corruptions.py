"""The report's part on published sets of corrupted images, such as CIFAR-10-C."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.wording import escape_markdown, percent
from jaxcifar.runs.evaluation_file import CorruptionSet, Evaluation

_MAX_CORRUPTION_SETS = 3


def corruption_set_contexts(
    evaluation: Evaluation, title: str, draw: DrawPicture, plot: Callable[..., None]
) -> list[dict[str, Any]]:
    """Draw the accuracy on each published set of corrupted images.

    Args:
      evaluation: the content of a run's `evaluation.json`.
      title: title of the network, for the pictures.
      draw: draws a picture, and returns its path.
      plot: plots the accuracy by kind of corruption and strength; `draw` calls it.

    Returns:
      for each set, a dict of values that fill the report's template.
    """
    contexts = []
    for results in list(evaluation.get("corruption_sets", {}).values())[:_MAX_CORRUPTION_SETS]:
        headline = f"Accuracy on {results['title']}: {title}"
        context = {
            "title": escape_markdown(results["title"]),
            "text": _corruption_set_sentences(results),
            "has_errors": "corruption_error" in results,
            "lines": [_table_cells(results, kind) for kind in results["accuracy"]],
            "picture": draw("corruption-set", plot, {"": results}, headline),
        }
        contexts.append(context)
    return contexts


def _table_cells(results: CorruptionSet, kind: str) -> dict[str, Any]:
    """Return the table cells, by column, of the results on one kind of corruption."""
    accuracies = results["accuracy"][kind]
    error = results.get("corruption_error", {}).get(kind)
    return {
        "kind": escape_markdown(kind),
        "levels": [percent(accuracy) for accuracy in accuracies],
        "mean": percent(float(np.mean(accuracies))),
        "error": "–" if error is None else percent(error),
    }


def _corruption_set_sentences(results: CorruptionSet) -> str:
    """Return sentences that sum up the results on one set of corrupted images.

    The sentences have the mean accuracy, the most and the least harmful kind of corruption and, if
    known, the mean corruption error. They say so if the means leave out kinds of corruption that
    are not standard.
    """
    mean_of_kind = {kind: float(np.mean(values)) for kind, values in results["accuracy"].items()}
    most_harmful = min(mean_of_kind, key=lambda kind: mean_of_kind[kind])
    least_harmful = max(mean_of_kind, key=lambda kind: mean_of_kind[kind])
    mean_of_all_kinds = np.mean(list(mean_of_kind.values()))
    mean_leaves_out_kinds = not np.isclose(results["mean"], mean_of_all_kinds)
    averaged_kinds = "the standard kinds" if mean_leaves_out_kinds else "kinds"
    compared_kinds = " of all in the table" if mean_leaves_out_kinds else ""
    text = (
        f"On average over {averaged_kinds} and strengths, {percent(results['mean'])} of "
        f"{results['images']:,} images are classified correctly. The most harmful kind"
        f"{compared_kinds} is {escape_markdown(most_harmful)} "
        f"({percent(mean_of_kind[most_harmful])}), the least harmful "
        f"{escape_markdown(least_harmful)} ({percent(mean_of_kind[least_harmful])})."
    )
    error = results.get("mean_corruption_error")
    if error is None:
        return text
    reference_network = escape_markdown(results.get("base", "another network"))
    return (
        f"{text} The mean corruption error is {percent(error)}: that many errors for each 100 of "
        f"{reference_network}, averaged over {averaged_kinds}."
    )
