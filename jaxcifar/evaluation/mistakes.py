"""Slips of evaluating code that make a good network look bad, each tried on the same weights."""

from collections.abc import Callable
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.array_types import Float32, UInt8
from jaxcifar.runs.evaluation_file import NORMALISED, NOT_NORMALISED
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment

Predict = Callable[
    [UInt8[np.ndarray, "images 32 32 3"]], Float32[np.ndarray, "images classes"]
]  # logits of images

_KEY = 17  # never the run's seed, so that all runs see the same images
_SHIFT = 4  # pixels, the reference's augmentation
_BATCHES = (1, 512)


def slips(classifier: Classifier) -> dict[str, Predict]:
    """What a network answers where whoever evaluates it slips, by the slip's name.

    - Images normalised although training did without, or the other way round.
    - Images brought to [-1, 1] by a mean and deviation of 0.5, as many examples have it.
    - Pixels from 0 to 255 where the network was trained on 0 to 1, normalised as in training.
    - Red and blue swapped, as OpenCV reads images.
    - Random shifts and flips, meant for training images.
    - The network left in training mode: BatchNorm takes the statistics of the batch, and dropout
      drops, so that the answers depend on how many images are evaluated at once.
    """
    mean, std = np.asarray(classifier.mean), np.asarray(classifier.std)
    normalized = bool((mean != 0).any() or (std != 1).any())
    statistics = [classifier.result.get(f"channel_{name}") for name in ("mean", "std")]
    found: dict[str, Predict] = {}
    if normalized:
        found[NOT_NORMALISED] = classifier.with_normalization(np.zeros(3), np.ones(3)).logits
    elif None not in statistics:
        normalised = classifier.with_normalization(*map(np.asarray, statistics))
        found[NORMALISED] = normalised.logits
    half = np.full(3, 0.5)
    found["normalised by 0.5"] = classifier.with_normalization(half, half).logits
    found["pixels 0 to 255"] = classifier.with_normalization(mean / 255, std / 255).logits
    found["red and blue swapped"] = lambda images: classifier.logits(images[..., ::-1])
    found["shifted and flipped"] = lambda images: classifier.logits(augmented(images))
    for count in _BATCHES:
        found[f"training mode, {count} at once"] = partial(in_training, classifier, count)
    return found


def augmented(
    images: UInt8[np.ndarray, "images height width 3"],
) -> UInt8[np.ndarray, "images height width 3"]:
    """Images as training by the reference sees them, always the same."""
    keys = jax.random.split(jax.random.key(_KEY), len(images))
    how = augment.Augmenting(
        enabled=jnp.asarray(True),
        shift=jnp.int32(_SHIFT),
        reflect=jnp.asarray(False),
        alternate=jnp.asarray(False),
        cutout=jnp.int32(0),
        max_shift=_SHIFT,
    )
    turns = jnp.zeros(len(images), bool)
    return np.asarray(jax.jit(augment.shift_and_flip)(keys, images, how, turns))


def in_training(
    classifier: Classifier, count: int, images: UInt8[np.ndarray, "images height width 3"]
) -> Float32[np.ndarray, "images classes"]:
    """Logits of a network in training mode, `count` images at a time.

    The images are shuffled before, as a set may lie sorted by class.
    """
    order = np.random.RandomState(_KEY).permutation(len(images))
    shuffled, count = images[order], min(count, len(images))
    logits = []
    for first in range(0, len(images), count):
        begin = min(first, len(images) - count)  # the last batch is filled up from before
        key = jax.random.fold_in(jax.random.key(_KEY), first)
        answers = classifier.training_logits(shuffled[begin : begin + count], key)
        logits.append(answers[first - begin :])
    return np.concatenate(logits)[np.argsort(order)]
