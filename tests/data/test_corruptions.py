"""Corruptions against SciPy, Pillow, colorsys and closed forms."""

import colorsys
import io

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from PIL import Image
from rounding import UNIT, assert_near, error_of_sum
from scipy import ndimage

from jaxcifar.data import corruptions
from jaxcifar.data.corruptions import CORRUPTIONS, STRENGTHS, corrupt_images

IMAGES = np.random.RandomState(0).randint(0, 256, (12, 32, 32, 3)).astype(np.uint8)
KEYS = jax.random.split(jax.random.key(0), len(IMAGES))
PIXELS = jnp.float32(IMAGES) / 255


def apply(kind, strength, images=PIXELS):
    return np.asarray(CORRUPTIONS[kind].apply(KEYS, images, jnp.float32(strength)))


def natural():
    """Smooth images, as photos are and noise is not."""
    rows, columns = np.mgrid[:32, :32] / 31
    planes = [np.sin(3 * rows + i) * np.cos(4 * columns - i) for i in range(36)]
    smooth = 0.5 + 0.4 * np.stack(planes).reshape(12, 3, 32, 32).transpose(0, 2, 3, 1)
    return np.round(255 * smooth).astype(np.uint8)


@pytest.mark.parametrize("deviation", CORRUPTIONS["blur"].strengths)
def test_blur_is_scipys(deviation):
    expected = ndimage.gaussian_filter(
        np.float64(PIXELS), (0, deviation, deviation, 0), mode="nearest"
    )
    taps = 2 * round(4 * deviation) + 1  # along either axis; each weight is off by a little, too
    assert_near(apply("blur", deviation), expected, 4 * error_of_sum(taps))


# A place is off by a few roundings of 32 pixels along either axis; neighbours differ by up to 1.
ERROR_OF_ROTATION = 2 * 8 * 32 * UNIT


@pytest.mark.parametrize("degrees", [*CORRUPTIONS["rotation"].strengths, -25])
def test_rotation_is_scipys(degrees):
    options = {"axes": (1, 2), "reshape": False, "order": 1, "mode": "mirror"}
    expected = ndimage.rotate(np.float64(PIXELS), degrees, **options)
    assert_near(apply("rotation", degrees), expected, ERROR_OF_ROTATION)


@pytest.mark.parametrize("turns", [0, 1, 2, 3])
def test_right_angles_are_exact(turns):
    expected = np.rot90(PIXELS, turns, axes=(1, 2))
    assert_near(apply("rotation", 90 * turns), expected, ERROR_OF_ROTATION)


def test_noise_has_its_deviation_and_leaves_the_mean():
    grey = jnp.full((12, 32, 32, 3), 0.5)
    added = apply("noise", 0.08, grey) - 0.5
    assert added.std() == pytest.approx(0.08, rel=0.02)
    assert abs(added.mean()) < 4 * 0.08 / np.sqrt(added.size)
    assert abs(np.corrcoef(added[0].ravel(), added[1].ravel())[0, 1]) < 0.1  # each has its own


def test_brightness_is_that_of_hsv():
    expected = PIXELS[0, :8, :8].reshape(-1, 3).tolist()
    expected = [colorsys.rgb_to_hsv(*pixel) for pixel in [*expected, (0, 0, 0)]]
    expected = [colorsys.hsv_to_rgb(h, s, min(1, v + 0.15)) for h, s, v in expected]
    given = jnp.concatenate([PIXELS[0, :8, :8].reshape(-1, 3), jnp.zeros((1, 3))])
    got = corruptions.brighten(KEYS[:1], given[None, None], jnp.float32(0.15))[0, 0]
    assert_near(got, expected, 6 * 8 * UNIT)  # a hue, of up to 6 parts, is off by a few roundings


def test_contrast_keeps_the_mean_and_scales_the_rest():
    got, given = np.float64(apply("contrast", 0.4)), np.float64(PIXELS)
    assert_near(got.mean((1, 2)), given.mean((1, 2)), error_of_sum(32 * 32))
    assert_near(got.std((1, 2)), 0.4 * given.std((1, 2)), 8 * UNIT)


@pytest.mark.parametrize("pixels", CORRUPTIONS["shift"].strengths)
def test_shift_moves_to_the_right_and_down(pixels):
    padded = np.pad(PIXELS, ((0, 0), (pixels, 0), (pixels, 0), (0, 0)), mode="reflect")
    np.testing.assert_array_equal(apply("shift", pixels), padded[:, :32, :32])


def test_jpeg_is_pillows():
    images, quality = natural(), CORRUPTIONS["JPEG"].strengths[2]
    for image, got in zip(images, corrupt_images("JPEG", 3, images), strict=True):
        file = io.BytesIO()
        Image.fromarray(image).save(file, format="jpeg", quality=quality)
        np.testing.assert_array_equal(got, np.asarray(Image.open(io.BytesIO(file.getvalue()))))


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_stronger_is_farther_from_the_image(kind):
    images = natural()
    changed = [corrupt_images(kind, level, images) for level in range(1, STRENGTHS + 1)]
    assert {image.dtype for image in changed} == {np.dtype(np.uint8)}
    far = [np.abs(np.float64(image) - images).mean() for image in changed]
    assert far == sorted(far)
    assert far[0] > 0


@pytest.mark.parametrize("kind", CORRUPTIONS)
def test_an_image_becomes_the_same_whatever_comes_after_it(kind, monkeypatch):
    whole = corrupt_images(kind, 2, IMAGES)
    np.testing.assert_array_equal(whole, corrupt_images(kind, 2, IMAGES))
    monkeypatch.setattr(corruptions, "_MAX_IMAGES_PER_BLOCK", 5)
    differences = np.abs(np.int32(whole[:7]) - corrupt_images(kind, 2, IMAGES[:7]))
    # A program for another number of images may round a value halfway to the other side.
    assert differences.max() <= 1
    assert differences.mean() < 1e-3
