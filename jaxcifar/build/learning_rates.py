from collections.abc import Callable

import numpy as np

from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.training.schedules import warmup

_BATCH_WARMUP_EPOCHS = 5
_MAX_STEPS = 10**7  # keeps the array on a device small


def learning_rates(config: Config, steps_per_epoch: int) -> np.ndarray:
    """Return the learning rate at each step of a run, `[T] float32`.

    The rate is the product of `--learning-rate`, the warm-up or the schedule, and a factor for the
    batch size. The warm-up is the first part of the run, a fraction `--warmup` of all steps, in
    which the rate rises linearly (see `warmup`). The schedule is for the steps after the warm-up.

    The factor for the batch size depends on k, the batch size divided by the recipe's batch size.
    With `--lr-scale linear` the factor is k (Goyal et al., "Accurate, large minibatch SGD", 2017),
    with `sqrt` it is sqrt(k) (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014). A factor above 1 rises linearly from 1, in 5 epochs but at most half the run.

    Raises:
      UsageError: the run has too many steps, or a user's schedule fails or returns a value that is
        not a finite number of at least 0.
    """
    total = config.epochs * steps_per_epoch
    if total > _MAX_STEPS:
        raise UsageError(
            f"--epochs {config.epochs}: has {total:,} steps; at most {_MAX_STEPS:,} are allowed"
        )
    factors = np.asarray(_schedule_factors(config, steps_per_epoch, total))
    rates = config.learning_rate * factors * _batch_factors(config, steps_per_epoch)
    is_valid = (rates >= 0) & (rates <= np.finfo(np.float32).max)
    invalid_steps = np.flatnonzero(~is_valid)
    if len(invalid_steps):
        step = invalid_steps[0]
        raise UsageError(
            f"--schedule {config.schedule}: returns {factors[step]} at step {step}; it must "
            "return a number of at least 0, and the learning rate must not overflow float32"
        )
    return rates.astype(np.float32)


def _schedule_factors(config: Config, steps_per_epoch: int, total: int) -> list[float]:
    takes = registry.entry("schedule", config.schedule).takes
    options = {name: getattr(config, name) for name in takes}
    schedule: Callable[..., float] = user_code.load(config, "schedule")
    warmup_factors = warmup(round(config.warmup * total))
    left = total - len(warmup_factors)
    with explain_user_code_errors(("schedule", config.schedule)):
        after = [float(schedule(step, steps_per_epoch, left, **options)) for step in range(left)]
    return warmup_factors + after


def _batch_factors(config: Config, steps_per_epoch: int) -> np.ndarray:
    ratio = config.batch_size / (config.base_batch_size or config.batch_size)
    factor = {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[config.lr_scale]
    steps = np.arange(config.epochs * steps_per_epoch)
    rising_epochs = min(_BATCH_WARMUP_EPOCHS, config.epochs / 2) if factor > 1 else 0
    rising_steps = round(rising_epochs * steps_per_epoch)
    progress = np.minimum(steps / rising_steps, 1.0) if rising_steps else np.ones(len(steps))
    return 1 + (factor - 1) * progress
