"""Training images as the network gets them: augmented and normalised, inside compiled functions."""

from functools import partial

import jax
from jax import Array

from jaxcifar.array_types import Bool, Float32, Int, Int32, Integer, Key, UInt8
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.training import augment
from jaxcifar.training.augment import Augmentation
from jaxcifar.training.mixing import LabelAugmentation, Targets, mix
from jaxcifar.training.state import Hyperparameters


def augmented_batch(
    augmentation: Augmentation | LabelAugmentation,
    hyper: Hyperparameters,
    keys: Key[Array, "batch"],
    images: UInt8[Array, "batch height width 3"],
    labels: Integer[Array, "batch"],
    alternate_flips: Bool[Array, "batch"],
    new_size: int | None = None,
    device_axis: str | None = None,
    parts_per_batch: int = 1,
) -> tuple[Float32[Array, "batch new_height new_width 3"], Targets]:
    """Augment, normalise and mix a device's part of a batch; return network inputs and targets.

    Args:
      augmentation: the augmentation after shifts and flips.
      hyper: the run's hyper-parameters.
      keys: a random key for each image.
      images: the images as they are stored.
      labels: labels of these images.
      alternate_flips: True for each image that is flipped, if flips alternate between epochs.
      new_size: height and width to which images are reduced after shifts and flips, or None.
      device_axis: name of the mapped axis of devices that share the batch, or None.
      parts_per_batch: number of parts of the batch that are computed one after another, to save
        memory.

    Returns:
      two values: the images, and their targets. The targets are labels, or distributions over the
      classes if images are mixed or a user's augmentation changes labels.
    """
    images = augment.shift_and_flip(keys, images, hyper.augment, alternate_flips)
    if new_size is not None:
        images = augment.resize(images, new_size)
    user_key = augment.user_augmentation_key(keys)
    targets: Targets = labels
    if isinstance(augmentation, LabelAugmentation):
        pixels, targets = augmentation(user_key, augment.pixels(images), labels)
    else:
        pixels = augmentation(user_key, augment.pixels(images), **hyper.augmentation)
    inputs = augment.normalize(pixels, hyper.mean, hyper.std)
    inputs = augment.cut_out(keys, inputs, hyper.augment)
    if hyper.mixing is not None:
        inputs, targets = mix(keys, inputs, targets, hyper.mixing, device_axis, parts_per_batch)
    return inputs, targets


# The function runs a few times per run, so it is compiled with few optimisations.
@partial(jax.jit, static_argnums=0, compiler_options=FAST_COMPILE_OPTIONS)
def augmented_pixels(
    augmentation: Augmentation | LabelAugmentation,
    hyper: Hyperparameters,
    images: UInt8[Array, "images height width 3"],
    labels: Int32[Array, "images"],
    indices: Int32[Array, "images"],
    epoch: Int[Array, ""] | int,
) -> Float32[Array, "images height width 3"]:
    """Return training images with random augmentation as pixels in [0, 1], for pictures.

    The random numbers depend on the run's key and on the epoch. Training uses other random numbers.
    If flips alternate between epochs, training flips the same images in this epoch.

    Args:
      augmentation: the augmentation after shifts and flips.
      hyper: the run's hyper-parameters.
      images: the images as they are stored.
      labels: labels of these images.
      indices: the images' positions in the training set.
      epoch: number of the epoch, from 0.
    """
    epoch_key = jax.random.fold_in(hyper.preview_key, epoch)
    keys = sharing.example_keys(epoch_key, len(images), device_axis=None)
    alternate_flips = augment.alternating_flips(hyper.flip_key, indices, epoch)
    inputs, _ = augmented_batch(augmentation, hyper, keys, images, labels, alternate_flips)
    return inputs * hyper.std + hyper.mean
