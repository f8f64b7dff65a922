"""The pictures that `jaxcifar evaluate --out DIR` draws."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcifar.commands.shared.output import explain_write_errors
from jaxcifar.machine.files import atomic_write

if TYPE_CHECKING:
    from jaxcifar.commands.shared.evaluated_runs import LoadedRun
    from jaxcifar.evaluation.measure import EvaluationResult
    from jaxcifar.runs.evaluation_file import Evaluation

_OWN_CORRUPTIONS = ""  # in place of a title, for the test images that this package corrupts


def draw_run(
    picture_folder: Path, file_prefix: str, run: "LoadedRun", evaluated: "EvaluationResult"
) -> None:
    """Draw reliability diagrams and mistakes of a run as `PREFIX*.png`, for each set of images."""
    from jaxcifar.report.evaluation_section import plot_reliability
    from jaxcifar.runs.image_sheets import plot_label_errors, plot_mistakes

    temperature = evaluated.evaluation.get("temperature")
    class_names = run.classifier.class_names
    for set_name, (figures, mistakes, label_errors) in evaluated.results.items():
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

    results_by_set: dict[str, dict[str, Any]] = {}  # title of the set -> run -> results
    for run, evaluation in evaluations.items():
        results_of_run: dict[str, Any] = dict(evaluation.get("corruption_sets", {}))
        if "corruptions" in evaluation:
            results_of_run[_OWN_CORRUPTIONS] = evaluation["corruptions"]
        for set_title, results in results_of_run.items():
            results_by_set.setdefault(set_title, {})[run] = results
    for set_title, results_by_run in results_by_set.items():
        title = f"Accuracy on {set_title or 'corrupted test images'}"
        if len(results_by_run) == 1:
            [run] = results_by_run
            title += f": {run}"
        name_end = "" if set_title == _OWN_CORRUPTIONS else f"-{_as_file_name(set_title)}"
        picture_file = picture_folder / f"corruptions{name_end}.png"
        _draw_picture(picture_file, plot_corruptions, results_by_run, title)


def _as_file_name(text: str) -> str:
    """Return a text with "-" in place of characters that are unusual in file names."""
    return re.sub(r"[^A-Za-z0-9.-]", "-", text)


def _draw_picture(path: Path, plot: Callable[..., None], *arguments: Any) -> None:
    """Open the file of a picture, and call `plot(*arguments, file)` to draw the picture."""
    with explain_write_errors(str(path)), atomic_write(path) as file:
        plot(*arguments, file)
