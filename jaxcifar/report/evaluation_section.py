"""The report's section on the evaluation of a trained network, with its pictures."""

from collections.abc import Mapping
from typing import Any

import numpy as np

from jaxcifar.errors import RunError
from jaxcifar.report.evaluation_figures import plot_corruptions, plot_reliability
from jaxcifar.report.pictures import DrawPicture
from jaxcifar.report.published_corruptions import corruption_set_contexts
from jaxcifar.report.run_records import FinishedRun
from jaxcifar.report.wording import escape_markdown, join_names, percent, signed_points
from jaxcifar.runs.evaluation_file import (
    Calibration,
    Corruptions,
    Evaluation,
    Figures,
    MistakeResults,
    Value,
    read_evaluation,
    read_looks,
)
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import format_value
from jaxcifar.runs.temperature_limits import is_limit

_MAX_IMAGE_SETS = 20  # most sets of images in the table
_SMALL_ECE = 0.01  # a smaller expected calibration error is not worth correcting


def evaluation_context(run: FinishedRun, title: str, draw: DrawPicture) -> dict[str, Any] | None:
    """Draw the pictures of a run's evaluation, and return the values for the report's template.

    Args:
      run: the run.
      title: title of the network, for the pictures.
      draw: draws a picture and returns its path.

    Returns:
      a dict of values, or None if the run was not evaluated. If the evaluation can't be read, the
      dict has only "missing", the reason, and "looks", the number of later tests, which is 0.
    """
    folder = RunFolder(run.path)
    try:
        evaluation, looks_at_test_images = read_evaluation(folder), read_looks(folder)
    except RunError as error:
        return {"missing": str(error).removeprefix(f"{run.path}/"), "looks": 0}
    was_evaluated = evaluation is not None or len(looks_at_test_images) > 0
    if not was_evaluated:
        return None
    evaluation = evaluation or {"sets": {}}
    sets = dict(list(evaluation["sets"].items())[:_MAX_IMAGE_SETS])
    first_set = next(iter(sets.values()), None)
    described_set = sets.get("test") or first_set  # its calibration is described
    corruptions, mistake_results = evaluation.get("corruptions"), evaluation.get("slips")
    pictures = _draw_pictures(evaluation, described_set, title, draw)
    return {
        "missing": "",
        "corruption_sets": corruption_set_contexts(evaluation, title, draw, plot_corruptions),
        "looks": len(looks_at_test_images),
        "sets": [_table_cells(results) for results in sets.values()],
        "calibration": _calibration_text(described_set, evaluation) if described_set else "",
        "calibration_error": percent(described_set["plain"]["ece"]) if described_set else "",
        "shifts": _shift_sentences(sets),
        "metrics": _metric_sentences(sets),
        "corruptions": _corruption_cells(corruptions) if corruptions else [],
        "corruption_text": _corruption_text(corruptions) if corruptions else "",
        "slips": _mistake_cells(mistake_results) if mistake_results else [],
        "slip_images": f"{mistake_results['images']:,}" if mistake_results else "",
        "pictures": pictures,
    }


def _draw_pictures(
    evaluation: Evaluation, described_set: Figures | None, title: str, draw: DrawPicture
) -> dict[str, str]:
    """Draw the calibration on one set of images, and the accuracy on corrupted test images.

    Args:
      evaluation: the content of a run's `evaluation.json`.
      described_set: the results on the set of images; None if there are none.
      title: title of the network, for the pictures.
      draw: draws a picture and returns its path.

    Returns:
      the paths of the pictures, "reliability" and "corruptions"; a picture without data is missing.
    """
    pictures = {}
    if described_set:
        headline = f"How often it is right: {title}\n{described_set['title']}"
        temperature = evaluation.get("temperature")
        pictures["reliability"] = draw(
            "reliability", plot_reliability, described_set, temperature, headline
        )
    corruptions = evaluation.get("corruptions")
    if corruptions:
        headline = f"Accuracy on corrupted test images: {title}"
        unnamed_run = ""  # the only run needs no name in the picture
        results_of_run = {unnamed_run: corruptions}
        pictures["corruptions"] = draw("corruptions", plot_corruptions, results_of_run, headline)
    return pictures


def _table_cells(results: Figures) -> dict[str, str]:
    """Return the table cells, by column, of the results on one set of images."""
    low, high = results["interval"]
    tempered = results.get("tempered")
    return {
        "title": escape_markdown(results["title"]),
        "images": f"{results['images']:,}",
        "accuracy": f"{percent(results['accuracy'])} ({100 * low:.2f} to {100 * high:.2f})",
        "flip": percent(results["accuracy_flip"]),
        "loss": f"{results['plain']['loss']:.4f}",
        "ece": percent(results["plain"]["ece"]),
        "tempered_loss": f"{tempered['loss']:.4f}" if tempered else "–",
        "tempered_ece": percent(tempered["ece"]) if tempered else "–",
    }


