"""What is measured of a run: validation by epoch; at its end, once, the test images."""

from collections.abc import Sequence
from functools import partial
from typing import cast

import numpy as np

from jaxcifar.build.setup import Setup
from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.machine import environment
from jaxcifar.machine.jax_settings import compiler_settings
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.metric_fields import fields
from jaxcifar.runs.result import (
    best_epoch,
    confident_mistakes,
    run_figures,
    tested_figures,
    trained_figures,
)
from jaxcifar.runs.saved import Circumstances, Measured, Row, Validation
from jaxcifar.training import predicting
from jaxcifar.training.metrics import ACCURACY, Measurement, measure
from jaxcifar.training.network import Variables
from jaxcifar.training.predicting import both_sides
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState


def validated(setup: Setup, variables: Variables, hp: Hyperparameters) -> Validation:
    """`val_NAME` of a row of `metrics.jsonl` for each metric; nothing without such images.

    Raises:
      UsageError: a metric of the user fails.
    """
    val = setup.val
    if not len(val.labels):
        return {}
    logits = predicting.predict(setup.program, variables, hp, val.images)
    values = setup.metrics.measure(logits, val.labels).values
    known: Validation = {"val_loss": values["loss"], "val_accuracy": values["accuracy"]}
    return cast(Validation, {**fields("val", values), **known})


def tested(
    config: Config,
    setup: Setup,
    hp: Hyperparameters,
    history: Sequence[Row],
    last: TrainState,
    chosen: TrainState,
) -> tuple[Measured, dict[str, np.ndarray]]:
    """Test a trained network.

    Args:
      config: what was trained.
      setup: with what.
      hp: its hyper-parameters.
      history: rows of `metrics.jsonl`.
      last: the state after the last epoch.
      chosen: that after the epoch that validation chose.

    Returns:
      the content of `result.json` but for times, and that of `mistakes.npz`.

    Raises:
      UsageError: a metric of the user fails.
    """
    dataset, program, test = setup.dataset, setup.program, setup.test
    logits, of_chosen = _test(program, chosen.variables, hp, test, setup.metrics)
    epoch, of_last = best_epoch(history), of_chosen
    if epoch != len(history):
        _, of_last = _test(program, last.variables, hp, test, setup.metrics)
    flipped = _accuracy_flip(program, chosen.variables, hp, test, logits)
    result: Measured = {
        **tested_figures(dataset.class_names, of_chosen, flipped, setup.metrics),
        **trained_figures(history, epoch, of_last.values),
        **run_figures(setup.config_of(config), dataset, setup.summary),
        **_circumstances(program),
        "at_once": setup.together.at_once,
    }
    return result, confident_mistakes(logits, dataset.test)


def tested_alone(
    config: Config, program: Program, variables: Variables, hp: Hyperparameters, dataset: Dataset
) -> tuple[Measured, dict[str, np.ndarray]]:
    """Test weights that were not trained here, once.

    Args:
      config: of their network, and which images these are.
      program: computes it.
      variables: the weights.
      hp: how images are normalised.
      dataset: whose test images are looked at.

    Returns:
      as `tested`, without what only a training has.
    """
    test = place_on_devices(dataset.test, program.replicated)
    metrics = MetricSet.tried(dataset.num_classes)
    logits, measured = _test(program, variables, hp, test, metrics)
    flipped = _accuracy_flip(program, variables, hp, test, logits)
    result: Measured = {
        **tested_figures(dataset.class_names, measured, flipped, metrics),
        **run_figures(config, dataset, summarize(program.model)),
        **_circumstances(program),
        "at_once": 1,
    }
    return result, confident_mistakes(logits, dataset.test)


def _test(
    program: Program,
    variables: Variables,
    hp: Hyperparameters,
    test: Examples,
    metrics: MetricSet,
) -> tuple[np.ndarray, Measurement]:
    logits = predicting.predict(program, variables, hp, test.images)
    return np.asarray(logits), metrics.measure(logits, test.labels)


def _accuracy_flip(
    program: Program,
    variables: Variables,
    hp: Hyperparameters,
    test: Examples,
    logits: np.ndarray,
) -> float:
    """Return the accuracy where each test image, on the devices, is seen from both sides."""
    predict = partial(predicting.predict, program, variables, hp)
    flipped = both_sides(predict, test.images, logits)
    return measure((ACCURACY,), flipped, test.labels).values["accuracy"]


def _circumstances(program: Program) -> Circumstances:
    return {
        "compiler_settings": compiler_settings(),
        "device": environment.describe_devices(program.mesh.devices.tolist()),
        "compute_dtype": str(program.dtype),
    }
