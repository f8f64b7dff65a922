"""What a finished run has to say: the figures of `result.json`, plots and tables."""

from collections.abc import Callable, Mapping, Sequence
from typing import cast

import numpy as np

from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.drawing import plot_network
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.errors import first_line
from jaxcifar.machine import environment, processes
from jaxcifar.machine.files import atomic_write, write_text
from jaxcifar.runs import plots
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import declared, fields
from jaxcifar.runs.saved import Choice, FiguresOnTest, Row, RunFigures, TrainingFigures
from jaxcifar.training.metrics import Measurement, decimal

MISTAKES = 20
SELECTION_RULE = "highest validation accuracy, then lowest validation loss"
WITHOUT_VALIDATION = "last epoch: no images were kept for validation"
# Older versions wrote accuracies as float32s, which differ from the quotients by less.
_ROUNDING = 2e-7


def best_epoch(history: Sequence[Row]) -> int:
    """The epoch chosen by `SELECTION_RULE` among rows of `metrics.jsonl`, else the last."""
    if "val_accuracy" not in history[-1]:
        return len(history)
    return history[best_row(history)]["epoch"]


def best_row(rows: Sequence[Row]) -> int:
    """The place of the row chosen by `SELECTION_RULE`; of equal ones the first.

    Args:
      rows: at least one, all with `val_accuracy` and `val_loss`.
    """
    highest = max(row["val_accuracy"] for row in rows)
    equal = [i for i, row in enumerate(rows) if highest - row["val_accuracy"] < _ROUNDING]
    return min(equal, key=lambda i: rows[i]["val_loss"])


def only_answer(confusion: np.ndarray) -> int | None:
    """The label that a collapsed run gives every test image; None for a run that did not.

    Args:
      confusion: images by true class (rows) and predicted class, `[classes, classes]` integers.
    """
    answers = np.flatnonzero(confusion.any(axis=0))
    return int(answers[0]) if len(answers) == 1 and confusion.any(axis=1).sum() > 1 else None


def tested_figures(
    class_names: Sequence[str],
    chosen: Measurement,
    accuracy_flip: float,
    metrics: MetricSet,
) -> FiguresOnTest:
    """What the test images say.

    Args:
      class_names: of the data set.
      chosen: what was measured of the weights.
      accuracy_flip: their accuracy where each image is seen from both sides.
      metrics: what was measured.
    """
    confusion = chosen.confusion
    class_accuracy = np.diag(confusion) / np.maximum(confusion.sum(1), 1)
    known: FiguresOnTest = {
        "test_accuracy": chosen.values["accuracy"],
        "test_loss": chosen.values["loss"],
        "test_accuracy_flip": accuracy_flip,
        "metrics": declared(metrics),
        "class_accuracy": dict(zip(class_names, class_accuracy.tolist(), strict=True)),
        "confusion_matrix": confusion.tolist(),  # a row a true class, a column a predicted one
    }
    return cast(FiguresOnTest, {**fields("test", chosen.values), **known})


def trained_figures(
    history: Sequence[Row], epoch: int, last: Mapping[str, float]
) -> TrainingFigures:
    """What a training came to.

    Args:
      history: rows of `metrics.jsonl`.
      epoch: the one that validation chose.
      last: values of the last epoch's weights on the test images, by metric.
    """
    return {
        "selected_epoch": epoch,
        **_chosen(history[epoch - 1]),
        "last_epoch": {
            "epoch": history[-1]["epoch"],
            "test_accuracy": last["accuracy"],
            "test_loss": last["loss"],
        },
        "images_per_second": mean_rate(history),
    }


def mean_rate(history: Sequence[Row]) -> float:
    """Training images a second over all epochs of `metrics.jsonl`, one at least."""
    images = sum(row["seconds"] * row["images_per_second"] for row in history)
    return images / sum(row["seconds"] for row in history)


def _chosen(row: Row) -> Choice:
    if "val_accuracy" not in row:
        return {"selection_rule": WITHOUT_VALIDATION}
    return {"selection_rule": SELECTION_RULE, "val_accuracy": row["val_accuracy"]}


def run_figures(config: Config, dataset: Dataset, summary: Summary) -> RunFigures:
    """What was trained, on what, and with what."""
    return {
        "dataset": dataset.title,
        "dataset_name": dataset.name,
        "dataset_fingerprint": dict(dataset.fingerprints),
        "class_names": list(dataset.class_names),
        "channel_mean": [decimal(value) for value in dataset.mean],
        "channel_std": [decimal(value) for value in dataset.std],
        "examples": {
            "train": len(dataset.train.labels),
            "val": len(dataset.val.labels),
            "test": len(dataset.test.labels),
        },
        "parameters": summary.params,
        "flops": summary.flops,
        "versions": environment.package_versions(),
        "config": config.to_dict(),
    }


def confident_mistakes(logits: np.ndarray, examples: Examples) -> dict[str, np.ndarray]:
    """The wrong answers that the network was surest of, the surest first.

    Args:
      logits: `[N, K]`.
      examples: the images and labels that they belong to.

    Returns:
      up to `MISTAKES` each of `index`, `label`, `predicted` (int32), `confidence` (float32, the
      probability of the prediction) and `image` (`[32, 32, 3] uint8`).
    """
    predicted = logits.argmax(-1)
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    confidence = 1 / odds.sum(-1)
    wrong = np.flatnonzero(predicted != examples.labels)
    index = wrong[np.argsort(-confidence[wrong], kind="stable")][:MISTAKES]
    return {
        "index": index.astype(np.int32),
        "label": examples.labels[index].astype(np.int32),
        "predicted": predicted[index].astype(np.int32),
        "confidence": confidence[index].astype(np.float32),
        "image": examples.images[index],
    }


def describe_network(
    folder: RunFolder, title: str, summary: Summary, say: Callable[[str], None]
) -> None:
    """Write the network's table and picture, once, in the first process.

    If the picture fails, a line says so.

    Raises:
      OSError: something else can't be written.
    """
    if folder.network.exists() or not processes.is_first_process():
        return
    try:
        with atomic_write(folder.model_plot) as file:
            plot_network(summary, title, file)
    except Exception as error:  # of matplotlib, on a network that nobody thought of
        say(f"no picture of the network ({first_line(error)})")
    write_text(folder.summary, summary.table())
    write_text(folder.network, summary.to_json())


def write_curves(folder: RunFolder, title: str, history: Sequence[Row]) -> None:
    """Draw accuracy and loss by epoch, in the first process."""
    if not processes.is_first_process():
        return
    chosen = [best_epoch(history)]
    for quantity, path in (("accuracy", folder.accuracy_plot), ("loss", folder.loss_plot)):
        with atomic_write(path) as file:
            plots.plot_curves([history], chosen, quantity, title, file)
