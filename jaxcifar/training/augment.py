"""Random shifts, flips, cutout and normalisation of images, computed on the device."""

from collections.abc import Callable

import jax
import jax.numpy as jnp
from flax import struct
from jax import Array

from jaxcifar.array_types import Bool, Float, Float32, Int, Int32, Key, Shaped, UInt8
from jaxcifar.machine.sharing import AnyArray

Pixels = Float32[Array, "batch height width channels"]
# A pure function of a random key and a device's part of a batch, with pixels in [0, 1]. It returns
# images of the same shape. Its settings are passed by name.
Augmentation = Callable[..., Pixels]

# Numbers that an image's key is folded with, to get independent random streams. `shift_and_flip`
# splits the key in two, which is the same as folding it with 0 and with 1.
_CUTOUT_STREAM, _USER_AUGMENTATION_STREAM, MIXING_STREAM = 2, 3, 4


@struct.dataclass
class AugmentationSettings:
    """The settings of random shifts, flips and cutout.

    All settings except `max_shift` are arrays that enter the compiled program as data. So runs with
    different values share one program.

    Attributes:
      enabled: if False, images are returned unchanged.
      shift: largest shift along either axis, in pixels; at most `max_shift`.
      reflect: True to fill the border with the image's reflection, False to fill it with zeros.
      flips: False to flip no image, for images such as digits, which a flip makes wrong.
      alternate: True to flip each image every other epoch, False to flip at random.
      cutout: width of the square that is set to 0, in pixels; 0 turns cutout off.
      max_shift: pixels of padding on every side; another value needs another compiled program.
    """

    enabled: Bool[Array, ""]
    shift: Int32[Array, ""]
    reflect: Bool[Array, ""]
    flips: Bool[Array, ""]
    alternate: Bool[Array, ""]
    cutout: Int32[Array, ""]
    max_shift: int = struct.field(pytree_node=False)


def shift_and_flip(
    keys: Key[Array, "batch"],
    images: Shaped[Array, "batch height width channels"],
    settings: AugmentationSettings,
    alternate_flips: Bool[Array, "batch"],
) -> Shaped[Array, "batch height width channels"]:
    """Return images that are shifted at random, and half of them flipped left to right.

    Args:
      keys: a random key for each image.
      images: images of any dtype.
      settings: the largest shift, how the border is filled, and which images are flipped.
      alternate_flips: True for each image to flip if flips are not random but alternate between
        epochs (`settings.alternate`).
    """
    padding = settings.max_shift
    unshifted_corner = padding  # row and column of the image's corner in the padded image

    def draw_flip_and_corner(key: Array) -> tuple[Array, Array]:
        flip_key, corner_key = jax.random.split(key)
        lowest_corner = unshifted_corner - settings.shift
        highest_corner = unshifted_corner + settings.shift
        corner = jax.random.randint(corner_key, (2,), lowest_corner, highest_corner + 1)
        return jax.random.bernoulli(flip_key), corner

    random_flips, corners = jax.vmap(draw_flip_and_corner)(keys)
    chosen_flips = jnp.where(settings.alternate, alternate_flips, random_flips)
    is_flipped = chosen_flips & settings.flips & settings.enabled
    flip_mask = is_flipped[:, None, None, None]  # with the axes of the images
    flipped_images = images[:, :, ::-1]
    images = jnp.where(flip_mask, flipped_images, images)
    corners = jnp.where(settings.enabled, corners, unshifted_corner)
    return crop(images, corners, padding, settings.reflect)


def alternating_flips(
    key: Key[Array, ""], indices: Int[Array, "batch"], epoch: Int[Array, ""] | int
) -> Bool[Array, "batch"]:
    """Return True for each image that is flipped in an epoch, if flips alternate.

    A random half of the images is flipped in even epochs, and the other half in odd epochs. So two
    epochs show each image from both sides (Jordan, "94% on CIFAR-10 in 3.29 seconds on a single
    GPU", 2024).

    Args:
      key: random key that chooses the half.
      indices: positions of the images in the training set.
      epoch: number of the epoch, from 0.
    """

    def is_flipped_in_even_epochs(index: Array) -> Array:
        return jax.random.bernoulli(jax.random.fold_in(key, index))

    flips_in_even_epochs = jax.vmap(is_flipped_in_even_epochs)(indices)
    is_odd_epoch = epoch % 2 == 1
    return flips_in_even_epochs ^ is_odd_epoch


