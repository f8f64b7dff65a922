"""Compute the learning rate of each step of a run."""

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
    """Return the learning rate at each step of a run, `[steps] float32`.

    The rate is the product of `--learning-rate`, the warm-up or the schedule, and a factor for the
    batch size. In the warm-up, the first fraction `--warmup` of all steps, the rate rises linearly
    (see `warmup`). The schedule is for the steps after the warm-up.

    The factor for the batch size depends on k, the batch size divided by the recipe's batch size.
    With `--lr-scale linear` the factor is k (Goyal et al., "Accurate, large minibatch SGD", 2017),
    with `sqrt` it is sqrt(k) (Krizhevsky, "One weird trick for parallelizing convolutional neural
    networks", 2014). A factor above 1 is reached slowly: it rises linearly from 1, during 5 epochs
    or half of the run, whichever is shorter.

    In a run that continues another run, the rates of the other run's steps are 0. Warm-up and
    schedule then begin at the first new step, with the full factor for the batch size.

    Raises:
      UsageError: the run has too many steps, or a user's schedule fails or returns a value that is
        not a finite number of at least 0.
    """
    total_steps = config.epochs * steps_per_epoch
    if total_steps > _MAX_STEPS:
        raise UsageError(
            f"--epochs {config.epochs}: the run has {total_steps:,} steps, and at most "
            f"{_MAX_STEPS:,} are allowed; use fewer epochs or a larger --batch-size"
        )
    earlier_steps = config.earlier_epochs * steps_per_epoch
    steps_left = total_steps - earlier_steps
    schedule_factors = np.asarray(_schedule_factors(config, steps_per_epoch, steps_left))
    lr_scale_factors = _lr_scale_factors(config, steps_per_epoch, steps_left)
    rates = config.learning_rate * schedule_factors * lr_scale_factors
    is_valid = (rates >= 0) & (rates <= np.finfo(np.float32).max)
    invalid_steps = np.flatnonzero(~is_valid)
    if len(invalid_steps) > 0:
        step = invalid_steps[0]
        raise UsageError(
            f"--schedule {config.schedule}: returns {schedule_factors[step]} at step {step}; it "
            "must return a number of at least 0, and the learning rate must not overflow float32"
        )
    unused_rates_of_earlier_run = np.zeros(earlier_steps)
    return np.concatenate([unused_rates_of_earlier_run, rates]).astype(np.float32)


def _schedule_factors(config: Config, steps_per_epoch: int, steps_left: int) -> list[float]:
    """Return for each step the factor by which warm-up and schedule multiply the learning rate.

    `steps_left` is the number of steps, without the steps of a run that this run continues.
    """
    setting_names = registry.entry("schedule", config.schedule).takes
    settings = {name: getattr(config, name) for name in setting_names}
    schedule: Callable[..., float] = user_code.load(config, "schedule")
    warmup_factors = warmup(round(config.warmup * steps_left))
    remaining_steps = steps_left - len(warmup_factors)
    with explain_user_code_errors(("schedule", config.schedule)):
        remaining_factors = [
            float(schedule(step, steps_per_epoch, remaining_steps, **settings))
            for step in range(remaining_steps)
        ]
    return warmup_factors + remaining_factors


def _lr_scale_factors(config: Config, steps_per_epoch: int, steps_left: int) -> np.ndarray:
    """Return for each step the factor by which `--lr-scale` multiplies the learning rate.

    The factor depends on the batch size. A factor above 1 is reached slowly, in a new run.
    `steps_left` is the number of steps, without the steps of a run that this run continues.
    """
    base_batch_size = config.base_batch_size or config.batch_size
    ratio = config.batch_size / base_batch_size
    factors_by_rule = {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}
    full_factor = factors_by_rule[config.lr_scale]
    share_of_rise = np.ones(steps_left)  # from factor 1 to the full factor
    begins_training = config.earlier_epochs == 0
    if begins_training and full_factor > 1:
        rising_epochs = min(_BATCH_WARMUP_EPOCHS, config.epochs / 2)
        rising_steps = round(rising_epochs * steps_per_epoch)
        if rising_steps > 0:
            share_of_rise = np.minimum(np.arange(steps_left) / rising_steps, 1.0)
    return 1 + (full_factor - 1) * share_of_rise
