"""Settings that depend on the height and width of the images."""

from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxcifar.config import registry
from jaxcifar.image_size import IMAGE_SIZE

MAX_SHIFT = 4  # pixels, for images of up to 32 pixels
USER_IMAGE_SETTINGS = ("image_size",)  # settings that only images of the user have


class PixelRange(NamedTuple):
    """The allowed values of a setting in pixels; the highest depends on the image size.

    `highest_for` is called with the height and width of the images.
    """

    lowest: int
    highest_for: Callable[[int], int]

    def allows(self, value: int, image_size: int) -> bool:
        """Return True if a value is allowed for images of this height and width."""
        return self.lowest <= value <= self.highest_for(image_size)

    def rule_text(self, image_size: int = IMAGE_SIZE) -> str:
        """Return the end of the error message for a value that is not allowed."""
        return f"must be in [{self.lowest}, {self.highest_for(image_size)}]"

    @property
    def message(self) -> str:
        """The end of the error message, with the values allowed for images of the default size."""
        return self.rule_text()


def max_shift(image_size: int) -> int:
    """Return the largest shift that `--shift` allows: an eighth of the image, at least 4 pixels."""
    return max(MAX_SHIFT, image_size // 8)


UP_TO_IMAGE_SIZE = PixelRange(0, lambda image_size: image_size)
SHIFT_RANGE = PixelRange(0, max_shift)
# The default of `--small-size` is allowed for images of 28 pixels too.
SMALL_SIZE_RANGE = PixelRange(8, lambda image_size: max(image_size, IMAGE_SIZE))


def settings_lacking_user_images(settings: Mapping[str, Any]) -> tuple[str, ...]:
    """Return the settings that need images of the user; empty if the run has such images."""
    return USER_IMAGE_SETTINGS if settings["dataset"] in registry.KINDS["dataset"] else ()


def reason_image_size_ineffective(dataset: str) -> str:
    """Return the end of an error message: `--image-size` has no effect on this data set."""
    return (
        f"has no effect on {dataset}, which has images of {IMAGE_SIZE}x{IMAGE_SIZE} pixels; use it "
        "with --dataset PATH, the path of images of your own"
    )


def is_small_size_used(settings: Mapping[str, Any]) -> bool:
    """Return True if `small_size`, the size of images in the first steps, is not the full size.

    The default of `small_size`, 32, counts as the full size of images of up to 32 pixels.
    """
    small_size, image_size = settings["small_size"], settings["image_size"]
    is_full_size = image_size <= small_size <= max(image_size, IMAGE_SIZE)
    return not is_full_size
