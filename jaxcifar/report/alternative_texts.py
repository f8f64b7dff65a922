"""Alternative texts for the report's pictures; each text says the picture's values in words."""

from collections.abc import Iterable, Sequence

from jaxcifar.report.classes import classes_by_accuracy
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.wording import escape_markdown, percent
from jaxcifar.runs.file_formats import number

_MAX_VALUES = 40


def curves(runs: Sequence[FinishedRun], name: str, quantity: str) -> str:
    """Return a text on learning curves: their mean first and last values, and the best epochs.

    `name` names the runs in the text. `quantity` is "accuracy" or "loss".
    """
    parts = []
    for split, title in (("train", "training"), ("val", "validation")):
        key = f"{split}_{quantity}"
        first, last = (
            sum(number(run.history[epoch], key) for run in runs) / len(runs) for epoch in (0, -1)
        )
        parts.append(f"{title} from {_value(first, quantity)} to {_value(last, quantity)}")
    chosen = []
    for run in runs:
        epoch = run.result["selected_epoch"]
        value = number(run.history[epoch - 1], f"val_{quantity}")
        chosen.append(f"{_value(value, quantity)} in epoch {epoch}")
    epochs = max(len(run.history) for run in runs)
    return (
        f"{quantity.capitalize()} of {escape_markdown(name)} by epoch, 1 to {epochs}: "
        f"{'; '.join(parts)}; validation at the chosen epoch {', '.join(chosen)}"
    )


def _value(value: float, quantity: str) -> str:
    return percent(value) if quantity == "accuracy" else f"{value:.4f}"


def test_accuracies(variations: Sequence[Variation]) -> str:
    """Return a text with the test accuracy and any reference accuracy of each variation."""
    parts = []
    for v in variations:
        part = f"{escape_markdown(v.name)} {percent(v.values('test_accuracy').mean())}"
        if v.reference:
            part += f" (reference {percent(sum(v.reference) / len(v.reference))})"
        parts.append(part)
    return "Test accuracy: " + _join(parts)


def validation_accuracies(variations: Sequence[Variation]) -> str:
    """Return a text with the best validation accuracy of each variation, best variation first."""
    ordered = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    return "Validation accuracy by epoch; at the chosen epoch: " + _join(
        f"{escape_markdown(v.name)} {percent(v.values('val_accuracy').mean())}" for v in ordered
    )


def class_accuracies(run: FinishedRun) -> str:
    """Return a text with the test accuracy of each class, worst class first."""
    return "Test accuracy by class: " + _join(
        f"{escape_markdown(run.class_names[i])} {percent(run.class_accuracy[i])}"
        for i in classes_by_accuracy(run)
    )


def confusion_diagonal(run: FinishedRun) -> str:
    """Return a text with the number of correctly classified test images of each class."""
    counts = run.confusion.sum(1)
    return "Confusion matrix; right answers: " + _join(
        f"{escape_markdown(name)} {run.confusion[i, i]:,} of {counts[i]:,}"
        for i, name in enumerate(run.class_names)
    )


def training_images(class_names: Sequence[str], labels: Iterable[int]) -> str:
    """Return a text on the picture of training images, with the class of each image."""
    names = _join(escape_markdown(class_names[label]) for label in labels)
    return f"Training images as stored, and three random augmentations of each: {names}"


def _join(values: Iterable[str]) -> str:
    values = list(values)
    more = len(values) - _MAX_VALUES
    return ", ".join(values[:_MAX_VALUES]) + (f" and {more} more" if more > 0 else "")
