"""Pictures in words, with their values: alternative texts, for who does not see them."""

from collections.abc import Iterable, Sequence

from jaxcifar.report.classes import ranked
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.report.wording import percent, plain
from jaxcifar.runs.saved import number

_MOST = 40  # values


def curves(runs: Sequence[FinishedRun], name: str, quantity: str) -> str:
    """Where curves of training and validation begin and end, and where the chosen epochs are."""
    parts = []
    for split, what in (("train", "training"), ("val", "validation")):
        key = f"{split}_{quantity}"
        first, last = (
            sum(number(run.history[epoch], key) for run in runs) / len(runs) for epoch in (0, -1)
        )
        parts.append(f"{what} from {_value(first, quantity)} to {_value(last, quantity)}")
    chosen = ", ".join(
        f"{_value(number(run.history[run.result['selected_epoch'] - 1], key), quantity)} "
        f"in epoch {run.result['selected_epoch']}"
        for run in runs
    )
    epochs = len(runs[0].history)
    return (
        f"{quantity.capitalize()} of {plain(name)} by epoch, 1 to {epochs}: {'; '.join(parts)}; "
        f"validation at the chosen epoch {chosen}"
    )


def _value(value: float, quantity: str) -> str:
    return percent(value) if quantity == "accuracy" else f"{value:.4f}"


def rows(variations: Sequence[Variation]) -> str:
    """Test accuracy of rows and, where known, of the reference."""
    return "Test accuracy: " + _some(
        f"{plain(v.name)} {percent(v.values('test_accuracy').mean())}"
        + (f" (reference {percent(sum(v.reference) / len(v.reference))})" if v.reference else "")
        for v in variations
    )


def validation(variations: Sequence[Variation]) -> str:
    """Validation accuracy of rows at their chosen epochs, the best first."""
    ordered = sorted(variations, key=lambda v: -v.values("val_accuracy").mean())
    return "Validation accuracy by epoch; at the chosen epoch: " + _some(
        f"{plain(v.name)} {percent(v.values('val_accuracy').mean())}" for v in ordered
    )


def by_class(run: FinishedRun) -> str:
    """Test accuracy by class, the worst first."""
    accuracy = run.class_accuracy
    return "Test accuracy by class: " + _some(
        f"{plain(run.class_names[i])} {percent(accuracy[i])}" for i in ranked(run)
    )


def confusions(run: FinishedRun) -> str:
    """How many images of each class are taken for it."""
    counts = run.confusion.sum(1)
    return "Confusion matrix; right answers: " + _some(
        f"{plain(name)} {run.confusion[i, i]:,} of {counts[i]:,}"
        for i, name in enumerate(run.class_names)
    )


def _some(values: Iterable[str]) -> str:
    values = list(values)
    more = len(values) - _MOST
    return ", ".join(values[:_MOST]) + (f" and {more} more" if more > 0 else "")
