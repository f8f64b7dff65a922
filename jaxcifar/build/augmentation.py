"""Load the augmentation of a config, and check a user's augmentation before training."""

import inspect
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp

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
_DARKEST = 0.05  # fraction of the highest pixel; if all values are lower, 255 divided them
_ROUNDING = 0.01  # of sums of probabilities


def load_augmentation(config: Config, num_classes: int) -> Augmentation | LabelAugmentation:
    """Return the augmentation function that a config names.

    A user's function with a parameter `labels` takes and returns labels too, as a
    `LabelAugmentation`.

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
    """Check the shapes and dtypes that a user's augmentation returns, without computing values.

    Built-in augmentations are not checked.

    Raises:
      UsageError: the augmentation does not return images or, if it takes labels, images and labels.
    """
    if not is_user_code(config.augmentation):
        return
    option = f"--augmentation {config.augmentation}:"
    images_per_device = program.batch_size // program.mesh.size
    size = program.image_size
    images = jax.ShapeDtypeStruct((images_per_device, size, size, 3), jnp.float32)
    augmentation = program.augmentation
    if isinstance(augmentation, LabelAugmentation):
        augmented = _images_from_label_augmentation(augmentation, images, option)
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


def _images_from_label_augmentation(
    augmentation: LabelAugmentation, images: jax.ShapeDtypeStruct, option: str
) -> Any:
    """Check the labels that a user's augmentation returns; return the images that it returns.

    Args:
      augmentation: the user's augmentation.
      images: shape and dtype of a batch. The returned images have only shape and dtype, too.
      option: the option that names the augmentation, for messages.

    Raises:
      UsageError: the augmentation does not return images and labels, or the labels are not
        distributions over the classes.
    """
    count = images.shape[0]
    labels = jax.ShapeDtypeStruct((count,), jnp.int32)
    returned = jax.eval_shape(augmentation, jax.random.key(0), images, labels)
    if not isinstance(returned, tuple) or len(returned) != 2:
        raise UsageError(
            f"{option} returns {type(returned).__name__}; with a parameter labels it must "
            "return images and labels"
        )
    augmented, new_labels = returned
    shape = count, augmentation.num_classes
    if getattr(new_labels, "shape", None) != shape or new_labels.dtype != jnp.float32:
        raise UsageError(
            f"{option} its labels must be a float32 array of shape {shape}: a distribution "
            "over the classes for each image"
        )
    return augmented


def require_pixels(
    config: Config,
    program: Program,
    hyper: Hyperparameters,
    images: AnyArray,
    labels: AnyArray,
) -> None:
    """Call a user's augmentation on a batch of training images, and check the values it returns.

    The first batch of `images` and `labels` is used. Built-in augmentations are not checked.

    Raises:
      UsageError: a pixel is far outside [0, 1], all pixels are nearly 0, or the labels are not
        distributions over the classes.
    """
    if not is_user_code(config.augmentation):
        return
    option = f"--augmentation {config.augmentation}:"
    first_images, first_labels = images[: program.batch_size], labels[: program.batch_size]
    ranges = jax.device_get(_augmented_ranges(program, hyper, first_images, first_labels))
    (lowest, highest, highest_given), (lowest_share, lowest_sum, highest_sum) = ranges
    are_pixels = lowest >= -_LARGEST_PIXEL and highest <= _LARGEST_PIXEL
    if not are_pixels:  # also for NaN
        raise UsageError(
            f"{option} returns values from {lowest:.4g} to {highest:.4g}; it gets floats from 0 to "
            "1 and must return such floats"
        )
    largest = max(abs(lowest), abs(highest))
    if largest < _DARKEST * highest_given:
        raise UsageError(
            f"{option} returns values up to {largest:.4g} for pixels up to {highest_given:.4g}; "
            "the pixels that it gets are from 0 to 1 already, so leave out a division by 255"
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
    """Augment one device's part of the images, and return the range of the results.

    Returns:
      two arrays. The first has the lowest and the highest pixel that is returned, and the highest
      pixel that was given. The second describes the labels: the lowest probability of a class, and
      the lowest and highest sum of an image's probabilities. The second array is [0, 1, 1] if the
      augmentation returns no labels.
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
    return jnp.stack([augmented.min(), augmented.max(), pixels.max()]), target_ranges
