"""A trained network that says what is in an image."""

import dataclasses
from collections.abc import Iterable
from pathlib import Path
from typing import Any, NamedTuple

import jax
import numpy as np
from PIL import Image

from jaxcifar.data.images import read_image, to_rgb32
from jaxcifar.errors import UsageError
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters


class Predictions(NamedTuple):
    """Of N images: `probabilities` `[N, classes] float32`, and the likeliest class's name each."""

    probabilities: np.ndarray
    labels: list[str]


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network with its weights and all that predicting takes.

    Attributes:
      result: content of the run's `result.json`.
      class_names: by label.
    """

    result: dict[str, Any]
    class_names: tuple[str, ...]
    _program: Program
    _variables: Variables
    _hp: Hyperparameters

    def logits(self, images: Any) -> np.ndarray:
        """Before the softmax, `[N, classes] float32`; `images` as for `predict`.

        Raises:
          UsageError: they can't be read.
        """
        pixels = jax.device_put(_pixels(images), self._program.replicated)
        return np.asarray(self._program.predict(self._variables, self._hp, pixels))

    def predict(self, images: Any) -> Predictions:
        """Classify images.

        Args:
          images: an array `[N, H, W, 3]` or `[H, W, 3] uint8`, an image of Pillow's, the path of an
            image file, or a list of these; what is not 32x32 is cropped to a square and resized.

        Raises:
          UsageError: they can't be read.
        """
        logits = self.logits(images)
        odds = np.exp(logits - logits.max(-1, keepdims=True))
        names = [self.class_names[label] for label in logits.argmax(-1)]
        return Predictions(odds / odds.sum(-1, keepdims=True), names)


def _pixels(images: Any) -> np.ndarray:
    """`[N, 32, 32, 3] uint8`."""
    if isinstance(images, np.ndarray) and images.ndim == 4:
        if len(images) and images.shape[1:] == (32, 32, 3) and images.dtype == np.uint8:
            return images
    elif isinstance(images, str | Path | Image.Image | np.ndarray):
        images = [images]
    elif not isinstance(images, Iterable):
        raise UsageError(f"images: {type(images).__name__}; give arrays, images or paths")
    pixels = [_pixel(image) for image in images]
    if not pixels:
        raise UsageError("images: there are none")
    return np.stack(pixels)


def _pixel(image: Any) -> np.ndarray:
    try:
        if isinstance(image, str | Path):
            return read_image(image)[0]
        if isinstance(image, Image.Image):
            return to_rgb32(image)
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(f"has shape {array.shape} and type {array.dtype}, not [H, W, 3] uint8")
        return to_rgb32(Image.fromarray(array))
    except ValueError as error:
        name = image if isinstance(image, str | Path) else "images: one"
        raise UsageError(f"{name}: {error}") from error
