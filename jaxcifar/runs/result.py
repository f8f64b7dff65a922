"""Evaluate a run: on the validation images after each epoch, on the test images at the end."""

from collections.abc import Mapping, Sequence
from functools import partial
from typing import cast

import numpy as np

from jaxcifar.build.setup import Setup, network_summary
from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.machine import environment
from jaxcifar.machine.jax_settings import compiler_settings
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.epoch_selection import SELECTION_RULE, WITHOUT_VALIDATION, best_epoch
from jaxcifar.runs.file_formats import (
    Environment,
    Measured,
    Row,
    RunDescription,
    TestFigures,
    TrainingFigures,
    Validation,
)
from jaxcifar.runs.metric_fields import declare_metrics, finite_fields
from jaxcifar.runs.mistakes import Mistakes, choose_mistakes
from jaxcifar.training import predicting
from jaxcifar.training.metrics import ACCURACY, measure, shortest_decimal
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState


def validation_metrics(setup: Setup, variables: Variables, hyper: Hyperparameters) -> Validation:
    """Evaluate the network on the validation images.

    Returns:
      `val_loss` (nats), `val_accuracy` (0 to 1) and a field `val_NAME` for each other metric; an
      empty dict if the run has no validation images.

    Raises:
      UsageError: a user's metric fails.
    """
    images, labels = setup.val.images, setup.val.labels
    if len(labels) == 0:
        return {}
    logits = predicting.predict(setup.program, variables, hyper, images)
    values = setup.metric_set.measure(logits, labels).values
    required_fields: Validation = {"val_loss": values["loss"], "val_accuracy": values["accuracy"]}
    return cast(Validation, {**finite_fields("val", values), **required_fields})


def measure_run(
    config: Config,
    setup: Setup,
    hyper: Hyperparameters,
    history: Sequence[Row],
    *,
    last_state: TrainState,
    best_state: TrainState,
) -> tuple[Measured, Mistakes]:
    """Evaluate a trained network on the test images, with the weights of the best epoch.

    The weights of the last epoch are evaluated too, for the field `last_epoch` of the result.

    Args:
      config: the run's settings.
      setup: the program and the images.
      hyper: the run's hyper-parameters, on the devices.
      history: the rows of all epochs.
      last_state: the training state after the last epoch.
      best_state: the training state after the best epoch.

    Returns:
      the content of `result.json` without times, and wrongly classified test images.

    Raises:
      UsageError: a user's metric fails.
    """
    test_fields, mistakes = _evaluate_on_test_images(
        setup.program, best_state.variables, hyper, setup.test, setup.dataset, setup.metric_set
    )
    last_values: Mapping[str, float] = {
        "accuracy": test_fields["test_accuracy"],
        "loss": test_fields["test_loss"],
    }
    if best_epoch(history) != len(history):
        logits = predicting.predict(setup.program, last_state.variables, hyper, setup.test.images)
        last_values = setup.metric_set.measure(np.asarray(logits), setup.test.labels).values
    all_fields: Measured = {
        **test_fields,
        **_training_fields(config, history, last_values),
        **_description_fields(setup.config_of(config), setup.dataset, setup.summary),
        **_environment_fields(setup.program),
        "at_once": setup.parallel_runs.run_count,
    }
    return all_fields, mistakes


def measure_weights(
    config: Config, program: Program, variables: Variables, hyper: Hyperparameters, dataset: Dataset
) -> tuple[Measured, Mistakes]:
    """Evaluate weights that were converted from another format on the test images of a data set.

    Of `hyper`, only the mean and deviation of the images are used.

    Returns:
      the content of `result.json` without times and training results, and wrongly classified test
      images.
    """
    test = place_on_devices(dataset.test, program.replicated)
    metric_set = MetricSet.create(dataset.num_classes)
    test_fields, mistakes = _evaluate_on_test_images(
        program, variables, hyper, test, dataset, metric_set
    )
    all_fields: Measured = {
        **test_fields,
        **_description_fields(config, dataset, network_summary(program)),
        **_environment_fields(program),
        "at_once": 1,
    }
    return all_fields, mistakes


