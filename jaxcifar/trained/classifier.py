"""Trained networks that classify images."""

import dataclasses
import math
from collections.abc import Mapping
from functools import partial
from typing import Any, Self

import jax
import numpy as np

from jaxcifar.build.hyperparameters import host_array
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.machine.memory import report_memory_shortage
from jaxcifar.machine.sharing import AnyArray
from jaxcifar.trained.features import last_features
from jaxcifar.trained.photos import Photos
from jaxcifar.trained.pixels import as_photos, as_pixels
from jaxcifar.trained.predictions import Predictions
from jaxcifar.training import augment, network, predicting
from jaxcifar.training.network import Variables
from jaxcifar.training.predicting import EVAL_BATCH, HOST_BLOCK_BYTES
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters


@dataclasses.dataclass(frozen=True)
class Classifier:
    """A trained network that classifies images, with its weights and class names.

    Attributes:
      config: settings of the training.
      result: content of the run's `result.json`, or the description in a file of weights.
      class_names: names of the classes, by label.
      mean, std: mean and deviation of each channel, `[3] float32`, of pixels from 0 to 1.
      variables: the network's arrays by Flax collection, such as "params" and "batch_stats".
    """

    config: Config
    result: dict[str, Any]
    class_names: tuple[str, ...]
    mean: np.ndarray
    std: np.ndarray
    variables: Variables
    _program: Program
    _hyper: Hyperparameters

    @classmethod
    def create(
        cls,
        config: Config,
        result: Mapping[str, Any],
        program: Program,
        hyper: Hyperparameters,
        variables: Variables,
    ) -> Self:
        """Return a classifier for a trained network, whose weights are placed on the device.

        Args:
          config: settings of the training.
          result: description of the network; it must have `class_names`.
          program: the compiled program of the network, for one device.
          hyper: hyper-parameters; only the mean and deviation of the images are used.
          variables: the network's arrays by Flax collection.
        """
        return cls(
            config=config,
            result=dict(result),
            class_names=tuple(result["class_names"]),
            mean=np.asarray(hyper.mean),
            std=np.asarray(hyper.std),
            variables=jax.device_put(variables, program.replicated),
            _program=program,
            _hyper=hyper,
        )

    @property
    def image_size(self) -> int:
        """Height and width of the images that the network takes."""
        return self.config.image_size

    @property
    def image_sizes(self) -> set[int]:
        """The sizes of the images that the network takes: one size. An `Ensemble` may have more."""
        return {self.image_size}

    @with_package_settings()
    def logits(self, images: Any) -> np.ndarray:
        """Return the network's outputs before the softmax, `[N, classes] float32`.

        Args:
          images: images in any form that `predict` takes, such as an array or a folder.

        Raises:
          UsageError: an image can't be read, or there is no image.
        """
        pixels = as_pixels(images, self.image_size)
        image_count = len(pixels)
        activity = f"predicting {image_count:,} images"
        with report_memory_shortage(activity, "predict fewer at a time"):
            image_shape = pixels.shape[1:]
            padded_pixels = np.zeros((_padded_count(image_count), *image_shape), np.uint8)
            padded_pixels[:image_count] = pixels
            inputs: AnyArray = padded_pixels
            fits_into_one_block = padded_pixels.nbytes <= HOST_BLOCK_BYTES
            if fits_into_one_block:  # else `predict` moves the images to the device in blocks
                inputs = jax.device_put(padded_pixels, self._program.replicated)
            logits = predicting.predict(self._program, self.variables, self._hyper, inputs)
            return np.asarray(logits)[:image_count]

    def with_normalization(self, mean: np.ndarray, std: np.ndarray) -> Self:
        """Return a copy that normalises images by another mean and deviation per channel, `[3]`."""
        mean, std = np.asarray(mean, np.float32), np.asarray(std, np.float32)
        hyper = dataclasses.replace(self._hyper, mean=host_array(mean), std=host_array(std))
        return dataclasses.replace(self, mean=mean, std=std, _hyper=hyper)

    @with_package_settings()
    def training_logits(self, pixels: np.ndarray, key: jax.Array) -> np.ndarray:
        """Return the logits of a batch of images, `[N, classes]`, in training mode.

        In this mode BatchNorm normalises by the statistics of the batch, and dropout is active.

        Args:
          pixels: one batch of images, `[N, image_size, image_size, 3] uint8`.
          key: random key for dropout.
        """
        return np.asarray(_training_logits(self._program, self.variables, self._hyper, pixels, key))

    @with_package_settings()
    def predict(self, images: Any) -> Predictions:
        """Classify images; return the probability of each class and the likeliest class.

        Images of another size than `image_size` are cropped to a square and resized. Damaged files
        in a folder are left out, with a Python warning for each.

        Args:
          images: an array `[N, H, W, 3]`, `[N, H, W, 1]` or `[N, H, W] uint8`, an array of one
            image with channels last, a Pillow image, the path of an image file or of a folder, or a
            list of these. `[3, H, W]` is an error, because it can mean one image or three.

        Raises:
          UsageError: an image can't be read, or there is no image.
          RunError: a logit is not finite.
        """
        photos = as_photos(images, self.image_size)
        return self.predict_photos({self.image_size: photos})

    @with_package_settings()
    def predict_photos(self, photos_of_size: Mapping[int, Photos]) -> Predictions:
        """Classify images that were read from files, and resized to the size the network takes.

        Args:
          photos_of_size: the images by size; only those of the size `image_size` are used.

        Raises:
          RunError: a logit is not finite.
        """
        photos = photos_of_size[self.image_size]
        logits = self.logits(photos.pixels)
        if not np.isfinite(logits).all():
            raise RunError(
                f"{self.config.network_title}: the logits are not finite numbers; train with a "
                "lower learning rate"
            )
        return Predictions.from_probabilities(softmax(logits), self.class_names, photos.names)

    @with_package_settings()
    def features(self, images: Any) -> np.ndarray:
        """Return the inputs of the network's last dense layer, `[N, D] float32`.

        Such a vector of features describes an image, for example for t-SNE, for finding similar
        images, or for a linear classifier.

        Args:
          images: images in any form that `predict` takes, such as an array or a folder.

        Raises:
          UsageError: an image can't be read, or no dense layer computes the network's logits.
          RunError: a feature is not finite.
        """
        pixels = as_pixels(images, self.image_size)
        title = self.config.network_title
        activity = f"features of {len(pixels):,} images"
        with report_memory_shortage(activity, "give fewer at a time"):
            batches = list(last_features(self._program, self.variables, self._hyper, pixels, title))
        return np.concatenate(batches)


def _padded_count(image_count: int) -> int:
    """Round a number of images up, so that programs for few different numbers are compiled.

    A number up to `EVAL_BATCH` becomes a power of two, a larger number a multiple of `EVAL_BATCH`.
    """
    if image_count > EVAL_BATCH:
        batches = math.ceil(image_count / EVAL_BATCH)
        return batches * EVAL_BATCH
    exponent = (image_count - 1).bit_length()
    return 2**exponent


@partial(jax.jit, static_argnums=0)
def _training_logits(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    pixels: jax.Array,
    key: jax.Array,
) -> jax.Array:
    images = augment.normalize(augment.pixels(pixels), hyper.mean, hyper.std)
    model = network.copy_for_one_device(program.model)
    logits, _ = network.forward(
        model, variables, images, key, device_axis=None, product_dtype=program.product_dtype
    )
    return logits


def softmax(logits: np.ndarray) -> np.ndarray:
    """Return the softmax of logits `[N, classes]`: probabilities of the same shape."""
    exponentials = np.exp(logits - logits.max(-1, keepdims=True))
    return exponentials / exponentials.sum(-1, keepdims=True)
