"""Load the augmentation of a config, and check a user's augmentation before training."""

import inspect
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import is_user_code
from jaxcifar.errors import UsageError
from jaxcifar.image_size import image_shape
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.training import augment
from jaxcifar.training.augment import Augmentation
from jaxcifar.training.mixing import LabelAugmentation
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

# Noise and contrast leave the range from 0 to 1; pixels up to 255 are wrong.
_MAX_PLAUSIBLE_PIXEL = 10.0
# If all values are below this fraction of the highest input pixel, they were divided by 255.
_MIN_BRIGHTNESS_RATIO = 0.05
_PROBABILITY_TOLERANCE = 0.01  # of sums of probabilities


def load_augmentation(config: Config, num_classes: int) -> Augmentation | LabelAugmentation:
    """Return the augmentation function that a config names.

    If a user's function has a parameter `labels`, the result is a `LabelAugmentation`, which takes
    and returns both images and labels.

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
    images_shape = images_per_device, *image_shape(program.image_size)
    images = jax.ShapeDtypeStruct(images_shape, jnp.float32)
    augmentation = program.augmentation
    if isinstance(augmentation, LabelAugmentation):
        augmented, new_labels = _trace_label_augmentation(augmentation, images, option)
        labels_shape = images_per_device, augmentation.num_classes
        _check_new_labels(new_labels, labels_shape, option)
    else:
        function = partial(augmentation, **hyper.augmentation)
        augmented = jax.eval_shape(function, jax.random.key(0), images)
    shape_or_type = getattr(augmented, "shape", type(augmented).__name__)
    if shape_or_type != images.shape:
        raise UsageError(
            f"{option} returns {shape_or_type} for images of shape "
            f"{images.shape}; it must return images of the same shape"
        )
    if not jnp.issubdtype(augmented.dtype, jnp.floating):
        raise UsageError(
            f"{option} returns {augmented.dtype}; it gets floats from 0 to 1 and must return such "
            "floats"
        )


def _trace_label_augmentation(
    augmentation: LabelAugmentation, images: jax.ShapeDtypeStruct, option: str
) -> tuple[Any, Any]:
    """Return the shapes and dtypes of the images and labels that a user's augmentation returns.

    Args:
      augmentation: the user's augmentation.
      images: shape and dtype of the images that the augmentation gets.
      option: the option that names the augmentation, for messages.

    Raises:
      UsageError: the augmentation does not return two values.
    """
    image_count = images.shape[0]
    labels = jax.ShapeDtypeStruct((image_count,), jnp.int32)
    result = jax.eval_shape(augmentation, jax.random.key(0), images, labels)
    is_pair = isinstance(result, tuple) and len(result) == 2
    if not is_pair:
        raise UsageError(
            f"{option} returns {type(result).__name__}; a function with a parameter `labels` "
            "must return two values, images and labels"
        )
    augmented, new_labels = result
    return augmented, new_labels


def _check_new_labels(new_labels: Any, labels_shape: tuple[int, int], option: str) -> None:
    """Raise UsageError if the labels of a user's augmentation have a wrong shape or dtype."""
    has_right_shape = getattr(new_labels, "shape", None) == labels_shape
    if not has_right_shape or new_labels.dtype != jnp.float32:
        raise UsageError(
            f"{option} returns wrong labels; they must be a float32 array of shape {labels_shape}: "
            "a distribution over the classes for each image"
        )


def check_augmented_values(
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
    ranges = _ranges_after_augmentation(program, hyper, first_images, first_labels)
    ranges = jax.device_get(ranges)
    lowest, highest = ranges.lowest_pixel, ranges.highest_pixel
    pixels_are_plausible = lowest >= -_MAX_PLAUSIBLE_PIXEL and highest <= _MAX_PLAUSIBLE_PIXEL
    if not pixels_are_plausible:  # also for NaN
        raise UsageError(
            f"{option} returns values from {lowest:.4g} to {highest:.4g}; it gets floats from 0 to "
            "1 and must return such floats"
        )
    largest_pixel = max(abs(lowest), abs(highest))
    if largest_pixel < _MIN_BRIGHTNESS_RATIO * ranges.highest_input_pixel:
        raise UsageError(
            f"{option} returns values up to {largest_pixel:.4g} for pixels up to "
            f"{ranges.highest_input_pixel:.4g}; the pixels that it gets are from 0 to 1 already, "
            "so leave out a division by 255"
        )
    largest_sum_error = max(1 - ranges.lowest_sum, ranges.highest_sum - 1)
    sums_are_1 = largest_sum_error <= _PROBABILITY_TOLERANCE
    labels_are_distributions = ranges.lowest_probability >= 0 and sums_are_1
    if not labels_are_distributions:  # also for NaN
        raise UsageError(
            f"{option} returns labels from {ranges.lowest_probability:.4g} that sum to "
            f"{ranges.lowest_sum:.4g} to {ranges.highest_sum:.4g}; the labels of each image must "
            "be at least 0 and sum to 1"
        )


class _AugmentedRanges(NamedTuple):
    """The ranges of the pixels and labels that a user's augmentation returns.

    Attributes:
      lowest_pixel, highest_pixel: range of the pixels that are returned.
      highest_input_pixel: the highest pixel that was passed to the augmentation.
      lowest_probability: the lowest probability of a class; 0 without labels.
      lowest_sum, highest_sum: range of the sums of an image's probabilities; 1 without labels.
    """

    lowest_pixel: jax.Array
    highest_pixel: jax.Array
    highest_input_pixel: jax.Array
    lowest_probability: jax.Array
    lowest_sum: jax.Array
    highest_sum: jax.Array


@partial(jax.jit, static_argnums=0)
def _ranges_after_augmentation(
    program: Program, hyper: Hyperparameters, images: jax.Array, labels: jax.Array
) -> _AugmentedRanges:
    """Augment as many images as one device gets; return the ranges of the new pixels and labels."""
    images_per_device = program.batch_size // program.mesh.size
    augmentation = program.augmentation
    pixels = augment.pixels(images[:images_per_device])
    if isinstance(augmentation, LabelAugmentation):
        augmented, probabilities = augmentation(hyper.step_key, pixels, labels[:images_per_device])
        probability_sums = probabilities.sum(-1)  # for each image, over the classes
    else:
        augmented = augmentation(hyper.step_key, pixels, **hyper.augmentation)
        # There are no new labels; these values pass the check of labels.
        probabilities, probability_sums = jnp.zeros(1), jnp.ones(1)
    return _AugmentedRanges(
        lowest_pixel=augmented.min(),
        highest_pixel=augmented.max(),
        highest_input_pixel=pixels.max(),
        lowest_probability=probabilities.min(),
        lowest_sum=probability_sums.min(),
        highest_sum=probability_sums.max(),
    )