def _evaluate_on_test_images(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    test: Examples,
    dataset: Dataset,
    metric_set: MetricSet,
) -> tuple[TestFigures, Mistakes]:
    """Evaluate weights on the test images of a data set.

    `test` has the test images on the devices, and `metric_set` the metrics to compute. Of `hyper`,
    only the mean and deviation of the images are used.

    Returns:
      the fields of `result.json` with test results, and wrongly classified test images.
    """
    predict = partial(predicting.predict, program, variables, hyper)
    logits = np.asarray(predict(test.images))
    measurement = metric_set.measure(logits, test.labels)
    values, confusion = measurement.values, measurement.confusion
    mean_logits = predicting.average_with_mirror_images(predict, test.images, logits)
    accuracy_with_mirror_images = measure((ACCURACY,), mean_logits, test.labels).values["accuracy"]
    required_fields: TestFigures = {
        "test_accuracy": values["accuracy"],
        "test_loss": values["loss"],
        "test_accuracy_flip": accuracy_with_mirror_images,
        "metrics": declare_metrics(metric_set),
        "class_accuracy": _class_accuracy(confusion, dataset.class_names),
        "confusion_matrix": confusion.tolist(),  # rows are true classes, columns predicted classes
    }
    test_fields = cast(TestFigures, {**finite_fields("test", values), **required_fields})
    return test_fields, choose_mistakes(logits, dataset.test)


def _class_accuracy(confusion: np.ndarray, class_names: Sequence[str]) -> dict[str, float]:
    """Return the accuracy on the images of each class; classes without images are left out.

    The confusion matrix has rows for true classes and columns for predicted classes.
    """
    image_counts = confusion.sum(1)
    correct_counts = np.diag(confusion)
    return {
        name: float(correct_counts[label] / image_counts[label])
        for label, name in enumerate(class_names)
        if image_counts[label] > 0
    }


def _training_fields(
    config: Config, history: Sequence[Row], last_values: Mapping[str, float]
) -> TrainingFigures:
    """Return the fields of `result.json` that describe training.

    Args:
      config: the run's settings.
      history: rows of `metrics.jsonl`, one per epoch.
      last_values: test `accuracy` and `loss` with the weights of the last epoch.
    """
    selected_epoch = best_epoch(history)
    best_row = history[selected_epoch - 1]
    selection_fields: TrainingFigures = {"selection_rule": WITHOUT_VALIDATION}
    if "val_accuracy" in best_row:
        selection_fields = {
            "selection_rule": SELECTION_RULE,
            "val_accuracy": best_row["val_accuracy"],
        }
    training_fields: TrainingFigures = {
        "selected_epoch": selected_epoch,
        **selection_fields,
        "last_epoch": {
            "epoch": history[-1]["epoch"],
            "test_accuracy": last_values["accuracy"],
            "test_loss": last_values["loss"],
        },
        "images_per_second": mean_images_per_second(history),
    }
    if len(history) < config.epochs:
        training_fields["planned_epochs"] = config.epochs
    return training_fields


def mean_images_per_second(history: Sequence[Row]) -> float:
    """Return the training images per second, over all epochs in rows of `metrics.jsonl`."""
    image_count = sum(row["seconds"] * row["images_per_second"] for row in history)
    return image_count / sum(row["seconds"] for row in history)


def _description_fields(config: Config, dataset: Dataset, summary: Summary) -> RunDescription:
    description: RunDescription = {
        "dataset": dataset.title,
        "dataset_name": dataset.name,
        "dataset_fingerprint": dict(dataset.fingerprints),
        "class_names": list(dataset.class_names),
        "channel_mean": [shortest_decimal(value) for value in dataset.mean],
        "channel_std": [shortest_decimal(value) for value in dataset.std],
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
    if dataset.copy_counts:
        description["copied_examples"] = dict(dataset.copy_counts)
    return description


def _environment_fields(program: Program) -> Environment:
    return {
        "compiler_settings": compiler_settings(),
        "device": environment.describe_devices(program.mesh.devices.tolist()),
        "compute_dtype": str(program.dtype),
    }
