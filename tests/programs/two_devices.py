"""Trains on two devices by a rule with a line search, in four parts; prints weights as JSON."""

import json

import jax
import numpy as np
from small import easy_dataset
from training.test_loss_rules import config_with, trained

from jaxcifar.runs.array_trees import named_arrays

if __name__ == "__main__":
    assert jax.device_count() == 2
    config = config_with("backtracking", accumulate=4)
    [state] = trained([config], easy_dataset(), jax.devices())
    arrays = named_arrays(state.params)
    print(json.dumps({name: np.asarray(array).tolist() for name, array in arrays.items()}))
