"""Images made harder to recognise, each kind in five strengths.

They are the same ones every time, but for the rounding of another kind of device or version.
In the spirit of CIFAR-10-C (Hendrycks and Dietterich, "Benchmarking neural network robustness to
common corruptions and perturbations", 2019), whose strengths those of noise, blur, JPEG, brightness
and contrast are. Its images are made by other programs and are not these.
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

STRENGTHS = 5
Images = Float32[Array, "batch height width 3"]
_AT_ONCE = 500  # images
_KEY = 2019  # the year of CIFAR-10-C; never the run's seed, so that all runs see the same images
_BLUR_REACH = 4.0  # standard deviations, as far as SciPy's Gaussian filter reaches by default


@dataclasses.dataclass(frozen=True)
class Corruption:
    """One way to make images harder.

    Attributes:
      strengths: of the five levels, the weakest first, in the unit that `unit` says.
      unit: of the strengths, in words.
      apply: maps keys, images in [0, 1] and a strength to images, which may leave [0, 1]; None for
        JPEG, which Pillow does.
    """

    strengths: tuple[float, ...]
    unit: str
    apply: Callable[[Key[Array, "batch"], Images, Float32[Array, ""]], Images] | None


def noise(keys: Key[Array, "batch"], images: Images, deviation: Float32[Array, ""]) -> Images:
    """Add independent normal noise of a standard deviation to every value."""
    return images + deviation * jax.vmap(lambda k: jax.random.normal(k, images.shape[1:]))(keys)


def blur(keys: Key[Array, "batch"], images: Images, deviation: Float32[Array, ""]) -> Images:
    """A Gaussian filter of a standard deviation in pixels, borders repeated.

    Its weights are those of the pixels, cut off after four deviations and normalised, as
    `scipy.ndimage.gaussian_filter(mode="nearest")` has them.
    """
    return _along_both_axes(partial(_blur_weights, deviation), images)


def _blur_weights(deviation: Array, side: int) -> Array:
    offsets = jnp.arange(-side, side + 1)
    within = jnp.abs(offsets) <= jnp.floor(_BLUR_REACH * deviation + 0.5)
    weights = jnp.where(within, jnp.exp(-0.5 * (offsets / deviation) ** 2), 0)
    sources = jnp.clip(jnp.arange(side)[:, None] + offsets, 0, side - 1)
    rows = jnp.arange(side)[:, None]
    return jnp.zeros((side, side)).at[rows, sources].add(weights / weights.sum())


def shift(keys: Key[Array, "batch"], images: Images, pixels: Float32[Array, ""]) -> Images:
    """Move by whole pixels to the right and down; the mirror image comes in at the border."""

    def weights(side: int) -> Array:
        return jax.nn.one_hot(jnp.abs(jnp.arange(side) - pixels.astype(int)), side)

    return _along_both_axes(weights, images)


def _along_both_axes(weights: Callable[[int], Array], images: Array) -> Array:
    """Each row and each column as weighted sums of the others; `weights(side)` is `[side, side]`.

    Products are exact in float32 on every device, or a shift would change values.
    """
    _, height, width, _ = images.shape
    return jnp.einsum(
        "ij,lk,njkc->nilc", weights(height), weights(width), images, precision="highest"
    )


def rotation(keys: Key[Array, "batch"], images: Images, degrees: Float32[Array, ""]) -> Images:
    """Turn around the middle, to the left, between pixels linearly; mirrored at the border.

    As `scipy.ndimage.rotate(axes=(1, 2), reshape=False, order=1, mode="mirror")`.
    """
    _, height, width, _ = images.shape
    rows, columns = jnp.mgrid[:height, :width].astype(jnp.float32)
    middle_row, middle_column = (height - 1) / 2, (width - 1) / 2
    down, right = rows - middle_row, columns - middle_column
    cos, sin = jnp.cos(jnp.deg2rad(degrees)), jnp.sin(jnp.deg2rad(degrees))
    # Where what is seen at each place comes from: turned the other way.
    sources = (middle_row + cos * down + sin * right, middle_column - sin * down + cos * right)
    sample = partial(jax.scipy.ndimage.map_coordinates, coordinates=sources, order=1, mode="mirror")
    planes = jnp.moveaxis(images, -1, 1)
    return jnp.moveaxis(jax.vmap(jax.vmap(sample))(planes), 1, -1)


def brightness(keys: Key[Array, "batch"], images: Images, more: Float32[Array, ""]) -> Images:
    """Add to the value of hue, saturation and value, which is a pixel's largest channel."""
    value = images.max(-1, keepdims=True)
    brighter = jnp.minimum(value + more, 1)
    return jnp.where(value > 0, images * brighter / jnp.maximum(value, 1e-6), brighter)


def contrast(keys: Key[Array, "batch"], images: Images, kept: Float32[Array, ""]) -> Images:
    """Bring values closer to their mean over the image, channel by channel."""
    mean = images.mean((1, 2), keepdims=True)
    return mean + kept * (images - mean)


CORRUPTIONS = {
    "noise": Corruption((0.04, 0.06, 0.08, 0.09, 0.1), "standard deviation", noise),
    "blur": Corruption((0.4, 0.6, 0.7, 0.8, 1.0), "standard deviation in pixels", blur),
    "JPEG": Corruption((80, 65, 58, 50, 40), "quality", None),
    "brightness": Corruption((0.05, 0.1, 0.15, 0.2, 0.3), "added", brightness),
    "contrast": Corruption((0.75, 0.5, 0.4, 0.3, 0.15), "kept", contrast),
    "rotation": Corruption((5, 10, 15, 20, 30), "degrees", rotation),
    "shift": Corruption((1, 2, 4, 6, 8), "pixels", shift),
}


def corrupted(
    kind: str, level: int, images: UInt8[np.ndarray, "images height width 3"]
) -> UInt8[np.ndarray, "images height width 3"]:
    """Images by one of `CORRUPTIONS`; what becomes of one depends on it and its place alone.

    Args:
      kind: a key of `CORRUPTIONS`.
      level: from 1 to `STRENGTHS`.
      images: are not changed.
    """
    corruption = CORRUPTIONS[kind]
    strength = corruption.strengths[level - 1]
    if corruption.apply is None:
        return np.stack([jpeg(image, int(strength)) for image in images])
    key = jax.random.fold_in(jax.random.key(_KEY), list(CORRUPTIONS).index(kind))
    apply = partial(_applied, corruption.apply, key, strength=np.float32(strength))
    firsts = range(0, len(images), _AT_ONCE)
    return np.concatenate([apply(np.int32(i), images[i : i + _AT_ONCE]) for i in firsts])


@partial(jax.jit, static_argnums=0)
def _applied(
    apply: Callable[..., Array],
    key: Array,
    first: Array,
    images: Array,
    strength: Array,
) -> Array:
    keys = jax.vmap(partial(jax.random.fold_in, key))(first + jnp.arange(len(images)))
    changed = apply(keys, images.astype(jnp.float32) / 255, strength)
    return jnp.round(255 * jnp.clip(changed, 0, 1)).astype(jnp.uint8)


def jpeg(
    image: UInt8[np.ndarray, "height width 3"], quality: int
) -> UInt8[np.ndarray, "height width 3"]:
    """An image after Pillow has packed it as JPEG of that quality."""
    packed = io.BytesIO()
    Image.fromarray(image).save(packed, "JPEG", quality=quality)
    return np.asarray(Image.open(packed))
