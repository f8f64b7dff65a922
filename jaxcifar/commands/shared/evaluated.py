"""Print the results of `jaxcifar evaluate`."""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from rich.console import Console

from jaxcifar.commands.shared.evaluated_corruptions import (
    corruption_set_table,
    corruption_strength_table,
)
from jaxcifar.commands.shared.evaluated_images import list_mistakes
from jaxcifar.commands.shared.evaluated_tables import (
    ResultsOfRuns,
    accuracy_table,
    calibration_table,
    class_table,
    metric_table,
    mistake_table,
)
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.evaluation_file import BINS, Evaluation, Figures, Look
from jaxcifar.runs.temperature_limits import is_limit

Evaluations = Mapping[str, Evaluation]  # by the name of the run
_USES_AT_END_OF_RUN = 1  # of the test images


def short_names(runs: Iterable[Path]) -> dict[Path, str]:
    """Return a short name such as `plain/seed0` for each run, by the run's path.

    Each name has the last two parts of the path, or more if names would be equal otherwise.
    """
    runs = list(dict.fromkeys(runs))
    max_part_count = max(len(run.parts) for run in runs)
    for part_count in range(2, max_part_count + 1):
        names = {run: printable(Path(*run.parts[-part_count:])) for run in runs}
        if len(set(names.values())) == len(runs):
            return names
    return {run: printable(run) for run in runs}


def show_evaluations(
    console: Console, evaluations: Evaluations, uses_of_test_images: Mapping[str, list[Look]]
) -> None:
    """Print tables of the evaluations, and how often the test images were used.

    Args:
      console: where to print.
      evaluations: name of a run -> content of its `evaluation.json`.
      uses_of_test_images: name of a run -> date and purpose of each evaluation that used its test
        images.
    """
    print_line = line_printer(console)
    results_of_runs = [
        (run, results_on_set)
        for run, evaluation in evaluations.items()
        for results_on_set in evaluation["sets"].values()
    ]
    if results_of_runs:
        _show_results_on_sets(console, results_of_runs)
    for run, evaluation in evaluations.items():
        if "corruptions" in evaluation:
            console.print(corruption_strength_table(run, evaluation["corruptions"]))
    for run, evaluation in evaluations.items():
        for corruption_set in evaluation.get("corruption_sets", {}).values():
            console.print(corruption_set_table(run, corruption_set))
    results_with_mistakes = {
        run: evaluation["slips"] for run, evaluation in evaluations.items() if "slips" in evaluation
    }
    if results_with_mistakes:
        console.print(mistake_table(results_with_mistakes))
    for run, evaluation in evaluations.items():
        if "temperature" in evaluation:
            print_line(f"{run}: {_temperature_text(evaluation['temperature'])}")
    for run, uses_by_evaluate in uses_of_test_images.items():
        if uses_by_evaluate:
            print_line(f"{run}: {_test_image_uses_text(uses_by_evaluate)}")


def _test_image_uses_text(uses_by_evaluate: Sequence[Look]) -> str:
    """Return text about all uses of a run's test images: at its end, and by `evaluate`."""
    use_count = _USES_AT_END_OF_RUN + len(uses_by_evaluate)
    last_use = uses_by_evaluate[-1]
    return (
        f"the test images were used {use_count} times: when the run ended, and by evaluate, last "
        f"on {last_use['date']} ({last_use['purpose']})"
    )


def _temperature_text(temperature: float) -> str:
    text = f"temperature {temperature:.3f}"
    if not is_limit(temperature):
        return text
    return (
        f"{text} is a limit, so loss/T and ECE/T say nothing: no temperature fits the validation "
        "images best, as when all of them are classified correctly; use more of them"
    )


def _show_results_on_sets(console: Console, results_of_runs: ResultsOfRuns) -> None:
    """Print accuracy, calibration and most confident mistakes of runs on sets of images."""
    print_line = line_printer(console)
    for run, results in results_of_runs:
        class_name = _only_predicted_class(results)
        if class_name is not None:
            print_line(
                f"{run}, {results['title']}: collapsed, every image is classified as {class_name}"
            )
    console.print(accuracy_table(results_of_runs))
    print_line("flips: accuracy if an image and its mirror image are classified together.")
    console.print(metric_table(results_of_runs))
    console.print(calibration_table(results_of_runs))
    print_line(
        f"ECE: expected calibration error, {BINS} bins. /T: logits divided by the temperature that "
        "fits the validation images best."
    )
    console.print(class_table(results_of_runs))
    for run, results in results_of_runs:
        for line in list_mistakes(run, results):
            print_line(line)


def _only_predicted_class(results: Figures) -> str | None:
    """Return the class that the network predicts for every image; None if there is no such class.

    Such a class has an accuracy of 1, and all other classes have an accuracy of 0.
    """
    accuracies = results["class_accuracy"]
    recognised_classes = [name for name, accuracy in accuracies.items() if accuracy > 0]
    if len(accuracies) < 2 or len(recognised_classes) != 1:
        return None
    [class_name] = recognised_classes
    return class_name if accuracies[class_name] == 1 else None
