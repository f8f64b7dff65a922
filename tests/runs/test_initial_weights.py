"""The weights of `--init`: those that the config was made with, and no others."""

from types import SimpleNamespace

import jax
import numpy as np
import pytest
from small import SMALL, easy_dataset

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.runs.initial_weights import load_initial_weights
from jaxcifar.runs.weights import write_weights

SETTINGS = {"dataset": "shapes10", "epochs": 1, "batch_size": 32, "arch_args": SMALL}


def write(file, state, value):
    """Write weights of the network of `state` that are all the same number."""
    dataset = easy_dataset()
    weights = jax.tree.map(lambda leaf: np.full(leaf.shape, value, leaf.dtype), state.variables)
    card = {
        "config": Config.create("cnn", **SETTINGS).to_dict(),
        "class_names": list(dataset.class_names),
        "channel_mean": dataset.mean.tolist(),
        "channel_std": dataset.std.tolist(),
        "dataset": dataset.title,
    }
    write_weights(file, weights, card)


@pytest.mark.parametrize("named_by", ["file", "run"])
@pytest.mark.parametrize("replaced", [False, True])
def test_weights_that_were_replaced_after_the_config_was_made_are_refused(
    tmp_path, named_by, replaced
):
    dataset = easy_dataset()
    plain = Config.create("cnn", **SETTINGS)
    program = make_program(plain, 10, 128, jax.devices())
    hp = make_hyperparameters(plain, dataset, program.steps_per_epoch)
    state = program.init.eval_shape(program, hp, dataset.train.images)
    begun = SimpleNamespace(
        init_from_variables=lambda hp, weights: weights, replicated=program.replicated
    )
    setup = SimpleNamespace(dataset=dataset, program=begun)

    file = tmp_path / "weights.safetensors"
    write(file, state, 0.25)
    init = str(file if named_by == "file" else tmp_path)
    config = Config.create("cnn", **SETTINGS, init=init)
    if replaced:
        write(file, state, 0.5)
        with pytest.raises(RunError, match=r"weights\.safetensors: is not the file"):
            load_initial_weights(state, setup, hp, config, pytest.fail)
        return
    weights = load_initial_weights(state, setup, hp, config, pytest.fail)
    assert all((np.asarray(leaf) == 0.25).all() for leaf in jax.tree.leaves(weights))