def crop(
    images: Shaped[Array, "batch height width channels"],
    corners: Int[Array, "batch 2"],
    padding: int,
    reflect: Bool[Array, ""] | bool = False,
) -> Shaped[Array, "batch height width channels"]:
    """Return images that are padded and then cropped to their original size, which shifts them.

    Args:
      images: images of any dtype.
      corners: top left corner (row, column) of the cropped window in each padded image, from 0 to
        2 * padding; the corner (padding, padding) returns the image itself.
      padding: number of pixels that are added on every side.
      reflect: True to pad with the image mirrored at its outermost pixels (Page, "How to train your
        ResNet", 2018), False to pad with zeros.
    """
    no_padding, both_sides = (0, 0), (padding, padding)
    pads = (no_padding, both_sides, both_sides, no_padding)  # of images, rows, columns, channels
    padded = jnp.where(reflect, jnp.pad(images, pads, "reflect"), jnp.pad(images, pads))

    def cut_window(padded_image: Array, corner: Array) -> Array:
        return jax.lax.dynamic_slice(padded_image, (corner[0], corner[1], 0), images.shape[1:])

    return jax.vmap(cut_window)(padded, corners)


def cut_out(keys: Key[Array, "batch"], images: Pixels, settings: AugmentationSettings) -> Pixels:
    """Return images in which a square at a random place is set to 0, the mean of the pixels.

    The centre of the square can be any pixel, so a part of the square may be outside the image.
    DeVries and Taylor, "Improved regularization of convolutional neural networks with cutout",
    2017.

    Args:
      keys: a random key for each image; the keys passed to `shift_and_flip` may be used again.
      images: normalised images.
      settings: the width of the square, and whether augmentation is enabled.
    """
    height, width = images.shape[1:3]

    def draw_square_mask(key: Array) -> Array:
        """Return True for each pixel `[height, width]` inside a random square."""
        centre_key = jax.random.fold_in(key, _CUTOUT_STREAM)
        centre = jax.random.randint(centre_key, (2,), 0, jnp.asarray([height, width]))
        top_left = centre - settings.cutout // 2
        bottom_right = top_left + settings.cutout
        rows, columns = jnp.arange(height), jnp.arange(width)
        is_in_rows = (rows >= top_left[0]) & (rows < bottom_right[0])
        is_in_columns = (columns >= top_left[1]) & (columns < bottom_right[1])
        return is_in_rows[:, None] & is_in_columns[None, :]

    is_in_square = jax.vmap(draw_square_mask)(keys) & settings.enabled
    return jnp.where(is_in_square[..., None], 0.0, images)


def user_augmentation_key(keys: Key[Array, "batch"]) -> Key[Array, ""]:
    """Return one random key for a user's augmentation function, from the keys of the images.

    The key is independent of the random numbers that shifts, flips and cutout draw.
    """
    return jax.random.fold_in(keys[0], _USER_AUGMENTATION_STREAM)


def resize(
    images: UInt8[Array, "batch height width channels"], new_size: int
) -> UInt8[Array, "batch {new_size} {new_size} channels"]:
    """Reduce images to `new_size` x `new_size` pixels, by linear interpolation with antialiasing.

    Each new pixel is a mean of the old pixels around it. The weights fall linearly with distance,
    to 0 at the centres of the neighbouring new pixels. Smaller images make the first epochs faster
    (Howard, "Training ImageNet in 3 hours for $25; and CIFAR10 for $0.26", 2018).
    """
    new_shape = (len(images), new_size, new_size, images.shape[-1])
    smaller = jax.image.resize(images.astype(jnp.float32), new_shape, "linear", antialias=True)
    return jnp.round(smaller).astype(images.dtype)


def pixels(images: UInt8[Array, "*shape"]) -> Float32[Array, "*shape"]:
    """Convert pixel values from 0 to 255 to floats from 0 to 1, and return them."""
    return images.astype(jnp.float32) / 255


def keep_unchanged(key: Key[Array, ""], images: Pixels) -> Pixels:
    """Return the images unchanged; this is the augmentation of runs without one."""
    return images


def normalize(
    pixels: Float32[Array, "*others channels"],
    mean: Float[AnyArray, "channels"],
    std: Float[AnyArray, "channels"],
) -> Float32[Array, "*others channels"]:
    """Return `(pixels - mean) / std`, for pixels in [0, 1]."""
    return (pixels - mean) / std
