"""Runs trained at once compute what they compute alone, wherever they are placed."""

import dataclasses
import json

import jax
import numpy as np
import pytest
from conftest import finish, start_program
from rounding import assert_near, error_by_condition

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.training.parallel_runs import ParallelRuns

# Without convolutions, which compile for seconds; `test_adapt` trains them at once on one device.
CONFIG = Config.create(
    "cnn",
    arch_args={"widths": (), "hidden": 8},
    epochs=1,
    batch_size=32,
    recipe="strong",
    learning_rate=0.005,
    schedule="none",
    average=0.0,
)
VARIATIONS = (
    {"normalize": False, "augment": False},
    {"augment": False, "seed": 3},
    {"learning_rate": 0.02},
    {"weight_decay": 0.1, "momentum": 0.5, "seed": 1},
)
STEPS = 3


def losses(dataset, devices, at_once, steps_at_a_time=1, params=None):
    """Mean loss after each dispatch of the four variations; `params` are to start from."""
    program = make_program(CONFIG, 10, 128, devices)
    together = ParallelRuns(program, at_once)
    data = jax.device_put(dataset.train, together.replicated)
    result = []
    for first in range(0, len(VARIATIONS), at_once):
        hps = [
            make_hyperparameters(
                dataclasses.replace(CONFIG, **changes), dataset, program.steps_per_epoch
            )
            for changes in VARIATIONS[first : first + at_once]
        ]
        hps = jax.device_put(hps, program.replicated)
        states = [program.init(hp, dataset.train.images) for hp in hps]
        if params is not None:
            own = params[first : first + at_once]
            states = [
                state.replace(params=jax.device_put(start, program.replicated))
                for state, start in zip(states, own, strict=True)
            ]
        states = together.join(states)
        orders = together.join([program.epoch_order(hp, np.int32(0), 128) for hp in hps])
        hps, means = together.join(hps), []
        count = np.int32(steps_at_a_time)
        for _ in range(STEPS // steps_at_a_time):
            states, mean = together.train_steps(states, hps, *data, orders, count)
            means.append(np.asarray(mean["loss"]))
        result += np.asarray(means).T.tolist()
        states_of_runs = together.split(states)
        assert len(states_of_runs) == at_once
        assert all(state.step == STEPS for state in states_of_runs)
    return np.asarray(result)


@pytest.fixture(scope="module")
def losses_of_single_runs(easy_dataset):
    return losses(easy_dataset, jax.devices()[:1], 1)


@pytest.fixture(scope="module")
def error(easy_dataset):
    """The difference of losses that two programs may have."""
    devices = jax.devices()[:1]
    program = make_program(CONFIG, 10, 128, devices)
    params = []
    for changes in VARIATIONS:
        config = dataclasses.replace(CONFIG, **changes)
        hp = make_hyperparameters(config, easy_dataset, program.steps_per_epoch)
        params.append(jax.device_get(program.init(hp, easy_dataset.train.images).params))

    def by_params(params):
        return losses(easy_dataset, devices, 1, params=params).tolist()  # each has its own error

    values_of_an_image = 32 * 32 * 3  # the longest sum is the first layer's
    return 2 * np.asarray(error_by_condition(by_params, params, values_of_an_image))


def test_runs_with_different_settings_end_with_different_losses(losses_of_single_runs):
    assert losses_of_single_runs.shape == (4, STEPS)
    assert len(set(losses_of_single_runs[:, -1].tolist())) == 4


@pytest.mark.parametrize("at_once", [2, 4])
def test_runs_together_on_one_device_have_the_losses_of_single_runs(
    losses_of_single_runs, error, easy_dataset, at_once
):
    assert_near(losses(easy_dataset, jax.devices()[:1], at_once), losses_of_single_runs, error)


def test_all_steps_in_one_call_have_the_losses_of_single_runs(
    losses_of_single_runs, error, easy_dataset
):
    got = losses(easy_dataset, jax.devices()[:1], 4, steps_at_a_time=STEPS)
    assert_near(got[:, -1], losses_of_single_runs[:, -1], error[:, -1])


def test_runs_spread_over_devices_have_the_losses_of_single_runs(losses_of_single_runs, error):
    """Two devices: they share a run, take one each, or two each."""
    output = finish(start_program("spread", env={"JAX_NUM_CPU_DEVICES": "2"}))
    for got in json.loads(output.splitlines()[-1]).values():
        assert_near(got, losses_of_single_runs, error)
