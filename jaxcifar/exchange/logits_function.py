"""The function that is exported, and random images on which an export is compared with it."""

from collections.abc import Callable
from typing import Any

import jax
import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment, network

LogitsFunction = Callable[[Any, jax.Array], jax.Array]  # from variables and images to logits


def logits_function(classifier: Classifier) -> LogitsFunction:
    """Return a function that computes a network's logits from its variables and uint8 images.

    The function normalises the images as in training.
    """
    model = create_model(classifier.config, len(classifier.class_names))

    def logits(variables: network.Variables, images: jax.Array) -> jax.Array:
        normalized = augment.normalize(augment.pixels(images), classifier.mean, classifier.std)
        return network.predict(model, variables, normalized)

    return logits


def random_images(count: int, image_shape: tuple[int, ...]) -> np.ndarray:
    """Return `count` images of random pixels, `uint8`; they are the same in each call."""
    pixels = np.random.RandomState(0).randint(0, 256, (count, *image_shape))
    return pixels.astype(np.uint8)
