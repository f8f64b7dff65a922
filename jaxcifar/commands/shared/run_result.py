"""The lines of `jaxcifar run` and `jaxcifar convert` with the result of a run."""

from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import PrintLine

if TYPE_CHECKING:
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.file_formats import Result


def show_result(print_line: PrintLine, result: "Result", run_folder: Path) -> None:
    """Print the result of a run, such as its test accuracy."""
    import numpy as np

    from jaxcifar.runs.file_formats import class_names, get_number
    from jaxcifar.training.metrics import only_predicted_class

    print_line(f"test accuracy   {result['test_accuracy']:.2%} on {result['dataset']}")
    if "test_accuracy_flip" in result:
        flip_accuracy = result["test_accuracy_flip"]
        print_line(f"with flips      {flip_accuracy:.2%}, by both an image and its mirror image")
    if "converted" in result:
        file = result["converted"]["file"]
        print_line(f"weights         converted from {file}, not trained here")
        print_line(f"files           result.json, weights.safetensors, model.png in {run_folder}/")
        return
    confusion = np.asarray(result["confusion_matrix"])
    images_of_classes = confusion.sum(axis=1)
    has_unequal_classes = len(set(images_of_classes)) > 1
    if has_unequal_classes and "test_balanced_accuracy" in result:
        balanced_accuracy = get_number(result, "test_balanced_accuracy")
        print_line(
            f"balanced        {balanced_accuracy:.2%}, the mean of the accuracies of the classes"
        )
    label = only_predicted_class(confusion)
    if label is not None:
        class_name = class_names(result)[label]
        print_line(f"collapsed       every image is classified as {class_name}: nothing was learnt")
    last_epoch = result["last_epoch"]
    chosen_epoch = f"epoch {result['selected_epoch']}"
    if result.get("val_accuracy") is not None:
        chosen_epoch += f", validation accuracy {result['val_accuracy']:.2%}"
    print_line(f"chosen          {chosen_epoch} ({result['selection_rule']})")
    planned_epochs = result.get("planned_epochs")
    early_end = f" of {planned_epochs}, ended early (--patience)" if planned_epochs else ""
    print_line(
        f"last epoch      {last_epoch['test_accuracy']:.2%} after epoch "
        f"{last_epoch['epoch']}{early_end}"
    )
    print_line(
        f"time            {result['wall_seconds']:,.0f} s, {result['images_per_second']:,.0f} "
        f"images/s on {result['device']}, {result['compute_dtype']}"
    )
    files = "result.json, weights.safetensors, metrics.jsonl, accuracy.png, loss.png, model.png"
    print_line(f"files           {files} in {run_folder}/")


def show_metric(
    print_line: PrintLine, result: "Result", user_metric: "UserMetric", run_folder: Path
) -> None:
    """Print the value of a user's metric on the test images, or why there is no value.

    `result` is the result of the run in the folder.
    """
    from jaxcifar.runs.file_formats import get_number
    from jaxcifar.runs.metric_fields import format_value, is_measured

    metric = user_metric.metric
    if not is_measured(user_metric, result):
        value_text = (
            "not measured, because the run was finished before; measure it with "
            f"{shell_command('evaluate')} {run_folder} --metric {user_metric.code}"
        )
    elif f"test_{metric.name}" not in result:
        value_text = "not a finite number"
    else:
        value_text = format_value(get_number(result, f"test_{metric.name}"), metric.unit)
    print_line(f"{metric.title:15} {value_text}")
