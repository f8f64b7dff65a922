"""The report's part on published sets of corrupted images, such as CIFAR-10-C."""

from collections.abc import Callable
from typing import Any

import numpy as np

from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.wording import escape_markdown, percent
from jaxcifar.runs.evaluation_file import CorruptionSet, Evaluation

_MAX_SETS = 3


def corruption_set_contexts(
    evaluation: Evaluation, title: str, draw: DrawPicture, plot: Callable[..., None]
) -> list[dict[str, Any]]:
    """Return the values for the report's template, for each set of corrupted images.

    Args:
      evaluation: the content of a run's `evaluation.json`.
      title: title of the network, for the pictures.
      draw: draws a picture, and returns its path.
      plot: plots the accuracy by kind and strength.
    """

    def draw_set(found: CorruptionSet) -> str:
        headline = f"Accuracy on {found['title']}: {title}"
        return draw("corruption-set", plot, {"": found}, headline)

    sets = list(evaluation.get("corruption_sets", {}).values())[:_MAX_SETS]
    return [
        {
            "title": escape_markdown(found["title"]),
            "text": _text(found),
            "has_errors": "corruption_error" in found,
            "lines": [_line(found, kind) for kind in found["accuracy"]],
            "picture": draw_set(found),
        }
        for found in sets
    ]


def _line(found: CorruptionSet, kind: str) -> dict[str, Any]:
    values = found["accuracy"][kind]
    error = found.get("corruption_error", {}).get(kind)
    return {
        "kind": escape_markdown(kind),
        "levels": [percent(value) for value in values],
        "mean": percent(float(np.mean(values))),
        "error": "–" if error is None else percent(error),
    }


def _text(found: CorruptionSet) -> str:
    """Return sentences on the mean accuracy, the extreme kinds and the mean corruption error."""
    means = {kind: float(np.mean(values)) for kind, values in found["accuracy"].items()}
    worst, best = min(means, key=means.__getitem__), max(means, key=means.__getitem__)
    text = (
        f"On average over kinds and strengths, {percent(found['mean'])} of "
        f"{found['images']:,} images are classified correctly. The most harmful kind is "
        f"{escape_markdown(worst)} ({percent(means[worst])}), the least harmful "
        f"{escape_markdown(best)} ({percent(means[best])})."
    )
    error = found.get("mean_corruption_error")
    if error is None:
        return text
    base = escape_markdown(found.get("base", "another network"))
    return (
        f"{text} The mean corruption error is {percent(error)}: that many errors for each 100 of "
        f"{base}, averaged over kinds."
    )
