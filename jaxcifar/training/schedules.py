"""Learning-rate schedules.

A schedule is a function of (step, steps_per_epoch, total_steps), steps counted from 0 after the
warm-up, that gives the factor by which the highest learning rate is multiplied at that step.
"""

import math


def constant(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """1 at every step."""
    return 1.0


def step(
    step: int, steps_per_epoch: int, total_steps: int, *, step_size: int, gamma: float
) -> float:
    """`gamma ** floor(step / (step_size * steps_per_epoch))`: a decay every `step_size` epochs."""
    return gamma ** (step // (step_size * steps_per_epoch))


def cosine(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """`(1 + cos(pi * step / total_steps)) / 2`.

    Loshchilov and Hutter, "SGDR", 2017, without restarts.
    """
    return (1 + math.cos(math.pi * step / total_steps)) / 2


def linear(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """`1 - step / total_steps`; after a warm-up it is the one cycle of Smith and Topin 2019.

    Smith and Topin, "Super-convergence: very fast training of neural networks using large learning
    rates", with straight lines up and down to 0, as fast.ai's and DAWNBench's trainers have it.
    """
    return 1 - step / total_steps


def warmup(steps: int) -> list[float]:
    """The factors of the first steps, in equal parts up to 1, which the step after them has.

    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.
    """
    return [(step + 1) / (steps + 1) for step in range(steps)]
