"""From a Config to the arrays that its program is run with."""

from typing import Protocol, cast

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import MAX_SHIFT
from jaxcifar.training.augment import Augmenting
from jaxcifar.training.state import Hyperparameters


class Statistics(Protocol):
    """What images are normalised by, for each channel, `[3]`."""

    @property
    def mean(self) -> ArrayLike:
        """The mean."""

    @property
    def std(self) -> ArrayLike:
        """The standard deviation."""


def make_hyperparameters(
    config: Config, statistics: Statistics, steps_per_epoch: int
) -> Hyperparameters:
    """The arrays that a config and the statistics of its images come to, on the host."""
    mean, std = normalization(config.normalize, statistics)
    rates = learning_rates(config, steps_per_epoch)
    return Hyperparameters(
        key=jax.random.key(config.seed),
        learning_rate=on_host(rates),
        rule=_settings(config, "optimizer"),
        bias_rate=on_host(np.float32(config.bias_rate)),
        clip_norm=on_host(np.float32(config.clip_norm)),
        label_smoothing=on_host(np.float32(config.label_smoothing)),
        average=on_host(np.float32(config.average)),
        augment=Augmenting(
            enabled=on_host(np.asarray(config.augment)),
            shift=on_host(np.int32(config.shift)),
            reflect=on_host(np.asarray(config.border == "reflect")),
            alternate=on_host(np.asarray(config.flip == "alternate")),
            cutout=on_host(np.int32(config.cutout)),
            max_shift=MAX_SHIFT,
        ),
        augmentation=_settings(config, "augmentation"),
        small_steps=on_host(np.int32(round(config.small_part * len(rates)))),
        mean=mean,
        std=std,
    )


def _settings(config: Config, kind: str) -> dict[str, jax.Array]:
    """The settings that an entry of the registry takes, by name."""
    takes = registry.entry(kind, getattr(config, kind)).takes
    return {name: on_host(np.float32(getattr(config, name))) for name in takes}


def normalization(normalize: bool, statistics: Statistics) -> tuple[jax.Array, jax.Array]:
    """The `mean` and `std` by which pixels in [0, 1] are normalised, or left as they are."""
    mean = np.asarray(statistics.mean if normalize else np.zeros(3), np.float32)
    std = np.asarray(statistics.std if normalize else np.ones(3), np.float32)
    return on_host(mean), on_host(std)


def on_host(array: np.ndarray | np.generic) -> jax.Array:
    """Return the array itself, typed as what it is in a compiled program.

    It moves to the devices when the program is called, or by `place`.
    """
    return cast(jax.Array, array)
