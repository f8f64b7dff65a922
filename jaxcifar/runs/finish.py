"""What is measured of a run: validation by epoch; at its end, once, the test images."""

import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import Any

import jax
import numpy as np

from jaxcifar.build.hyperparameters import normalization
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.machine import environment
from jaxcifar.machine.jax_settings import compiler_settings
from jaxcifar.machine.sharing import place
from jaxcifar.runs.result import (
    best_epoch,
    confident_mistakes,
    decimal,
    run_figures,
    tested_figures,
    trained_figures,
)
from jaxcifar.runs.saved import Circumstances, FiguresOnTest, Measured, Row, Validation
from jaxcifar.training import predicting
from jaxcifar.training.network import Variables
from jaxcifar.training.predicting import both_sides
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState, evaluate


def validated(setup: Setup, variables: Variables, hp: Hyperparameters) -> Validation:
    """`val_loss` and `val_accuracy` of a row of `metrics.jsonl`; nothing without such images."""
    val = setup.val
    if not len(val.labels):
        return {}
    figures = evaluate(predicting.predict(setup.program, variables, hp, val.images), val.labels)
    return {"val_loss": decimal(figures["loss"]), "val_accuracy": decimal(figures["accuracy"])}


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
    """
    dataset, program, test = setup.dataset, setup.program, setup.test
    logits, of_chosen = _test(program, chosen.variables, hp, test)
    epoch, of_last = best_epoch(history), of_chosen
    if epoch != len(history):
        _, of_last = _test(program, last.variables, hp, test)
    result: Measured = {
        **_on_test(config, program, chosen.variables, hp, dataset, test, logits, of_chosen),
        **trained_figures(history, epoch, of_last),
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
    test = place(dataset.test, program.replicated)
    logits, figures = _test(program, variables, hp, test)
    result: Measured = {
        **_on_test(config, program, variables, hp, dataset, test, logits, figures),
        **run_figures(config, dataset, summarize(program.model)),
        **_circumstances(program),
        "at_once": 1,
    }
    return result, confident_mistakes(logits, dataset.test)


def _test(
    program: Program, variables: Variables, hp: Hyperparameters, test: Examples
) -> tuple[np.ndarray, dict[str, Any]]:
    logits = predicting.predict(program, variables, hp, test.images)
    return np.asarray(logits), jax.device_get(evaluate(logits, test.labels))


def _on_test(
    config: Config,
    program: Program,
    variables: Variables,
    hp: Hyperparameters,
    dataset: Dataset,
    test: Examples,
    logits: np.ndarray,
    figures: dict[str, Any],
) -> FiguresOnTest:
    """What the test images on the devices say beyond their `logits` and `figures`, and those."""
    # Normalised if the run trained without, and the other way round.
    mean, std = normalization(not config.normalize, dataset)
    other = dataclasses.replace(hp, mean=mean, std=std)
    _, mismatched = _test(program, variables, place(other, program.replicated), test)
    flipped = both_sides(partial(predicting.predict, program, variables, hp), test.images, logits)
    of_both = jax.device_get(evaluate(flipped, test.labels))
    return tested_figures(dataset.class_names, figures, mismatched, of_both)


def _circumstances(program: Program) -> Circumstances:
    return {
        "compiler_settings": compiler_settings(),
        "device": environment.describe_devices(program.mesh.devices.tolist()),
        "compute_dtype": str(program.dtype),
    }
