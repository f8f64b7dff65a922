"""Alternative texts for the report's pictures; each text says the picture's values in words."""

from collections.abc import Iterable, Sequence

import numpy as np

from jaxcifar.report.classes import classes_by_accuracy
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.wording import escape_markdown, percent
from jaxcifar.runs.file_formats import get_number

_MAX_LISTED_VALUES = 40


def describe_curves(runs: Sequence[FinishedRun], variation_name: str, quantity: str) -> str:
    """Return a text that describes the learning curves of runs which differ only in seed or fold.

    The text has the mean values of training and validation in the first and in the last epoch. It
    also has the validation value of each run in its best epoch.

    Args:
      runs: finished runs that differ only in seed or fold.
      variation_name: the name that the text gives these runs.
      quantity: "accuracy" or "loss".
    """
    changes_during_training = []
    for split, split_title in (("train", "training"), ("val", "validation")):
        metric = f"{split}_{quantity}"
        first_mean = sum(get_number(run.history[0], metric) for run in runs) / len(runs)
        last_mean = sum(get_number(run.history[-1], metric) for run in runs) / len(runs)
        first_text = _format_value(first_mean, quantity)
        last_text = _format_value(last_mean, quantity)
        changes_during_training.append(f"{split_title} from {first_text} to {last_text}")
    best_values_of_runs = []
    for run in runs:
        best_epoch = run.result["selected_epoch"]
        best_value = get_number(run.history[best_epoch - 1], f"val_{quantity}")
        best_values_of_runs.append(f"{_format_value(best_value, quantity)} in epoch {best_epoch}")
    epochs = max(len(run.history) for run in runs)
    return (
        f"{quantity.capitalize()} of {escape_markdown(variation_name)} by epoch, 1 to {epochs}: "
        f"{'; '.join(changes_during_training)}; validation at the chosen epoch "
        f"{', '.join(best_values_of_runs)}"
    )


def _format_value(value: float, quantity: str) -> str:
    return percent(value) if quantity == "accuracy" else f"{value:.4f}"


def describe_test_accuracies(variations: Sequence[Variation]) -> str:
    """Return a text with each variation's mean test accuracy and, if known, its reference accuracy.

    The reference accuracy is the mean of the accuracies that others published.
    """
    descriptions = []
    for variation in variations:
        mean = variation.mean("test_accuracy")
        description = f"{escape_markdown(variation.name)} {percent(mean)}"
        reference_accuracies = variation.reference_accuracies
        if reference_accuracies:
            reference_mean = sum(reference_accuracies) / len(reference_accuracies)
            description += f" (reference {percent(reference_mean)})"
        descriptions.append(description)
    return "Test accuracy: " + _join_first(descriptions)


def describe_validation_accuracies(variations: Sequence[Variation]) -> str:
    """Return a text with the best validation accuracy of each variation, best variation first."""
    best_first = sorted(variations, key=lambda variation: -variation.mean("val_accuracy"))
    descriptions = []
    for variation in best_first:
        mean = variation.mean("val_accuracy")
        descriptions.append(f"{escape_markdown(variation.name)} {percent(mean)}")
    return "Validation accuracy by epoch; at the chosen epoch: " + _join_first(descriptions)


def describe_class_accuracies(run: FinishedRun) -> str:
    """Return a text with the test accuracy of each class, worst class first."""
    descriptions = [
        f"{escape_markdown(run.class_names[label])} {percent(run.class_accuracy[label])}"
        for label in classes_by_accuracy(run)
    ]
    return "Test accuracy by class: " + _join_first(descriptions)


def describe_confusion_diagonal(run: FinishedRun) -> str:
    """Return a text with the number of correctly classified test images of each class."""
    image_counts, right_counts = run.confusion.sum(1), np.diag(run.confusion)
    descriptions = [
        f"{escape_markdown(name)} {right_counts[label]:,} of {image_counts[label]:,}"
        for label, name in enumerate(run.class_names)
    ]
    return "Confusion matrix; right answers: " + _join_first(descriptions)


def describe_training_images(class_names: Sequence[str], labels: Iterable[int]) -> str:
    """Return a text that describes a picture of training images: the class name of each image.

    Args:
      class_names: names of all classes.
      labels: the class number of each image in the picture.
    """
    names = _join_first(escape_markdown(class_names[label]) for label in labels)
    return f"Training images as stored, and three random augmentations of each: {names}"


def _join_first(texts: Iterable[str]) -> str:
    """Return texts joined by commas, such as "a, b, c".

    Only the first `_MAX_LISTED_VALUES` texts are listed. "and 5 more" stands for 5 others.
    """
    texts = list(texts)
    joined = ", ".join(texts[:_MAX_LISTED_VALUES])
    left_out_count = len(texts) - _MAX_LISTED_VALUES
    return f"{joined} and {left_out_count} more" if left_out_count > 0 else joined
