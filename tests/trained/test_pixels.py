"""Arrays of one image or many images, as pixels for a network."""

import numpy as np
import pytest

from jaxcifar.errors import UsageError
from jaxcifar.trained.pixels import as_pixels


@pytest.mark.parametrize("channels", [2, 4])
def test_an_image_with_transparency_is_not_taken_for_grey_images(channels):
    image = np.random.RandomState(0).randint(0, 256, (32, 32, channels)).astype(np.uint8)
    with pytest.raises(UsageError, match=r"alpha channel; leave it out: images\[\.\.\., :-1\]"):
        as_pixels(image)
    opaque = as_pixels(image[..., :-1])
    assert opaque.shape == (1, 32, 32, 3)
    np.testing.assert_array_equal(opaque[0], np.broadcast_to(image[..., :-1], (32, 32, 3)))


def test_one_image_with_channels_first_is_not_taken_for_three_grey_images():
    colour = np.random.RandomState(0).randint(0, 256, (32, 32, 3)).astype(np.uint8)
    channels_first = np.moveaxis(colour, -1, 0)
    with pytest.raises(UsageError) as refused:
        as_pixels(channels_first)
    message = str(refused.value)
    assert "images has shape (3, 32, 32); give one image as [H, W, 3] with channels last" in message
    assert "\n" not in message
    np.testing.assert_array_equal(as_pixels(channels_first.transpose(1, 2, 0)), colour[None])
    three_grey_images = as_pixels(channels_first[..., None])
    for image, channel in zip(three_grey_images, range(3), strict=True):
        for grey in np.moveaxis(image, -1, 0):
            np.testing.assert_array_equal(grey, colour[..., channel])


@pytest.mark.parametrize("count", [1, 2, 4])
def test_other_numbers_of_grey_images_are_no_channels(count):
    images = np.random.RandomState(0).randint(0, 256, (count, 32, 32)).astype(np.uint8)
    expected = np.repeat(images[..., None], 3, axis=-1)
    np.testing.assert_array_equal(as_pixels(images), expected)
