"""Random crops, flips and normalisation, on the device, from bytes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp

MAX_SHIFT = 4  # pixels

# A pure function of a key and a device's part of a batch, `[B, H, W, C] float32` in [0, 1], that
# gives images of the same shape.
Augmentation = Callable[[jax.Array, jax.Array], jax.Array]


def shift_and_flip(keys: jax.Array, images: jax.Array, enabled: jax.Array | bool) -> jax.Array:
    """Crop each image at random from itself padded with zeros, and mirror half of them.

    Args:
      keys: `[B]` random keys.
      images: `[B, H, W, C]`, any dtype.
      enabled: boolean scalar; if false the images come back as they are. It is data, not code,
        so that runs with and without augmentation share one program.

    Returns:
      `[B, H, W, C]` of the same dtype.
    """

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        flip_key, shift_key = jax.random.split(key)
        shift = jax.random.randint(shift_key, (2,), 0, 2 * MAX_SHIFT + 1)
        return jax.random.bernoulli(flip_key), shift

    flips, shifts = jax.vmap(draw)(keys)
    flips = (flips & enabled)[:, None, None, None]
    images = jnp.where(flips, images[:, :, ::-1], images)
    shifts = jnp.where(enabled, shifts, MAX_SHIFT)
    return crop(images, shifts)


def crop(images: jax.Array, shifts: jax.Array) -> jax.Array:
    """Cut `[H, W]` windows out of images padded by `MAX_SHIFT` zeros on every side.

    Args:
      images: `[B, H, W, C]`.
      shifts: `[B, 2]` integers in [0, 2 * MAX_SHIFT], the top left corner of each window;
        `MAX_SHIFT` is the image itself.
    """
    pad = (MAX_SHIFT, MAX_SHIFT)
    padded = jnp.pad(images, ((0, 0), pad, pad, (0, 0)))

    def window(image: jax.Array, shift: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (shift[0], shift[1], 0), images.shape[1:])

    return jax.vmap(window)(padded, shifts)


def pixels(images: jax.Array) -> jax.Array:
    """Bytes `[B, H, W, C] uint8` -> the same as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def unchanged(key: jax.Array, images: jax.Array) -> jax.Array:
    """An `Augmentation` that leaves `[B, H, W, C]` as they are."""
    return images


def normalize(pixels: jax.Array, mean: jax.Array, std: jax.Array) -> jax.Array:
    """`(pixels - mean) / std`.

    Args:
      pixels: `[B, H, W, C] float32`, in [0, 1].
      mean: `[C]`, 0 to subtract nothing.
      std: `[C]`, 1 to divide by nothing.
    """
    return (pixels - mean) / std
