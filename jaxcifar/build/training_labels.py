"""Settings that concern the training labels: label noise, class weights and mixed images."""

import dataclasses
from typing import Any

import jax
import numpy as np

from jaxcifar.build.hyperparameters import host_array, make_hyperparameters
from jaxcifar.config.class_weights import BALANCED, NO_WEIGHTS, parse_class_weights
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.config.registry import did_you_mean
from jaxcifar.data import Dataset
from jaxcifar.training.mixing import MixingSettings
from jaxcifar.training.state import Hyperparameters

_NOISE_STREAM = 2017  # keeps the random numbers apart from those of the split


def training_hyperparameters(
    config: Config, dataset: Dataset, steps_per_epoch: int
) -> Hyperparameters:
    """Return all hyper-parameters of a run, as arrays on the host.

    Unlike `make_hyperparameters`, this function adds the arrays that need the data set: the arrays
    for class weights, label noise and mixed images.

    Raises:
      UsageError: a weight is for a class that the images do not have, the run has too many steps,
        or a user's schedule fails.
    """
    hyper = make_hyperparameters(config, dataset, steps_per_epoch)
    settings_for_labels: dict[str, Any] = {}
    labels, num_classes = dataset.train.labels, dataset.num_classes
    if config.label_noise > 0:
        labels = noisy_labels(labels, num_classes, config.label_noise, config.seed)
        settings_for_labels["labels"] = host_array(labels)
    if config.class_weights != NO_WEIGHTS:
        weights = class_weights(config, labels, dataset.class_names)
        settings_for_labels["class_weights"] = host_array(weights)
    if config.mixup > 0 or config.cutmix > 0:
        settings_for_labels["mixing"] = MixingSettings(
            mixup=_array_unless_zero(config.mixup),
            cutmix=_array_unless_zero(config.cutmix),
            num_classes=num_classes,
        )
    return dataclasses.replace(hyper, **settings_for_labels)


def _array_unless_zero(value: float) -> jax.Array | None:
    """Return a setting as an array; None for 0, so that the program leaves its computation out."""
    return host_array(np.float32(value)) if value > 0 else None


def noisy_labels(labels: np.ndarray, num_classes: int, fraction: float, seed: int) -> np.ndarray:
    """Return labels `[N] int32` in which a random fraction is replaced by random labels.

    New labels are uniform over all classes, so some stay right by chance: one in ten with ten
    classes. Zhang et al., "Understanding deep learning requires rethinking generalization", 2017.

    Args:
      labels: the true labels.
      num_classes: number of classes.
      fraction: fraction of the labels to replace, in [0, 1].
      seed: seed of the run; the same seed gives the same labels.
    """
    rng = np.random.RandomState([seed, _NOISE_STREAM])  # its stream is frozen across versions
    order = rng.permutation(len(labels))
    replaced_indices = order[: round(fraction * len(labels))]
    new_labels = labels.copy()
    new_labels[replaced_indices] = rng.randint(0, num_classes, len(replaced_indices))
    return new_labels


def class_weights(config: Config, labels: np.ndarray, class_names: tuple[str, ...]) -> np.ndarray:
    """Return the weight of each class in the loss, `[classes] float32`.

    A class without a weight in the config has weight 1. Balanced weights are
    `images / (classes * images of the class)`. So all classes have the same total weight, and the
    mean weight of an image is 1. A class without training images counts as if it had one.

    Args:
      config: settings of the run.
      labels: the labels that the run trains on.
      class_names: names of the classes, by label.

    Raises:
      UsageError: a weight is for a class that the images do not have.
    """
    if config.class_weights == BALANCED:
        class_sizes = np.bincount(labels, minlength=len(class_names))
        sizes_of_at_least_1 = np.maximum(class_sizes, 1)
        weights = len(labels) / (len(class_names) * sizes_of_at_least_1)
        return weights.astype(np.float32)
    weight_of_name = parse_class_weights(config.class_weights)
    for name in weight_of_name:
        if name not in class_names:
            hint = did_you_mean(name, class_names)
            known_names = f"{', '.join(class_names):.500}"
            reason = f"no class has this name; {hint}there are {known_names}"
            reject("class_weights", f"{name:.80}", reason)
    return np.asarray([weight_of_name.get(name, 1.0) for name in class_names], np.float32)
