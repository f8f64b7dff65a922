"""Trains an epoch on one device and on eight; prints losses, and what a step exchanges, as JSON."""

import json

import jax
import numpy as np
from small import easy_dataset
from test_train import CONFIG, stacked, train

from jaxcifar.bench.scaling import collectives
from jaxcifar.runs.setup import make_program
from jaxcifar.training.together import Together


def trained(dataset, devices):
    """Losses and some logits of a program on some devices, its state, and its compiled step."""
    program = make_program(CONFIG, 10, 128, devices)
    program, hp, state, losses = train(program, dataset)
    kernel = jax.tree.leaves(state.params)[0]
    assert len(kernel.sharding.device_set) == len(devices)
    logits = program.predict(state.variables, hp, dataset.train.images[:30])
    losses += np.asarray(logits)[:, 0].tolist()
    # Compiled ahead, a step must take back the state it gave, placed as it was.
    data = jax.device_put(dataset.train, program.replicated)
    _, hps, orders = stacked(program, hp, int(state.step), dataset)
    together = Together(program, 1)
    states, arguments = together.join([state]), (hps, *data, orders, np.int32(1))
    step = Together.train_steps.lower(together, states, *arguments).compile()
    for _ in range(2):
        states, means = step(states, *arguments)
    losses.append(float(means["loss"][0]))
    return losses, state, step.as_text()


def main():
    dataset = easy_dataset()
    one, _, _ = trained(dataset, jax.devices()[:1])
    eight, state, step = trained(dataset, jax.devices())
    found = {
        "losses": {"1": one, "8": eight},
        "parameters": sum(leaf.size for leaf in jax.tree.leaves(state.params)),
        "exchanged": [(c.kind, c.bytes) for c in collectives(step)],
    }
    print(json.dumps(found))


if __name__ == "__main__":
    main()
