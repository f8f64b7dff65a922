"""The report's pictures; each names its data set, and none shows a time."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator, PercentFormatter

from jaxcifar.report.records import Network, RunRecord, Variation

_WIDTH = 6.4  # inches: text stays readable when a phone scales the picture to its width
_HALF = 4.6
_LINES = ("-", "--", ":")
_SPLITS = {"train": ("training", "#d55e00"), "val": ("validation", "#0072b2")}
_OURS, _THEIRS = "#0072b2", "#999999"


def plot_curves(variation: Variation, quantity: str, title: str, path: Path) -> None:
    """Training and validation by epoch: the mean over seeds, and the span between them.

    Args:
      variation: whose runs are drawn.
      quantity: "accuracy" or "loss".
      title: names variation and data set.
      path: of the PNG.
    """
    figure, axes = _figure(_HALF, 3.0)
    for split, (label, color) in _SPLITS.items():
        _draw_mean(axes, variation.curve(f"{split}_{quantity}"), label=label, color=color)
    axes.set(xlabel="epoch", ylabel=quantity, title=title)
    if quantity == "accuracy":
        axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    axes.legend()
    figure.savefig(path)


def plot_all_validation(variations: Sequence[Variation], title: str, path: Path) -> None:
    """Validation accuracy of all variations by epoch, the best at the top of the legend."""
    figure, axes = _figure(_WIDTH, 5.6)
    order = sorted(variations, key=lambda v: -v.curve("val_accuracy").mean(0)[-1])
    for variation in order:
        place = list(variations).index(variation)
        curve = variation.curve("val_accuracy")
        style = {"color": f"C{place % 10}", "linestyle": _LINES[place % len(_LINES)]}
        _draw_mean(axes, curve, label=f"{variation.name}  {curve.mean(0)[-1]:.1%}", **style)
    axes.set(xlabel="epoch", ylabel="validation accuracy", title=title)
    axes.yaxis.set_major_formatter(PercentFormatter(1.0))
    figure.legend(loc="outside lower center", ncols=2, title="after the last epoch", fontsize=9)
    figure.savefig(path)


def plot_bars(variations: Sequence[Variation], reference: str, title: str, path: Path) -> None:
    """Test accuracy of each variation, a dot a seed, beside its reference.

    Args:
      variations: from top to bottom.
      reference: what the references are called.
      title: names the data set.
      path: of the PNG.
    """
    figure, axes = _figure(_WIDTH, 1.4 + 0.5 * len(variations))
    places = np.arange(len(variations))
    means = [v.values("test_accuracy").mean() for v in variations]
    axes.barh(places - 0.2, means, 0.38, color=_OURS, label="ours")
    theirs = [np.mean(v.reference) if v.reference else 0 for v in variations]
    if any(theirs):
        axes.barh(places + 0.2, theirs, 0.38, color=_THEIRS, label=reference)
    for place, variation in zip(places, variations, strict=True):
        if len(variation.runs) > 1:
            values = variation.values("test_accuracy")
            axes.plot(values, np.full(len(values), place - 0.2), "k|", markersize=7)
        for offset, value in ((-0.2, means[place]), (0.2, theirs[place])):
            if value:
                axes.text(value + 0.01, place + offset, f"{value:.1%}", va="center", fontsize=9)
    axes.set(xlim=(0, 1.12), xlabel="test accuracy", title=title)
    axes.set_yticks(places, [v.name for v in variations])
    axes.set_xticks(np.linspace(0, 1, 6))
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    axes.invert_yaxis()
    figure.legend(loc="outside lower center", ncols=2)
    figure.savefig(path)


def plot_confusion(run: RunRecord, title: str, path: Path) -> None:
    """The confusion matrix of a run on the test images; rows add up to the class's images."""
    matrix = np.asarray(run.result["confusion_matrix"])
    names = list(run.result["class_accuracy"])
    figure, axes = _figure(_WIDTH, 6.0)
    shares = matrix / np.maximum(matrix.sum(1, keepdims=True), 1)
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1)
    for (row, column), count in np.ndenumerate(matrix):
        color = "white" if shares[row, column] > 0.5 else "black"
        axes.text(column, row, count, ha="center", va="center", color=color, fontsize=9)
    axes.set_xticks(range(len(names)), names, rotation=45, ha="right")
    axes.set_yticks(range(len(names)), names)
    axes.set(xlabel="predicted", ylabel="true class", title=title)
    axes.grid(False)
    figure.savefig(path)


def plot_mistakes(run: RunRecord, mistakes: dict[str, np.ndarray], title: str, path: Path) -> None:
    """The wrong answers that a run was surest of, as images.

    Args:
      run: whose they are.
      mistakes: content of its `mistakes.npz`.
      title: names the data set.
      path: of the PNG.
    """
    names, columns = list(run.result["class_accuracy"]), 4
    rows = max(1, -(-len(mistakes["image"]) // columns))
    figure = Figure(figsize=(_WIDTH, 0.7 + 1.85 * rows), dpi=120, layout="constrained")
    figure.suptitle(title, fontsize=11)
    panels = figure.subplots(rows, columns, squeeze=False).ravel()
    for panel in panels:
        panel.set_axis_off()
    for panel, image, label, predicted, confidence in zip(
        panels, *(mistakes[k] for k in ("image", "label", "predicted", "confidence")), strict=False
    ):
        panel.imshow(image, interpolation="nearest")
        answer = f"{names[predicted]} {confidence:.2%}"
        panel.set_title(f"{answer}\nis {names[label]}", fontsize=9)
    figure.savefig(path)


def plot_per_class(network: Network, title: str, path: Path) -> None:
    """Test accuracy by class of a network's best run."""
    accuracy = network.winner.best_run.result["class_accuracy"]
    figure, axes = _figure(_WIDTH, 3.6)
    names = sorted(accuracy, key=lambda name: accuracy[name])
    bars = axes.barh(names, [accuracy[name] for name in names], color=_OURS)
    axes.bar_label(bars, [f"{accuracy[name]:.1%}" for name in names], padding=3, fontsize=9)
    axes.set(xlim=(0, 1.12), title=title)
    axes.xaxis.set_major_formatter(PercentFormatter(1.0))
    figure.savefig(path)


def _figure(width: float, height: float) -> tuple[Figure, Axes]:
    figure = Figure(figsize=(width, height), dpi=120, layout="constrained")
    axes = figure.add_subplot()
    axes.grid(alpha=0.3)
    axes.set_axisbelow(True)
    axes.title.set_fontsize(10)
    return figure, axes


def _draw_mean(
    axes: Axes, curves: np.ndarray, label: str, color: str, linestyle: str = "-"
) -> None:
    """The mean of curves `[runs, epochs]`, with a band from the lowest to the highest."""
    epochs = np.arange(1, curves.shape[1] + 1)
    marker = "o" if len(epochs) < 25 else None  # a single epoch must show, too
    axes.plot(epochs, curves.mean(0), label=label, color=color, linestyle=linestyle,
              marker=marker, markersize=3.5)  # fmt: skip
    if len(curves) > 1:
        axes.fill_between(epochs, curves.min(0), curves.max(0), color=color, alpha=0.15, lw=0)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
