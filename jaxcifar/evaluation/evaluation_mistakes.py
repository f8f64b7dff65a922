"""Common mistakes in evaluation code that make a good network look bad."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.array_types import Float32, UInt8
from jaxcifar.runs.evaluation_file import NORMALISED, NOT_NORMALISED
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment

Images = UInt8[np.ndarray, "images size size 3"]
Logits = Float32[np.ndarray, "images classes"]
Predict = Callable[[Images], Logits]

_SEED = 17  # not the run's seed, so that all runs see the same images
_MAX_SHIFT = 4  # pixels, as usual in training on CIFAR-10
_TRAINING_MODE_BATCH_SIZES = (1, 512)


def evaluation_mistakes(classifier: Classifier) -> dict[str, Predict]:
    """Return functions that compute a network's logits as faulty evaluation code would.

    A key of the dict is the name of a mistake. The mistakes are:

    - Images are normalised although training images were not, or the other way round.
    - Images are scaled to [-1, 1] by a mean and deviation of 0.5, as many examples do.
    - Pixels go from 0 to 255, but are normalised with a mean and deviation for 0 to 1.
    - Red and blue are swapped, as OpenCV reads images.
    - Images are shifted and flipped at random, as in training.
    - The network is in training mode: BatchNorm uses the statistics of the batch, and dropout is
      active. So the logits depend on the batch size.
    """
    mean, std = np.asarray(classifier.mean), np.asarray(classifier.std)
    trained_with_normalization = bool((mean != 0).any() or (std != 1).any())
    mean_of_dataset = classifier.result.get("channel_mean")
    std_of_dataset = classifier.result.get("channel_std")
    predictors_with_mistakes: dict[str, Predict] = {}
    if trained_with_normalization:
        without_normalization = classifier.with_normalization(np.zeros(3), np.ones(3))
        predictors_with_mistakes[NOT_NORMALISED] = without_normalization.logits
    elif mean_of_dataset is not None and std_of_dataset is not None:
        with_normalization = classifier.with_normalization(
            np.asarray(mean_of_dataset), np.asarray(std_of_dataset)
        )
        predictors_with_mistakes[NORMALISED] = with_normalization.logits
    one_half = np.full(3, 0.5)
    with_one_half = classifier.with_normalization(one_half, one_half)
    predictors_with_mistakes["normalised by 0.5"] = with_one_half.logits
    # (255 * pixel - mean) / std equals (pixel - mean / 255) / (std / 255).
    without_division_by_255 = classifier.with_normalization(mean / 255, std / 255)
    predictors_with_mistakes["pixels 0 to 255"] = without_division_by_255.logits

    def logits_of_swapped_colors(images: Images) -> Logits:
        return classifier.logits(images[..., ::-1])

    def logits_of_augmented_images(images: Images) -> Logits:
        return classifier.logits(shifted_and_flipped(images))

    predictors_with_mistakes["red and blue swapped"] = logits_of_swapped_colors
    predictors_with_mistakes["shifted and flipped"] = logits_of_augmented_images
    for batch_size in _TRAINING_MODE_BATCH_SIZES:
        name = f"training mode, {batch_size} at once"
        predictors_with_mistakes[name] = partial(training_mode_logits, classifier, batch_size)
    return predictors_with_mistakes


def shifted_and_flipped(
    images: UInt8[np.ndarray, "images height width 3"],
) -> UInt8[np.ndarray, "images height width 3"]:
    """Return images that are shifted and flipped at random; each call draws the same numbers."""
    image_keys = jax.random.split(jax.random.key(_SEED), len(images))
    settings = augment.AugmentationSettings(
        enabled=jnp.asarray(True),
        shift=jnp.int32(_MAX_SHIFT),
        reflect=jnp.asarray(False),
        flips=jnp.asarray(True),
        alternate=jnp.asarray(False),
        cutout=jnp.int32(0),
        max_shift=_MAX_SHIFT,
    )
    alternate_flips = jnp.zeros(len(images), bool)  # not used: flips are random
    shift_and_flip = jax.jit(augment.shift_and_flip)
    return np.asarray(shift_and_flip(image_keys, images, settings, alternate_flips))


def training_mode_logits(
    classifier: Classifier, batch_size: int, images: UInt8[np.ndarray, "images height width 3"]
) -> Float32[np.ndarray, "images classes"]:
    """Return the logits that a network computes in training mode, in the order of the images.

    The images are shuffled into batches, because they may be sorted by class. If too few images are
    left for the last batch, the batch begins with images that an earlier batch had already.

    Args:
      classifier: the network.
      batch_size: number of images in a batch.
      images: images to classify.
    """
    shuffled_order = np.random.RandomState(_SEED).permutation(len(images))
    shuffled_images = images[shuffled_order]
    batch_size = min(batch_size, len(images))
    start_of_last_images = len(images) - batch_size
    logits_in_shuffled_order = []
    for first_new_image in range(0, len(images), batch_size):
        start = min(first_new_image, start_of_last_images)
        batch = shuffled_images[start : start + batch_size]
        batch_key = jax.random.fold_in(jax.random.key(_SEED), first_new_image)
        batch_logits = classifier.training_logits(batch, batch_key)
        repeated_image_count = first_new_image - start
        logits_of_new_images = batch_logits[repeated_image_count:]
        logits_in_shuffled_order.append(logits_of_new_images)
    original_order = np.argsort(shuffled_order)
    return np.concatenate(logits_in_shuffled_order)[original_order]
