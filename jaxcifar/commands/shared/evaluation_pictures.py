"""The pictures that `jaxcifar evaluate --out DIR` draws."""

import re
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcifar.commands.shared.output import explain_write_errors
from jaxcifar.machine.files import atomic_write

if TYPE_CHECKING:
    from jaxcifar.commands.shared.evaluated_runs import LoadedRun
    from jaxcifar.evaluation.measure import EvaluationResult
    from jaxcifar.runs.evaluation_file import CorruptionSet, Evaluation


def draw_run(
    picture_folder: Path, file_prefix: str, run: "LoadedRun", evaluation_result: "EvaluationResult"
) -> None:
    """Draw reliability diagrams and mistakes of a run as `PREFIX*.png`, for each set of images."""
    from jaxcifar.report.evaluation_section import plot_reliability
    from jaxcifar.runs.image_sheets import plot_label_errors, plot_mistakes

    temperature = evaluation_result.evaluation.get("temperature")
    class_names = run.classifier.class_names
    for set_name, (figures, mistakes, label_errors) in evaluation_result.results.items():
        file_start = f"{file_prefix}{_as_file_name(set_name)}"
        title = f"{run.name}\n{figures['title']}"
        reliability_file = picture_folder / f"{file_start}-reliability.png"
        _draw_picture(reliability_file, plot_reliability, figures, temperature, title)
        mistakes_file = picture_folder / f"{file_start}-mistakes.png"
        _draw_picture(mistakes_file, plot_mistakes, class_names, mistakes, title)
        if label_errors is not None:
            label_errors_file = picture_folder / f"{file_start}-label-errors.png"
            _draw_picture(label_errors_file, plot_label_errors, class_names, label_errors, title)


def draw_corruptions(picture_folder: Path, evaluations: dict[str, "Evaluation"]) -> None:
    """Draw the accuracy of all runs on each set of corrupted images, as `corruptions*.png`."""
    from jaxcifar.report.evaluation_section import plot_corruptions

    results_on_test_images = {
        run: evaluation["corruptions"]
        for run, evaluation in evaluations.items()
        if "corruptions" in evaluation
    }
    if results_on_test_images:
        title = _corruption_title("corrupted test images", results_on_test_images)
        _draw_picture(
            picture_folder / "corruptions.png", plot_corruptions, results_on_test_images, title
        )
    results_by_set: dict[str, dict[str, CorruptionSet]] = {}  # title of the set -> run -> results
    for run, evaluation in evaluations.items():
        for set_title, results in evaluation.get("corruption_sets", {}).items():
            results_by_set.setdefault(set_title, {})[run] = results
    for set_title, results_by_run in results_by_set.items():
        title = _corruption_title(set_title, results_by_run)
        picture_file = picture_folder / f"corruptions-{_as_file_name(set_title)}.png"
        _draw_picture(picture_file, plot_corruptions, results_by_run, title)


def _corruption_title(set_title: str, results_by_run: Mapping[str, Any]) -> str:
    """Return the title of a picture of accuracies; the name of a single run is part of it."""
    title = f"Accuracy on {set_title}"
    if len(results_by_run) > 1:
        return title
    [run] = results_by_run
    return f"{title}: {run}"


def _as_file_name(text: str) -> str:
    """Return a text with "-" in place of characters that are unusual in file names."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)


def _draw_picture(path: Path, plot: Callable[..., None], *arguments: Any) -> None:
    """Open the file of a picture, and call `plot(*arguments, file)` to draw the picture."""
    with explain_write_errors(str(path)), atomic_write(path) as file:
        plot(*arguments, file)
