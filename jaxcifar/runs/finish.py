"""What is measured of a run: validation by epoch; at its end, once, the test images."""

from collections.abc import Sequence
from typing import Any

import jax
import numpy as np

from jaxcifar.config import Config
from jaxcifar.machine import environment
from jaxcifar.runs.hyperparameters import normalization
from jaxcifar.runs.result import (
    best_epoch,
    confident_mistakes,
    decimal,
    run_figures,
    tested_figures,
)
from jaxcifar.runs.saved import Row
from jaxcifar.runs.setup import Setup
from jaxcifar.training.network import Variables
from jaxcifar.training.state import Hyperparameters, TrainState, evaluate


def validated(setup: Setup, variables: Variables, hp: Hyperparameters) -> dict[str, float]:
    """`val_loss` and `val_accuracy` of a row of `metrics.jsonl`; nothing without such images."""
    val = setup.val
    if not len(val.labels):
        return {}
    figures = evaluate(setup.program.predict(variables, hp, val.images), val.labels)
    return {f"val_{name}": decimal(figures[name]) for name in ("loss", "accuracy")}


def tested(
    config: Config,
    setup: Setup,
    hp: Hyperparameters,
    history: Sequence[Row],
    last: TrainState,
    chosen: TrainState,
) -> tuple[dict[str, Any], dict[str, np.ndarray]]:
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
    dataset, program = setup.dataset, setup.program
    logits, figures = _test(setup, chosen.variables, hp)
    # Normalised if the run trained without, and the other way round.
    other = setup.place(hp.replace(**normalization(not config.normalize, dataset)))
    _, mismatched = _test(setup, chosen.variables, other)
    epoch = best_epoch(history)
    of_last = figures if epoch == len(history) else _test(setup, last.variables, hp)[1]
    both_sides = _both_sides(setup, chosen.variables, hp, logits)
    result = {
        **tested_figures(dataset.class_names, history, epoch, figures, mismatched, of_last),
        "test_accuracy_flip": decimal(both_sides["accuracy"]),
        **run_figures(setup.config_of(config), dataset, history, setup.summary),
        "device": environment.describe_devices(program.mesh.devices.tolist()),
        "at_once": setup.together.at_once,
        "compute_dtype": str(program.dtype),
    }
    return result, confident_mistakes(logits, dataset.test)


def _test(
    setup: Setup, variables: Variables, hp: Hyperparameters
) -> tuple[np.ndarray, dict[str, Any]]:
    test = setup.test
    logits = setup.program.predict(variables, hp, test.images)
    return np.asarray(logits), jax.device_get(evaluate(logits, test.labels))


def _both_sides(
    setup: Setup, variables: Variables, hp: Hyperparameters, logits: np.ndarray
) -> dict[str, Any]:
    """`evaluate` of the mean of each test image's logits and its mirror image's.

    Krizhevsky et al., "ImageNet classification with deep convolutional neural networks", 2012.
    """
    mirrored = setup.program.predict(variables, hp, setup.test.images[:, :, ::-1])
    return jax.device_get(evaluate((logits + mirrored) / 2, setup.test.labels))