def _metric_sentences(sets: Mapping[str, Figures]) -> list[str]:
    """Return a sentence for each set of images, with all metrics except accuracy and loss."""
    sentences = []
    for results in sets.values():
        metrics: list[Value] = results.get("metrics", [])
        texts = [
            escape_markdown(f"{metric['title']} {format_value(metric['value'], metric['unit'])}")
            for metric in metrics
            if metric["name"] not in ("accuracy", "loss")
        ]
        if texts:
            sentences.append(f"On {escape_markdown(results['title'])}: {join_names(texts)}.")
    return sentences


def mean_confidence(calibration: Calibration) -> float:
    """Return the mean probability, from 0 to 1, that a network gives to its predicted classes."""
    bins = calibration["bins"]
    image_count = sum(one_bin["images"] for one_bin in bins)
    confidence_sum = sum(one_bin["images"] * one_bin["confidence"] for one_bin in bins)
    return confidence_sum / max(image_count, 1)


def _calibration_text(results: Figures, evaluation: Evaluation) -> str:
    """Return sentences on how well the network's probabilities match its accuracy on one set."""
    confidence, accuracy = mean_confidence(results["plain"]), results["accuracy"]
    ece = results["plain"]["ece"]  # the expected calibration error
    error_of_mean_confidence = abs(confidence - accuracy)
    opposite_deviations_cancel = error_of_mean_confidence < ece / 2
    if ece < _SMALL_ECE:
        verdict = "its probabilities can be taken as they are"
    elif opposite_deviations_cancel:
        verdict = "too sure of some answers and not sure enough of others"
    elif confidence > accuracy:
        verdict = "it is surer than it should be"
    else:
        verdict = "it is less sure than it could be"
    sentence = (
        f"On {escape_markdown(results['title'])} its answers have a probability of "
        f"{percent(confidence)} on average, and {percent(accuracy)} are right: {verdict} "
        f"(expected calibration error {percent(ece)})."
    )
    temperature, tempered = evaluation.get("temperature"), results.get("tempered")
    if temperature is None or tempered is None:
        return sentence
    no_temperature_fits = is_limit(temperature)
    if no_temperature_fits:
        return (
            f"{sentence} No temperature fits the validation images best, so disregard the results "
            "with one."
        )
    return (
        f"{sentence} Dividing its logits by {temperature:.3g}, the temperature that fits the "
        f"validation images best, makes the error {percent(tempered['ece'])} and leaves the "
        "answers unchanged."
    )


def _shift_sentences(sets: Mapping[str, Figures]) -> list[str]:
    """Return sentences that compare the accuracy on new image sets with the test accuracy."""
    test = sets.get("test")
    if test is None:
        return []
    return [
        f"On {escape_markdown(results['title'])} its accuracy is "
        f"{signed_points(results['accuracy'] - test['accuracy'])} points from that on the test "
        "images."
        for name, results in sets.items()
        if name not in ("test", "val", "train")
    ]


def _corruption_cells(corruptions: Corruptions) -> list[dict[str, Any]]:
    """Return a table row for each kind of corruption: accuracies by strength, and their mean."""
    rows = []
    for kind, accuracies in corruptions["accuracy"].items():
        cells = {
            "kind": escape_markdown(kind),
            "levels": [percent(accuracy) for accuracy in accuracies],
            "mean": percent(float(np.mean(accuracies))),
        }
        rows.append(cells)
    return rows


def _mistake_cells(slips: MistakeResults) -> list[tuple[str, str]]:
    accuracies = [("none", slips["clean"]), *slips["accuracy"].items()]
    return [(escape_markdown(name), percent(accuracy)) for name, accuracy in accuracies]


def _corruption_text(corruptions: Corruptions) -> str:
    """Return sentences on the mean accuracy and on the most and the least harmful corruption."""
    clean = corruptions["clean"]
    accuracy_drops = {
        escape_markdown(kind): clean - float(np.mean(accuracies))
        for kind, accuracies in corruptions["accuracy"].items()
    }
    worst = max(accuracy_drops, key=accuracy_drops.__getitem__)
    least = min(accuracy_drops, key=accuracy_drops.__getitem__)
    mean_accuracy = clean - sum(accuracy_drops.values()) / len(accuracy_drops)
    return (
        f"Of {percent(clean)} on {corruptions['images']:,} test images, {percent(mean_accuracy)} "
        f"are left on average over kinds and strengths. The most harmful kind is {worst} "
        f"({signed_points(-accuracy_drops[worst])} points), the least harmful {least} "
        f"({signed_points(-accuracy_drops[least])})."
    )
