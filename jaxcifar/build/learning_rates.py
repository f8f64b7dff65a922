"""The learning rate at every step of a run, as a table."""

from collections.abc import Callable

import numpy as np

from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError
from jaxcifar.training.schedules import warmup

_WARMUP_EPOCHS = 5
_MAX_STEPS = 10**7  # as many as a table on a device may have


def learning_rates(config: Config, steps_per_epoch: int) -> np.ndarray:
    """The rate at each step of a run, `[T] float32`.

    In the part `warmup` of all steps its factors are `warmup`'s; the schedule is of the steps left.
    Times the factor that `lr_scale` gives for k, the batch size over the recipe's: linear is k
    (Goyal et al., as in `warmup`), sqrt is sqrt(k) (Krizhevsky, "One weird trick for parallelizing
    convolutional neural networks", 2014). A factor above 1 is reached linearly from 1 in 5 epochs,
    or in half the run if that is less.

    Raises:
      UsageError: there are too many steps, or somebody's own schedule fails, or gives something
        else than a finite number of at least 0.
    """
    total = config.epochs * steps_per_epoch
    if total > _MAX_STEPS:
        raise UsageError(f"--epochs {config.epochs}: {total:,} steps; there may be {_MAX_STEPS:,}")
    factors = np.asarray(_factors(config, steps_per_epoch, total))
    rates = config.learning_rate * factors * _batch_factors(config, steps_per_epoch)
    wrong = np.flatnonzero(~((rates >= 0) & (rates <= np.finfo(np.float32).max)))
    if len(wrong):
        raise UsageError(
            f"--schedule {config.schedule}: gives {factors[wrong[0]]} at step {wrong[0]}; it must "
            "be a number of at least 0, and the rate one that float32 holds"
        )
    return rates.astype(np.float32)


def _factors(config: Config, steps_per_epoch: int, total: int) -> list[float]:
    takes = registry.entry("schedule", config.schedule).takes
    options = {name: getattr(config, name) for name in takes}
    schedule: Callable[..., float] = user_code.load(config, "schedule")
    rise = warmup(round(config.warmup * total))
    left = total - len(rise)
    with explain_user_code_errors(("schedule", config.schedule)):
        after = [float(schedule(step, steps_per_epoch, left, **options)) for step in range(left)]
    return rise + after


def _batch_factors(config: Config, steps_per_epoch: int) -> np.ndarray:
    ratio = config.batch_size / (config.base_batch_size or config.batch_size)
    factor = {"none": 1.0, "linear": ratio, "sqrt": ratio**0.5}[config.lr_scale]
    steps = np.arange(config.epochs * steps_per_epoch)
    epochs = min(_WARMUP_EPOCHS, config.epochs / 2) if factor > 1 else 0
    rising = round(epochs * steps_per_epoch)
    risen = np.minimum(steps / rising, 1.0) if rising else np.ones(len(steps))
    return 1 + (factor - 1) * risen
