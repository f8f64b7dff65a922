"""Learning-rate schedules.

A schedule is a function of (step, steps_per_epoch, total_steps), with steps counted from 0 after
the warm-up. It returns the learning rate at that step as a fraction of the highest learning rate.
"""

import math


def constant(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return the learning rate at a step, as a fraction of the highest learning rate: always 1."""
    return 1.0


def step(
    step: int, steps_per_epoch: int, total_steps: int, *, step_size: int, gamma: float
) -> float:
    """Return the learning rate at a step, as a fraction of the highest learning rate.

    The rate is multiplied by `gamma` every `step_size` epochs: the fraction is `gamma ** floor(step
    / (step_size * steps_per_epoch))`.
    """
    return gamma ** (step // (step_size * steps_per_epoch))


def cosine(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return the learning rate at a step, as a fraction of the highest learning rate.

    The rate falls along a cosine to 0: `(1 + cos(pi * step / total_steps)) / 2`. Loshchilov and
    Hutter, "SGDR: stochastic gradient descent with warm restarts", 2017; here without restarts.
    """
    return (1 + math.cos(math.pi * step / total_steps)) / 2


def linear(step: int, steps_per_epoch: int, total_steps: int) -> float:
    """Return the learning rate at a step, as a fraction of the highest learning rate.

    The rate falls linearly to 0: `1 - step / total_steps`. After a warm-up this is the one-cycle
    schedule of Smith and Topin, "Super-convergence: very fast training of neural networks using
    large learning rates", 2019, with a straight line down to 0.
    """
    return 1 - step / total_steps


def warmup(steps: int) -> list[float]:
    """Return the learning rate of each warm-up step, as a fraction of the highest learning rate.

    The fractions rise linearly over `steps` steps, and would be 1 at the step after the warm-up.
    Goyal et al., "Accurate, large minibatch SGD: training ImageNet in 1 hour", 2017.
    """
    return [(step + 1) / (steps + 1) for step in range(steps)]
