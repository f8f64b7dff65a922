"""Random shifts, flips, cutout and normalisation of images, computed on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxcifar.array_types import Bool, Float, Float32, Int, Int32, Key, Shaped, UInt8
from jaxcifar.machine.sharing import AnyArray

Pixels = Float32[Array, "batch height width channels"]
# A pure function of a key and a device's part of a batch, in [0, 1], that gives images of the same
# shape. It is given the settings of its entry in the registry by name.
Augmentation = Callable[..., Pixels]

# What an image's key is folded with for draws of their own; to split it in two, as `shift_and_flip`
# does, is to fold it with 0 and with 1.
_CUTOUT, _OWN = 2, 3


@struct.dataclass
class Augmenting:
    """The settings of shifts, flips and cutout.

    All settings except `max_shift` are data, not code. So runs with different values share one
    compiled program.

    Attributes:
      enabled: if False, images are returned unchanged.
      shift: largest shift along either axis, in pixels; at most `max_shift`.
      reflect: True to fill the border with the image's reflection, False to fill it with zeros.
      alternate: True to flip each image every other epoch, False to flip at random.
      cutout: width of the square that is set to 0, in pixels; 0 turns cutout off.
      max_shift: pixels of padding on every side; part of the program, not data.
    """

    enabled: Bool[Array, ""]
    shift: Int32[Array, ""]
    reflect: Bool[Array, ""]
    alternate: Bool[Array, ""]
    cutout: Int32[Array, ""]
    max_shift: int = struct.field(pytree_node=False)


def shift_and_flip(
    keys: Key[Array, "batch"],
    images: Shaped[Array, "batch height width channels"],
    how: Augmenting,
    turns: Bool[Array, "batch"],
) -> Shaped[Array, "batch height width channels"]:
    """Crop each image at random from itself padded, and mirror half of them.

    Args:
      keys: a random key for each image.
      images: any dtype.
      how: see `Augmenting`.
      turns: which images are flipped if flips alternate (`flip_turns`).

    Returns:
      images of the same dtype.
    """

    def draw(key: Array) -> tuple[Array, Array]:
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


def flip_turns(
    key: Key[Array, ""], index: Int[Array, "batch"], epoch: Int[Array, ""] | int
) -> Bool[Array, "batch"]:
    """Return which images are flipped in an epoch: one half of them, and the others in the next.

    So two epochs show every image from both sides. With random flips, only half of the images are
    seen from both sides (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single GPU", 2024).

    Args:
      key: the run's key.
      index: indices of the images in the training set.
      epoch: number of the epoch, from 0.

    Returns:
      True for each image that is flipped.
    """
    first = jax.vmap(lambda i: jax.random.bernoulli(jax.random.fold_in(key, i)))(index)
    return first ^ (epoch % 2 == 1)


def crop(
    images: Shaped[Array, "batch height width channels"],
    shifts: Int[Array, "batch 2"],
    padding: int,
    reflect: Bool[Array, ""] | bool = False,
) -> Shaped[Array, "batch height width channels"]:
    """Cut windows of the size of the images out of padded images.

    Args:
      images: any dtype.
      shifts: in [0, 2 * padding], the top left corner of each window; a shift of `padding` is the
        image itself.
      padding: pixels that are added on every side.
      reflect: True to pad with the image mirrored at its outermost pixels (Page, "How to train your
        ResNet", 2018), False to pad with zeros.
    """
    pads = ((0, 0), (padding, padding), (padding, padding), (0, 0))
    padded = jnp.where(reflect, jnp.pad(images, pads, "reflect"), jnp.pad(images, pads))

    def window(image: Array, shift: Array) -> Array:
        return jax.lax.dynamic_slice(image, (shift[0], shift[1], 0), images.shape[1:])

    return jax.vmap(window)(padded, shifts)


def cut_out(keys: Key[Array, "batch"], images: Pixels, how: Augmenting) -> Pixels:
    """Set a square at a random place in each image to 0, the mean of normalised pixels.

    The centre of the square can be any pixel, so a part of the square may be outside the image
    (DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017).

    Args:
      keys: a random key for each image; the keys given to `shift_and_flip` may be used again.
      images: normalised images.
      how: see `Augmenting`.
    """
    height, width = images.shape[1:3]

    def blank(key: Array) -> Array:
        key = jax.random.fold_in(key, _CUTOUT)
        middle = jax.random.randint(key, (2,), 0, jnp.asarray([height, width]))
        first = middle - how.cutout // 2

        def covered(axis: int, extent: int) -> Array:
            spots = jnp.arange(extent)
            return (spots >= first[axis]) & (spots < first[axis] + how.cutout)

        return covered(0, height)[:, None] & covered(1, width)[None, :]

    blanks = jax.vmap(blank)(keys) & how.enabled
    return jnp.where(blanks[..., None], 0.0, images)


def own_key(keys: Key[Array, "batch"]) -> Key[Array, ""]:
    """Return the random key for a batch's `Augmentation`.

    It comes from the keys of the batch's images, and is independent of the random numbers of
    shifts, flips and cutout.
    """
    return jax.random.fold_in(keys[0], _OWN)


def resize(
    images: UInt8[Array, "batch height width channels"], size: int
) -> UInt8[Array, "batch {size} {size} channels"]:
    """Return images resized to fewer pixels, by linear interpolation with antialiasing.

    Each new pixel is a mean of the old pixels around it. The weights fall linearly with distance,
    to 0 at the centres of the neighbouring new pixels. Training first on small images costs less
    (Howard, "Training ImageNet in 3 hours for $25; and CIFAR10 for $0.26", 2018).

    Args:
      images: images at least as high and wide as `size`.
      size: height and width of the result.
    """
    shape = (len(images), size, size, images.shape[-1])
    smaller = jax.image.resize(images.astype(jnp.float32), shape, "linear", antialias=True)
    return jnp.round(smaller).astype(images.dtype)


def pixels(images: UInt8[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Return bytes as floats in [0, 1]."""
    return images.astype(jnp.float32) / 255


def unchanged(key: Key[Array, ""], images: Pixels) -> Pixels:
    """Return the images unchanged: the `Augmentation` that does nothing."""
    return images


def normalize(
    pixels: Float32[Array, "*others channels"],
    mean: Float[AnyArray, "channels"],
    std: Float[AnyArray, "channels"],
) -> Float32[Array, "*others channels"]:
    """`(pixels - mean) / std`.

    Args:
      pixels: in [0, 1].
      mean: of each channel, 0 to subtract nothing.
      std: of each channel, 1 to divide by nothing.
    """
    return (pixels - mean) / std
