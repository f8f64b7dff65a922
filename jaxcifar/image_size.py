"""The height and width of images in pixels: the default, and the range of `--image-size`."""

IMAGE_SIZE = 32  # of CIFAR-10 and CIFAR-100, and of a user's images by default
SMALLEST_IMAGE_SIZE, LARGEST_IMAGE_SIZE = 28, 224
LARGEST_STORED_SIZE = 64  # of the images in a run's folder, which are there to be looked at
STORED_SIDES = range(SMALLEST_IMAGE_SIZE, LARGEST_STORED_SIZE + 1)


def image_shape(size: int = IMAGE_SIZE) -> tuple[int, int, int]:
    """Return the shape `(height, width, channels)` of images of this height and width."""
    return size, size, 3
