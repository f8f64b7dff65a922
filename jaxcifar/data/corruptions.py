"""Corruptions that make images harder to recognise, each in five strengths.

The strengths of noise, blur, JPEG, brightness and contrast are those of CIFAR-10-C (Hendrycks and
Dietterich, "Benchmarking neural network robustness to common corruptions and perturbations", 2019).
The images are not those of CIFAR-10-C, because other programs made those. They are the same each
time, except for the rounding of other devices and versions.
"""

import dataclasses
import io
from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import Array
from PIL import Image

from jaxcifar.array_types import Float32, Key, UInt8
from jaxcifar.image_size import IMAGE_SIZE

STRENGTHS = 5
Images = Float32[Array, "batch height width 3"]
_MAX_IMAGES_PER_BLOCK = 500  # images corrupted at a time, of 32x32 pixels; fewer if they are larger
_SEED = 2019  # the year of CIFAR-10-C; never the run's seed, so that all runs see the same images
_LARGEST_OFFSET_IN_DEVIATIONS = 4.0  # the default of SciPy's Gaussian filter


@dataclasses.dataclass(frozen=True)
class Corruption:
    """A kind of corruption.

    Attributes:
      strengths: strengths of the five levels, the weakest first.
      unit: unit of the strengths, in words.
      apply: function that corrupts images. It takes a random key for each image, images with
        values in [0, 1], and a strength. The values of the images that it returns may be outside
        [0, 1]. `apply` is None for JPEG, which Pillow computes.
    """

    strengths: tuple[float, ...]
    unit: str
    apply: Callable[[Key[Array, "batch"], Images, Float32[Array, ""]], Images] | None


def add_noise(keys: Key[Array, "batch"], images: Images, deviation: Float32[Array, ""]) -> Images:
    """Add independent normal noise with the standard deviation `deviation` to every value.

    `keys` has a random key for each image; the values of images are in [0, 1].
    """
    draw_noise = partial(jax.random.normal, shape=images.shape[1:])
    return images + deviation * jax.vmap(draw_noise)(keys)


def blur(keys: Key[Array, "batch"], images: Images, deviation: Float32[Array, ""]) -> Images:
    """Blur images by a Gaussian filter with the standard deviation `deviation`, in pixels.

    The result is that of `scipy.ndimage.gaussian_filter(mode="nearest")`, which repeats the pixels
    at the border, and cuts the weights off after four standard deviations. `keys` is not used.
    """
    return _weigh_rows_and_columns(partial(_blur_weights, deviation), images)


def _blur_weights(deviation: Array, side: int) -> Array:
    """Return the weights `[side, side]` that blur an axis of length `side`.

    Blurred pixel i is the sum of all input pixels j, each multiplied by the weight `[i, j]`.
    """
    offsets = jnp.arange(-side, side + 1)  # of input pixels from a blurred pixel
    largest_offset = jnp.floor(_LARGEST_OFFSET_IN_DEVIATIONS * deviation + 0.5)
    gaussian = jnp.exp(-0.5 * (offsets / deviation) ** 2)
    weight_of_offset = jnp.where(jnp.abs(offsets) <= largest_offset, gaussian, 0)
    blurred_pixels = jnp.arange(side)[:, None]
    pixels_at_offsets = jnp.clip(blurred_pixels + offsets, 0, side - 1)  # the border is repeated
    zeros = jnp.zeros((side, side))
    normalised_weight_of_offset = weight_of_offset / weight_of_offset.sum()
    return zeros.at[blurred_pixels, pixels_at_offsets].add(normalised_weight_of_offset)


def shift(keys: Key[Array, "batch"], images: Images, pixels: Float32[Array, ""]) -> Images:
    """Move images to the right and down by `pixels`, rounded down; reflections fill the border.

    `keys` is not used: all images move by the same distance.
    """

    def shift_weights(side: int) -> Array:
        source_positions = jnp.abs(jnp.arange(side) - pixels.astype(int))
        return jax.nn.one_hot(source_positions, side)

    return _weigh_rows_and_columns(shift_weights, images)


def _weigh_rows_and_columns(weights_for_side: Callable[[int], Array], images: Array) -> Array:
    """Replace each row of an image by a weighted sum of all rows; then do the same for columns.

    `weights_for_side(side)` returns the weights `[side, side]` for an axis of length `side`. The
    new row i is the sum of all rows j of the image, each multiplied by the weight `[i, j]`.
    """
    _, height, width, _ = images.shape
    # The highest precision, because a shift must not change values.
    return jnp.einsum(
        "ij,lk,njkc->nilc",
        weights_for_side(height),
        weights_for_side(width),
        images,
        precision="highest",
    )


