"""A trained network that says what is in an image."""

import dataclasses
import os
from collections.abc import Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple, Self

import jax
import numpy as np
from PIL import Image

from jaxcifar.build.hyperparameters import on_host
from jaxcifar.config.experiment import Config
from jaxcifar.data.images import read_image, to_rgb32
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.computing import with_our_settings
from jaxcifar.machine.memory import report_memory_shortage
from jaxcifar.training import augment, network, predicting
from jaxcifar.training.network import Variables
from jaxcifar.training.predicting import EVAL_BATCH
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters


class Predictions(NamedTuple):
    """Of N images: `probabilities` `[N, classes] float32`, and the likeliest class's name each."""

    probabilities: np.ndarray
    labels: list[str]

    @classmethod
    def of(cls, probabilities: np.ndarray, class_names: Sequence[str]) -> Self:
        """Those of probabilities `[N, classes]`, with the classes' names by label."""
        return cls(probabilities, [class_names[label] for label in probabilities.argmax(-1)])


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A network with its weights and all that predicting takes.

    Attributes:
      config: what was trained.
      result: content of the run's `result.json`, or the card of a file of weights.
      class_names: by label.
      mean, std: `[3] float32`, what pixels in [0, 1] are normalised by.
      variables: the network's arrays, by collection: "params", "batch_stats"...
    """

    config: Config
    result: dict[str, Any]
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    variables: Variables
    _program: Program
    _hp: Hyperparameters

    @classmethod
    def create(
        cls,
        config: Config,
        result: Mapping[str, Any],
        program: Program,
        hp: Hyperparameters,
        variables: Variables,
    ) -> Self:
        """What a program with these variables says.

        Args:
          config: what was trained.
          result: what is known of it, its `class_names` above all.
          program: computes it, on one device.
          hp: how the images are normalised, among others.
          variables: the network's.
        """
        return cls(
            config=config,
            result=dict(result),
            class_names=tuple(result["class_names"]),
            mean=np.asarray(hp.mean),
            std=np.asarray(hp.std),
            variables=jax.device_put(variables, program.replicated),
            _program=program,
            _hp=hp,
        )

    @with_our_settings()
    def logits(self, images: Any) -> np.ndarray:
        """Before the softmax, `[N, classes] float32`; `images` as for `predict`.

        Raises:
          UsageError: they can't be read.
        """
        pixels = as_pixels(images)
        # Brought to a power of two, or of large batches: one program is compiled for many numbers.
        count, most = len(pixels), EVAL_BATCH
        size = -(-count // most) * most if count > most else 1 << (count - 1).bit_length()
        with report_memory_shortage(f"predicting {count:,} images", "predict fewer at a time"):
            padded = np.zeros((size, *pixels.shape[1:]), np.uint8)
            padded[:count] = pixels
            placed = jax.device_put(padded, self._program.replicated)
            return np.asarray(predicting.predict(self._program, self.variables, self._hp, placed))[
                :count
            ]

    def seeing(self, mean: np.ndarray, std: np.ndarray) -> Self:
        """The same network where pixels in [0, 1] are normalised by these, `[3]` each."""
        mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        hp = dataclasses.replace(self._hp, mean=on_host(mean), std=on_host(std))
        return dataclasses.replace(self, mean=mean, std=std, _hp=hp)

    @with_our_settings()
    def training_logits(self, pixels: np.ndarray, key: jax.Array) -> np.ndarray:
        """Logits `[N, classes]` of `[N, 32, 32, 3] uint8` as one batch, as training computes them.

        BatchNorm takes the batch's statistics, and `key` is what dropout draws from.
        """
        return np.asarray(_in_training(self._program, self.variables, self._hp, pixels, key))

    @with_our_settings()
    def predict(self, images: Any) -> Predictions:
        """Classify images.

        Args:
          images: an array `[N, H, W, 3]` or `[H, W, 3] uint8`, an image of Pillow's, the path of an
            image file, or a list of these; what is not 32x32 is cropped to a square and resized.

        Raises:
          UsageError: they can't be read.
          RunError: the network's answers are not finite.
        """
        logits = self.logits(images)
        if not np.isfinite(logits).all():
            raise RunError(
                f"{self.config.network_title}: its answers are not finite numbers; train it anew"
            )
        return Predictions.of(softmax(logits), self.class_names)


@partial(jax.jit, static_argnums=0)
def _in_training(
    program: Program, variables: Variables, hp: Hyperparameters, pixels: jax.Array, key: jax.Array
) -> jax.Array:
    images = augment.normalize(augment.pixels(pixels), hp.mean, hp.std)
    model = network.alone(program.model)
    logits, _ = network.forward(model, variables, images, key, None, program.operands)
    return logits


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Several classifiers that predict together, by the mean of their probabilities.

    Attributes:
      members: tell the same classes apart.
      class_names: by label.
    """

    members: tuple[Classifier, ...]
    class_names: tuple[str, ...]

    @classmethod
    def of(cls, members: Sequence[Classifier]) -> Self:
        """The ensemble of these.

        Raises:
          UsageError: their classes differ.
        """
        first = members[0].class_names
        if other := next((m for m in members if m.class_names != first), None):
            raise UsageError(
                f"these runs don't tell the same classes apart: {', '.join(first[:3])}... and "
                f"{', '.join(other.class_names[:3])}...; give runs on one data set"
            )
        return cls(tuple(members), first)

    @with_our_settings()
    def predict(self, images: Any) -> Predictions:
        """Classify images, as `Classifier.predict` does.

        Raises:
          UsageError: they can't be read.
          RunError: a network's answers are not finite.
        """
        pixels = as_pixels(images)
        each = [member.predict(pixels).probabilities for member in self.members]
        return Predictions.of(np.mean(each, 0), self.class_names)


def softmax(logits: np.ndarray) -> np.ndarray:
    """Probabilities `[N, classes]` of logits."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return odds / odds.sum(-1, keepdims=True)


def as_pixels(images: Any) -> np.ndarray:
    """Images of any kind that `Classifier.predict` takes as `[N, 32, 32, 3] uint8`.

    Raises:
      UsageError: they can't be read.
    """
    if isinstance(images, np.ndarray) and images.ndim == 4:
        if len(images) and images.shape[1:] == (32, 32, 3) and images.dtype == np.uint8:
            return images
    elif isinstance(images, str | Path | Image.Image | np.ndarray):
        images = [images]
    elif not isinstance(images, Iterable):
        raise UsageError(f"images: {type(images).__name__}; give arrays, images or paths")
    pixels = [_pixel(image, number) for number, image in enumerate(images)]
    if not pixels:
        raise UsageError("images: there are none")
    return np.stack(pixels)


def _pixel(image: Any, number: int) -> np.ndarray:
    try:
        if isinstance(image, str | Path):
            return read_image(os.path.realpath(image))[0]
        if isinstance(image, Image.Image):
            return to_rgb32(image)
        array = np.asarray(image)
        if array.dtype != np.uint8 or array.ndim != 3 or array.shape[-1] != 3:
            raise ValueError(f"has shape {array.shape} and type {array.dtype}, not [H, W, 3] uint8")
        return to_rgb32(Image.fromarray(array))
    except (OSError, ValueError) as error:  # Pillow reads an image when it is asked for pixels
        name = image if isinstance(image, str | Path) else f"images: number {number}, from 0,"
        raise UsageError(f"{name}: {error}") from error
