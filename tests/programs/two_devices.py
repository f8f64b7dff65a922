"""Trains on two devices, by rules that use the loss or in parts; prints arrays as JSON."""

import json
import sys

import jax
import numpy as np
from small import easy_dataset
from training.test_gradients import trained_in_parts
from training.test_loss_rules import RATES, config_with, trained

from jaxcifar.runs.array_trees import named_arrays


def as_lists(tree):
    return {name: np.asarray(array).tolist() for name, array in named_arrays(tree).items()}


def by_rules(dataset):
    """The weights of each rule, for whole batches and for batches in four parts."""
    weights = {}
    for name in RATES:
        for parts in (1, 4):
            [state] = trained([config_with(name, accumulate=parts)], dataset, jax.devices())
            weights[f"{name} in {parts}"] = as_lists(state.params)
    return weights


def in_parts(dataset):
    """Weights and statistics of a network with BatchNorm."""
    state = trained_in_parts(dataset, 4, devices=jax.devices())
    return {"params": as_lists(state.params), "batch_stats": as_lists(state.batch_stats)}


if __name__ == "__main__":
    assert jax.device_count() == 2
    found = {"rules": by_rules, "parts": in_parts}[sys.argv[1]](easy_dataset())
    print(json.dumps(found))
