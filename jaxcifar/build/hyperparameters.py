"""Convert the settings of a run to the arrays that its training program takes."""

from typing import Protocol, cast

import jax
import numpy as np
from numpy.typing import ArrayLike

from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.config.image_settings import max_shift
from jaxcifar.training.augment import AugmentationSettings
from jaxcifar.training.state import Hyperparameters

_USUAL_STEPS = 2**16  # 256 KiB of learning rates; most runs have fewer steps


class Statistics(Protocol):
    """An object with mean and standard deviation of each channel, `[3]`, of pixels in [0, 1]."""

    @property
    def mean(self) -> ArrayLike: ...

    @property
    def std(self) -> ArrayLike: ...


def make_hyperparameters(
    config: Config, statistics: Statistics, steps_per_epoch: int
) -> Hyperparameters:
    """Convert the settings of a run to hyper-parameters: arrays on the host.

    The arrays for class weights, label noise and mixed images are left out here, because they need
    the data set. `training_hyperparameters` adds them.

    Args:
      config: settings of the run.
      statistics: mean and standard deviation of the training images.
      steps_per_epoch: number of steps in an epoch.

    Raises:
      UsageError: the run has too many steps, or a user's schedule fails or returns a wrong value.
    """
    mean, std = normalization(config.normalize, statistics.mean, statistics.std)
    small_steps = count_small_steps(config, steps_per_epoch)
    return Hyperparameters(
        key=jax.random.key(config.seed),
        learning_rate=host_array(_pad_to_usual_length(learning_rates(config, steps_per_epoch))),
        rule=_setting_arrays(config, "optimizer"),
        bias_rate=host_array(np.float32(config.bias_rate)),
        clip_norm=host_array(np.float32(config.clip_norm)),
        label_smoothing=host_array(np.float32(config.label_smoothing)),
        average=host_array(np.float32(config.average)),
        augment=AugmentationSettings(
            enabled=host_array(np.asarray(config.augment)),
            shift=host_array(np.int32(config.shift)),
            reflect=host_array(np.asarray(config.border == "reflect")),
            flips=host_array(np.asarray(config.flip != "none")),
            alternate=host_array(np.asarray(config.flip == "alternate")),
            cutout=host_array(np.int32(config.cutout)),
            max_shift=max_shift(config.image_size),
        ),
        augmentation=_setting_arrays(config, "augmentation"),
        small_steps=host_array(np.int32(small_steps)),
        mean=host_array(mean),
        std=host_array(std),
    )


def normalization(
    normalize: bool, mean: ArrayLike, std: ArrayLike
) -> tuple[np.ndarray, np.ndarray]:
    """Return the mean and the standard deviation with which images are normalised, each `[3]`.

    Args:
      normalize: False for `--no-normalize`. Then mean 0 and deviation 1 are returned, which leave
        pixels from 0 to 1.
      mean: mean of each channel of the training images, `[3]`.
      std: standard deviation of each channel of the training images, `[3]`.
    """
    if not normalize:
        mean, std = np.zeros(3), np.ones(3)
    return np.asarray(mean, np.float32), np.asarray(std, np.float32)


def _pad_to_usual_length(rates: np.ndarray) -> np.ndarray:
    """Repeat the last learning rate until the array has one of a few usual lengths.

    A compiled program takes arrays of only one length. Because the lengths are few, runs with
    different numbers of steps can share a program.
    """
    next_power_of_two = 2 ** (len(rates) - 1).bit_length()
    padded_length = max(_USUAL_STEPS, next_power_of_two)
    return np.pad(rates, (0, padded_length - len(rates)), mode="edge")


def count_small_steps(config: Config, steps_per_epoch: int) -> int:
    """Return the number of steps at the beginning of a run that train on images of reduced size.

    The option `--small-fraction` gives the number as a fraction of the steps that the run trains.
    If the run continues an earlier run, all steps are counted from the start of the earlier run.
    Therefore the number of steps of the earlier run is added.
    """
    if config.small_fraction == 0:
        return 0
    earlier_epochs = config.earlier_epochs
    earlier_steps = earlier_epochs * steps_per_epoch
    new_steps = (config.epochs - earlier_epochs) * steps_per_epoch
    return earlier_steps + round(config.small_fraction * new_steps)


def _setting_arrays(config: Config, kind: str) -> dict[str, jax.Array]:
    """Return the settings that the run's optimizer or augmentation takes, as arrays by name.

    `kind` is "optimizer" or "augmentation".
    """
    setting_names = registry.entry(kind, getattr(config, kind)).takes
    return {name: host_array(np.float32(getattr(config, name))) for name in setting_names}


def host_array(array: np.ndarray | np.generic) -> jax.Array:
    """Return the NumPy array unchanged, but with the type of a JAX array for type checkers."""
    return cast(jax.Array, array)
