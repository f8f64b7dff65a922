"""From a Config to the arrays that its program is run with."""

from typing import Protocol

import jax
import numpy as np

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import MAX_SHIFT
from jaxcifar.training.augment import Augmenting
from jaxcifar.training.state import Hyperparameters


class Statistics(Protocol):
    """What images are normalised by: mean and deviation of each channel, `[3]` each."""

    mean: np.ndarray
    std: np.ndarray


def make_hyperparameters(
    config: Config, statistics: Statistics, steps_per_epoch: int
) -> Hyperparameters:
    """The arrays that a config and the statistics of its images come to, on the host."""
    takes = registry.entry("optimizer", config.optimizer).takes
    rates = learning_rates(config, steps_per_epoch)
    return Hyperparameters(
        key=jax.random.key(config.seed),
        learning_rate=rates,
        rule=tuple(np.float32(getattr(config, name)) for name in takes),
        bias_rate=np.float32(config.bias_rate),
        clip_norm=np.float32(config.clip_norm),
        label_smoothing=np.float32(config.label_smoothing),
        average=np.float32(config.average),
        augment=Augmenting(
            enabled=np.asarray(config.augment),
            shift=np.int32(config.shift),
            reflect=np.asarray(config.border == "reflect"),
            alternate=np.asarray(config.flip == "alternate"),
            cutout=np.int32(config.cutout),
            max_shift=MAX_SHIFT,
        ),
        small_steps=np.int32(round(config.small_part * len(rates))),
        **normalization(config.normalize, statistics),
    )


def normalization(normalize: bool, statistics: Statistics) -> dict[str, np.ndarray]:
    """The `mean` and `std` by which pixels in [0, 1] are normalised, or left as they are."""
    if normalize:
        return {"mean": np.float32(statistics.mean), "std": np.float32(statistics.std)}
    return {"mean": np.zeros(3, np.float32), "std": np.ones(3, np.float32)}
