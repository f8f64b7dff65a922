"""Random shifts, flips, cutout and normalisation, on the device, from bytes."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax.typing import ArrayLike

# A pure function of a key and a device's part of a batch, `[B, H, W, C] float32` in [0, 1], that
# gives images of the same shape. It is given the settings of its entry in the registry by name.
Augmentation = Callable[..., jax.Array]

# What an image's key is folded with for draws of their own; to split it in two, as `shift_and_flip`
# does, is to fold it with 0 and with 1.
_CUTOUT, _OWN = 2, 3


@struct.dataclass
class Augmenting:
    """How training images are shifted and flipped and what is cut out of them.

    All of it is data, not code, so that runs which differ in it share one program.

    Attributes:
      enabled: boolean scalar; if false images come back as they are.
      shift: int32 scalar, most pixels of a shift along either axis, up to `max_shift`.
      reflect: boolean scalar; whether a shift brings in the image's mirror image, not zeros.
      alternate: boolean scalar; whether each image is flipped every other epoch, not at random.
      cutout: int32 scalar, width of the square that is blanked, in pixels; 0 for none.
      max_shift: pixels by which images are padded on every side; part of the program, not data.
    """

    enabled: jax.Array
    shift: jax.Array
    reflect: jax.Array
    alternate: jax.Array
    cutout: jax.Array
    max_shift: int = struct.field(pytree_node=False)


def shift_and_flip(
    keys: jax.Array, images: jax.Array, how: Augmenting, turns: jax.Array
) -> jax.Array:
    """Crop each image at random from itself padded, and mirror half of them.

    Args:
      keys: `[B]` random keys.
      images: `[B, H, W, C]`, any dtype.
      how: see `Augmenting`.
      turns: `[B]` booleans, which images are flipped if flips alternate (`flip_turns`).

    Returns:
      `[B, H, W, C]` of the same dtype.
    """

    def draw(key: jax.Array) -> tuple[jax.Array, jax.Array]:
        flip_key, shift_key = jax.random.split(key)
        lowest = how.max_shift - how.shift
        highest = how.max_shift + how.shift
        shift = jax.random.randint(shift_key, (2,), lowest, highest + 1)
        return jax.random.bernoulli(flip_key), shift

    flips, shifts = jax.vmap(draw)(keys)
    flips = jnp.where(how.alternate, turns, flips) & how.enabled
    images = jnp.where(flips[:, None, None, None], images[:, :, ::-1], images)
    shifts = jnp.where(how.enabled, shifts, how.max_shift)
    return crop(images, shifts, how.max_shift, how.reflect)


def flip_turns(key: jax.Array, index: jax.Array, epoch: jax.Array) -> jax.Array:
    """Which images are flipped in an epoch: half of them in one, the other half in the next.

    So two epochs show every image from both sides, where by chance half of them would not be
    (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024).

    Args:
      key: of the run.
      index: `[B]`, the images' places in the training set.
      epoch: from 0.

    Returns:
      `[B]` booleans.
    """
    first = jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key, i)))(index)
    return first ^ (epoch % 2 == 1)


def crop(
    images: jax.Array, shifts: jax.Array, padding: int, reflect: jax.Array | bool = False
) -> jax.Array:
    """Cut `[H, W]` windows out of padded images.

    Args:
      images: `[B, H, W, C]`.
      shifts: `[B, 2]` integers in [0, 2 * padding], the top left corner of each window; a shift of
        `padding` is the image itself.
      padding: pixels that are added on every side.
      reflect: whether the padding is the image mirrored at its outermost pixels, not zeros
        (Page, "How to train your ResNet", 2018).
    """
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.where(reflect, jnp.pad(images, pads, "reflect"), jnp.pad(images, pads))

    def window(image: jax.Array, shift: jax.Array) -> jax.Array:
        return jax.lax.dynamic_slice(image, (shift[0], shift[1], 0), images.shape[1:])

    return jax.vmap(window)(padded, shifts)


def cut_out(keys: jax.Array, images: jax.Array, how: Augmenting) -> jax.Array:
    """Set a square of each image to 0, the mean of normalised pixels, its middle anywhere.

    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017: what of the square is outside of the image is lost.

    Args:
      keys: `[B]` random keys, which `shift_and_flip` may have had.
      images: `[B, H, W, C] float32`.
      how: see `Augmenting`.
    """
    height, width = images.shape[1:3]

    def blank(key: jax.Array) -> jax.Array:
        key = jax.random.fold_in(key, _CUTOUT)
        middle = jax.random.randint(key, (2,), 0, jnp.asarray([height, width]))
        first = middle - how.cutout // 2

        def covered(axis: int, extent: int) -> jax.Array:
            spots = jnp.arange(extent)
            return (spots >= first[axis]) & (spots < first[axis] + how.cutout)

        return covered(0, height)[:, None] & covered(1, width)[None, :]

    blanks = jax.vmap(blank)(keys) & how.enabled
    return jnp.where(blanks[..., None], 0.0, images)


def own_key(keys: jax.Array) -> jax.Array:
    """The key for a batch's `Augmentation`, of the batch's `[B]` keys, which draw all else."""
    return jax.random.fold_in(keys[0], _OWN)


def resize(images: jax.Array, size: int) -> jax.Array:
    """Images with fewer pixels, each a mean of those around it, weighted less the farther they are.

    The weights are a triangle's that ends at the neighbouring new pixels' middles.
    Training on them first costs less (Howard, "Training ImageNet in 3 hours for $25; and CIFAR10
    for $0.26", 2018).

    Args:
      images: `[B, H, W, C] uint8`.
      size: height and width, up to theirs.

    Returns:
      `[B, size, size, C] uint8`.
    """
    shape = (len(images), size, size, images.shape[-1])
    smaller = jax.image.resize(images.astype(jnp.float32), shape, "linear", antialias=True)
    return jnp.round(smaller).astype(images.dtype)


def pixels(images: jax.Array) -> jax.Array:
    """Bytes `[B, H, W, C] uint8` -> the same as float32 in [0, 1]."""
    return images.astype(jnp.float32) / 255


def unchanged(key: jax.Array, images: jax.Array) -> jax.Array:
    """An `Augmentation` that leaves `[B, H, W, C]` as they are."""
    return images


def normalize(pixels: jax.Array, mean: ArrayLike, std: ArrayLike) -> jax.Array:
    """`(pixels - mean) / std`.

    Args:
      pixels: `[B, H, W, C] float32`, in [0, 1].
      mean: `[C]`, 0 to subtract nothing.
      std: `[C]`, 1 to divide by nothing.
    """
    return (pixels - mean) / std
