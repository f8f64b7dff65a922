"""Training images as the network gets them: augmented and normalised, inside compiled functions."""

from functools import partial

import jax
from jax import Array

from jaxcifar.array_types import Bool, Float32, Int, Int32, Key, UInt8
from jaxcifar.machine import sharing
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.training import augment
from jaxcifar.training.augment import Augmentation
from jaxcifar.training.state import Hyperparameters


def augmented_batch(
    augmentation: Augmentation,
    hyper: Hyperparameters,
    keys: Key[Array, "batch"],
    images: UInt8[Array, "batch height width 3"],
    flips: Bool[Array, "batch"],
    size: int | None = None,
) -> Float32[Array, "batch new_height new_width 3"]:
    """Return a device's part of a batch as the network gets it: augmented and normalised.

    Args:
      augmentation: the augmentation after shifts and flips.
      hyper: the run's hyper-parameters.
      keys: a random key for each image.
      images: the images as they are stored.
      flips: the images that are flipped if flips alternate.
      size: after shifts and flips, the images are reduced to `size` x `size` pixels, unless `size`
        is None.
    """
    images = augment.shift_and_flip(keys, images, hyper.augment, flips)
    images = augment.resize(images, size) if size else images
    user_key = augment.user_augmentation_key(keys)
    pixels = augmentation(user_key, augment.pixels(images), **hyper.augmentation)
    inputs = augment.normalize(pixels, hyper.mean, hyper.std)
    return augment.cut_out(keys, inputs, hyper.augment)


# The function runs a few times per run, so it is compiled with few optimisations.
@partial(jax.jit, static_argnums=0, compiler_options=FAST_COMPILE_OPTIONS)
def augmented_pixels(
    augmentation: Augmentation,
    hyper: Hyperparameters,
    images: UInt8[Array, "images height width 3"],
    index: Int32[Array, "images"],
    epoch: Int[Array, ""] | int,
) -> Float32[Array, "images height width 3"]:
    """Return training images with random augmentation, as pixels in [0, 1], to look at.

    The random numbers depend on the run's key and on `epoch`, counted from 0. Training uses other
    random numbers, except for flips that alternate: those are the flips of that epoch.

    Args:
      augmentation: the augmentation after shifts and flips.
      hyper: the run's hyper-parameters.
      images: the images as they are stored.
      index: the images' positions in the training set.
      epoch: number of the epoch.
    """
    epoch_key = jax.random.fold_in(hyper.preview_key, epoch)
    keys = sharing.example_keys(epoch_key, len(images), axis=None)
    flips = augment.alternating_flips(hyper.flip_key, index, epoch)
    inputs = augmented_batch(augmentation, hyper, keys, images, flips)
    return inputs * hyper.std + hyper.mean
