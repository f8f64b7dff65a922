"""Trains an epoch on one device and on eight; prints losses, and what a step exchanges, as JSON."""

import dataclasses
import json

import jax
import numpy as np
from rounding import error_by_condition
from small import easy_dataset
from training.test_train import CONFIG as FAST
from training.test_train import LONGEST_SUM, initial_params, stacked, train

from jaxcifar.bench.device_traffic import find_collectives
from jaxcifar.build.make_program import make_program
from jaxcifar.training import predicting
from jaxcifar.training.parallel_runs import ParallelRuns

# Steps at a high rate would enlarge what rounding does.
CONFIG = dataclasses.replace(FAST, learning_rate=0.005)


def learned(program, dataset, params):
    """Losses of six steps, some logits after four of them, and the state then."""
    program, hp, state, losses = train(program, dataset, CONFIG, params=params)
    logits = predicting.predict(program, state.variables, hp, dataset.train.images[:30])
    states, arguments = further(program, dataset, hp, state)
    for _ in range(2):
        states, means = ParallelRuns(program, 1).train_steps(states, *arguments)
        losses.append(float(means["loss"][0]))
    return losses, np.asarray(logits), hp, state


def further(program, dataset, hp, state):
    """What `train_steps` takes to go on from a state."""
    data = jax.device_put(dataset.train, program.replicated)
    _, hps, orders = stacked(program, hp, int(state.step), dataset)
    return ParallelRuns(program, 1).join([state]), (hps, *data, orders, np.int32(1))


def trained(dataset, devices):
    """Losses and logits of a program on some devices, its state, and its compiled step."""
    program = make_program(CONFIG, 10, 128, devices)
    losses, logits, hp, state = learned(program, dataset, None)
    kernel = jax.tree.leaves(state.params)[0]
    assert len(kernel.sharding.device_set) == len(devices)
    # Compiled ahead, a step must take back the state it gave, placed as it was.
    states, arguments = further(program, dataset, hp, state)
    together = ParallelRuns(program, 1)
    step = ParallelRuns.train_steps.lower(together, states, *arguments).compile()
    for _ in range(2):
        states, means = step(states, *arguments)
    found = {"losses": losses, "logits": logits, "ahead": np.asarray(means["loss"])}
    return found, state, step.as_text()


def errors(dataset):
    """The differences that losses and logits may have between two numbers of devices."""
    program = make_program(CONFIG, 10, 128, jax.devices()[:1])
    params = initial_params(program, dataset, CONFIG)
    of_losses, of_logits = error_by_condition(
        lambda params: learned(program, dataset, params)[:2], params, LONGEST_SUM
    )
    of_losses = 2 * np.asarray(of_losses)
    return {"losses": of_losses, "logits": 2 * of_logits, "ahead": of_losses[-1:]}


def main():
    dataset = easy_dataset()
    one, _, _ = trained(dataset, jax.devices()[:1])
    eight, state, step = trained(dataset, jax.devices())
    found = {
        "one": one,
        "eight": eight,
        "errors": errors(dataset),
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "exchanged": [(c.kind, c.bytes) for c in find_collectives(step)],
    }
    print(json.dumps(found, default=np.ndarray.tolist))


if __name__ == "__main__":
    main()
