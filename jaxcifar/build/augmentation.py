"""The augmentation of a config, and its checks if it is user code."""

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import is_user_code
from jaxcifar.errors import UsageError
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training import augment
from jaxcifar.training.augment import Augmentation
from jaxcifar.training.mixing import LabelAugmentation
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_LARGEST_PIXEL = 10.0  # noise and contrast leave the range from 0 to 1; pixels up to 255 are wrong
_ROUNDING = 0.01  # of sums of probabilities


def load_augmentation(config: Config, num_classes: int) -> Augmentation | LabelAugmentation:
    """Return the augmentation of a config.

    A user's function with a parameter `labels` takes and returns labels too.

    Raises:
      UsageError: the user code can't be loaded.
    """
    function = user_code.load(config, "augmentation")
    if is_user_code(config.augmentation) and _has_parameter(function, "labels"):
        return LabelAugmentation(function, num_classes)
    return function


def _has_parameter(function: Any, name: str) -> bool:
    try:
        return name in inspect.signature(function).parameters
    except (TypeError, ValueError):  # a compiled function may have no readable signature
        return False


def check_augmentation(config: Config, program: Program, hyper: Hyperparameters) -> None:
    """Check the shapes and dtypes that a user's augmentation returns; nothing is computed.

    Raises:
      UsageError: the augmentation returns something else than images, or than images and labels.
    """
    if not is_user_code(config.augmentation):
        return
    option = f"--augmentation {config.augmentation}:"
    images_per_device = program.batch_size // program.mesh.size
    size = program.image_size
    images = jax.ShapeDtypeStruct((images_per_device, size, size, 3), jnp.float32)
    augmentation = program.augmentation
    if isinstance(augmentation, LabelAugmentation):
        labels = jax.ShapeDtypeStruct((images_per_device,), jnp.int32)
        returned = jax.eval_shape(augmentation, jax.random.key(0), images, labels)
        if not isinstance(returned, tuple) or len(returned) != 2:
            raise UsageError(
                f"{option} returns {type(returned).__name__}; with a parameter labels it must "
                "return images and labels"
            )
        augmented, new_labels = returned
        shape = images_per_device, augmentation.num_classes
        if getattr(new_labels, "shape", None) != shape or new_labels.dtype != jnp.float32:
            raise UsageError(
                f"{option} its labels must be a float32 array of shape {shape}: a distribution "
                "over the classes for each image"
            )
    else:
        function = partial(augmentation, **hyper.augmentation)
        augmented = jax.eval_shape(function, jax.random.key(0), images)
    augmented_shape = getattr(augmented, "shape", type(augmented).__name__)
    if augmented_shape != images.shape:
        raise UsageError(
            f"{option} returns {augmented_shape} for images of shape "
            f"{images.shape}; it must return images of the same shape"
        )
    if not jnp.issubdtype(augmented.dtype, jnp.floating):
        raise UsageError(
            f"{option} returns {augmented.dtype}; it gets floats from 0 to 1 and must return such "
            "floats"
        )


def require_pixels(
    config: Config,
    program: Program,
    hyper: Hyperparameters,
    images: AnyArray,
    labels: AnyArray,
) -> None:
    """Check the pixels and labels that a user's augmentation returns for some training images.

    Raises:
      UsageError: a pixel is out of range, or the labels are not distributions over the classes.
    """
    if not is_user_code(config.augmentation):
        return
    option = f"--augmentation {config.augmentation}:"
    part = slice(0, program.batch_size)
    ranges = map(np.asarray, _augmented_ranges(program, hyper, images[part], labels[part]))
    (lowest, highest), (lowest_share, lowest_sum, highest_sum) = ranges
    if not (lowest >= -_LARGEST_PIXEL and highest <= _LARGEST_PIXEL):  # also for NaN
        raise UsageError(
            f"{option} returns values from {lowest:.4g} to {highest:.4g}; it gets floats from 0 to "
            "1 and must return such floats"
        )
    are_distributions = lowest_share >= 0 and max(1 - lowest_sum, highest_sum - 1) <= _ROUNDING
    if not are_distributions:  # also for NaN
        raise UsageError(
            f"{option} returns labels from {lowest_share:.4g} that sum to {lowest_sum:.4g} to "
            f"{highest_sum:.4g}; the labels of each image must be at least 0 and sum to 1"
        )


@partial(jax.jit, static_argnums=0)
def _augmented_ranges(
    program: Program, hyper: Hyperparameters, images: jax.Array, labels: jax.Array
) -> tuple[jax.Array, jax.Array]:
    """Augment one device's part of the images.

    Returns:
      the lowest and the highest pixel; and of the targets the lowest share of a class, and the
      lowest and highest sum over the classes.
    """
    count = program.batch_size // program.mesh.size
    pixels, augmentation = augment.pixels(images[:count]), program.augmentation
    target_ranges = jnp.asarray([0.0, 1.0, 1.0])
    if isinstance(augmentation, LabelAugmentation):
        augmented, targets = augmentation(hyper.step_key, pixels, labels[:count])
        sums = targets.sum(-1)
        target_ranges = jnp.stack([targets.min(), sums.min(), sums.max()])
    else:
        augmented = augmentation(hyper.step_key, pixels, **hyper.augmentation)
    return jnp.stack([augmented.min(), augmented.max()]), target_ranges
