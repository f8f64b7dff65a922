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
