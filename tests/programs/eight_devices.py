"""Trains an epoch on one device and on eight; prints losses, and what a step exchanges, as JSON.

Also checks the user code of three runs together on two devices.
"""

import dataclasses
import json
from functools import partial

import jax
import numpy as np
from conftest import ROOT
from rounding import error_by_condition
from small import easy_dataset
from training.test_train import CONFIG as FAST
from training.test_train import LONGEST_SUM, initial_params, placed_hyperparameters, stacked

from jaxcifar.bench.device_traffic import find_collectives
from jaxcifar.build import check
from jaxcifar.build.make_program import make_program
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.training import predicting
from jaxcifar.training.parallel_runs import ParallelRuns

# Steps at a high rate would enlarge what rounding does.
CONFIG = dataclasses.replace(FAST, learning_rate=0.005, dropout=0.5)
STEPS = ROOT / "tests" / "own" / "steps.py"


def learned(program, dataset, params=None, step=None):
    """Losses of six steps, some logits after four of them, and the state then.

    `step` is a compiled step; without one, JAX compiles a step when it is called.
    """
    step = step or partial(ParallelRuns.train_steps, ParallelRuns(program, 1))
    states, arguments = first_arguments(program, dataset, params)
    losses = []
    for _ in range(program.steps_per_epoch):
        states, means = step(states, *arguments)
        losses.append(float(means["loss"][0]))
    [state] = ParallelRuns(program, 1).split(states)
    hp, data, count = (
        placed_hyperparameters(program, dataset, CONFIG),
        arguments[1:3],
        arguments[-1],
    )
    logits = predicting.predict(program, state.variables, hp, dataset.train.images[:30])
    _, hps, orders = stacked(program, hp, int(state.step), dataset)
    for _ in range(2):
        states, means = step(states, hps, *data, orders, count)
        losses.append(float(means["loss"][0]))
    return losses, np.asarray(logits), state


def first_arguments(program, dataset, params=None):
    """The states before the first step, and what a step takes besides them."""
    hp = placed_hyperparameters(program, dataset, CONFIG)
    states, hps, orders = stacked(program, hp, 0, dataset, params)
    data = jax.device_put(dataset.train, program.replicated)
    count = jax.device_put(np.int32(1), program.replicated)
    return states, (hps, *data, orders, count)


def compiled_step(program, dataset):
    """A step that is compiled ahead, as in a run: it must take back the states it gives."""
    states, arguments = first_arguments(program, dataset)
    together = ParallelRuns(program, 1)
    return ParallelRuns.train_steps.lower(together, states, *arguments).compile()


def errors(program, dataset):
    """The differences that losses and logits may have between two numbers of devices."""
    params = initial_params(program, dataset, CONFIG)
    of_losses, of_logits = error_by_condition(
        lambda params: learned(program, dataset, params)[:2], params, LONGEST_SUM
    )
    return {"losses": 2 * np.asarray(of_losses), "logits": 2 * of_logits}


def lines_of_three_runs_on_two_devices(dataset):
    """What the check of user code prints; the runs' images are on one device, a run is on two."""
    own_code = {"arch": f"{STEPS}:Net", "augmentation": f"{STEPS}:noise"}
    config = Config.create(**own_code, dataset="shapes10", batch_size=32, epochs=1)
    setup = Setup.create(config, dataset, 3, jax.devices()[:2])
    hyper = setup.place(setup.hyperparameters(config))
    state = setup.program.init(hyper, dataset.train.images)
    setup.compile_ahead(hyper)
    lines = []
    check.require_finite_start(setup, setup.config_of(config), state, hyper, lines.append)
    return lines


def main():
    dataset = easy_dataset()
    one, eight = (
        make_program(CONFIG, 10, 128, devices) for devices in (jax.devices()[:1], jax.devices())
    )
    step = compiled_step(eight, dataset)
    results = {"one": learned(one, dataset), "eight": learned(eight, dataset, step=step)}
    found = {
        name: {"losses": losses, "logits": logits} for name, (losses, logits, _) in results.items()
    }
    *_, state = results["eight"]
    kernel = jax.tree.leaves(state.params)[0]
    assert len(kernel.sharding.device_set) == 8
    found |= {
        "errors": errors(one, dataset),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "exchanged": [(c.kind, c.bytes) for c in find_collectives(step.as_text())],
        "three_runs": lines_of_three_runs_on_two_devices(dataset),
    }
    print(json.dumps(found, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