def rotate(keys: Key[Array, "batch"], images: Images, degrees: Float32[Array, ""]) -> Images:
    """Rotate images around their centre, counterclockwise, by `degrees`; `keys` is not used.

    The result is that of `scipy.ndimage.rotate(reshape=False, order=1, mode="mirror")`, which
    interpolates linearly between pixels, and reflects the image at its border.
    """
    _, height, width, _ = images.shape
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    row_offsets, column_offsets = rows - middle_row, columns - middle_column
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    # Where in the original image each pixel of the result comes from.
    source_rows = middle_row + cos * row_offsets + sin * column_offsets
    source_columns = middle_column - sin * row_offsets + cos * column_offsets
    rotate_channel = partial(
        jax.scipy.ndimage.map_coordinates,
        coordinates=(source_rows, source_columns),
        order=1,
        mode="mirror",
    )
    rotate_image = jax.vmap(rotate_channel)
    rotate_batch = jax.vmap(rotate_image)
    channels_first = jnp.moveaxis(images, -1, 1)
    rotated_channels_first = rotate_batch(channels_first)
    return jnp.moveaxis(rotated_channels_first, 1, -1)


def brighten(keys: Key[Array, "batch"], images: Images, added: Float32[Array, ""]) -> Images:
    """Increase the brightness of images, at the same hue and saturation; `keys` is not used.

    `added` is added to each pixel's largest channel, which is the V of HSV.
    """
    largest_channel = images.max(-1, keepdims=True)
    brighter = jnp.minimum(largest_channel + added, 1)
    scaled = images * brighter / jnp.maximum(largest_channel, 1e-6)
    return jnp.where(largest_channel > 0, scaled, brighter)


def reduce_contrast(
    keys: Key[Array, "batch"], images: Images, factor: Float32[Array, ""]
) -> Images:
    """Reduce the contrast: multiply each pixel's difference from the mean by `factor`, below 1.

    Every channel of every image has its own mean. `keys` is not used.
    """
    mean = images.mean((1, 2), keepdims=True)
    return mean + factor * (images - mean)


CORRUPTIONS = {
    "noise": Corruption((0.04, 0.06, 0.08, 0.09, 0.1), "standard deviation", add_noise),
    "blur": Corruption((0.4, 0.6, 0.7, 0.8, 1.0), "standard deviation in pixels", blur),
    "JPEG": Corruption((80, 65, 58, 50, 40), "quality", None),
    "brightness": Corruption((0.05, 0.1, 0.15, 0.2, 0.3), "added", brighten),
    "contrast": Corruption((0.75, 0.5, 0.4, 0.3, 0.15), "kept", reduce_contrast),
    "rotation": Corruption((5, 10, 15, 20, 30), "degrees", rotate),
    "shift": Corruption((1, 2, 4, 6, 8), "pixels", shift),
}


def corrupt_images(
    kind: str, level: int, images: UInt8[np.ndarray, "images height width 3"]
) -> UInt8[np.ndarray, "images height width 3"]:
    """Return corrupted copies of images.

    The result for an image depends only on the image and its position, not on a run's seed.

    Args:
      kind: the corruption's key in `CORRUPTIONS`, such as "noise".
      level: strength of the corruption, 1 to `STRENGTHS`.
      images: the images.

    Raises:
      KeyError: there is no such kind of corruption.
    """
    corruption = CORRUPTIONS[kind]
    strength = corruption.strengths[level - 1]
    if corruption.apply is None:
        return np.stack([compress_as_jpeg(image, int(strength)) for image in images])
    number_of_kind = list(CORRUPTIONS).index(kind)
    corruption_key = jax.random.fold_in(jax.random.key(_SEED), number_of_kind)
    images_per_block = _count_images_per_block(images)
    corrupted_blocks = []
    for first_index in range(0, len(images), images_per_block):
        image_block = images[first_index : first_index + images_per_block]
        corrupted_block = _corrupt_block(
            corruption.apply,
            corruption_key,
            np.int32(first_index),
            image_block,
            np.float32(strength),
        )
        corrupted_blocks.append(corrupted_block)
    return np.concatenate(corrupted_blocks)


def _count_images_per_block(images: np.ndarray) -> int:
    """Return how many images are corrupted at a time: fewer if they are larger than 32x32."""
    _, height, width, _ = images.shape
    max_pixels_per_block = _MAX_IMAGES_PER_BLOCK * IMAGE_SIZE**2
    images_that_fit = max_pixels_per_block // (height * width)
    return min(_MAX_IMAGES_PER_BLOCK, max(1, images_that_fit))


@partial(jax.jit, static_argnums=0)
def _corrupt_block(
    apply: Callable[..., Array], key: Array, first_index: Array, images: Array, strength: Array
) -> Array:
    indices = first_index + jnp.arange(len(images))
    keys = jax.vmap(partial(jax.random.fold_in, key))(indices)
    corrupted_images = apply(keys, images.astype(jnp.float32) / 255, strength)
    return jnp.round(255 * jnp.clip(corrupted_images, 0, 1)).astype(jnp.uint8)


def compress_as_jpeg(
    image: UInt8[np.ndarray, "height width 3"], quality: int
) -> UInt8[np.ndarray, "height width 3"]:
    """Compress an image as JPEG with a `quality` from 1 to 95, and return the decoded image."""
    jpeg_file = io.BytesIO()
    Image.fromarray(image).save(jpeg_file, "JPEG", quality=quality)
    return np.asarray(Image.open(jpeg_file))
