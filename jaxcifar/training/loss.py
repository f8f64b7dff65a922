"""The loss that training minimises."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxcifar.array_types import Float, Float32, Integer
from jaxcifar.machine import sharing
from jaxcifar.training.mixing import Targets, distributions


def training_losses(
    logits: Float32[Array, "batch classes"],
    targets: Targets,
    smoothing: Float[Array, ""] | float,
    class_weights: Float32[Array, "classes"] | None = None,
) -> Float32[Array, "batch"]:
    """Return the training loss of each image: its cross-entropy in nats.

    The cross-entropy is a sum over the classes. With class weights, the term of each class is
    multiplied by the weight of the class. The sum of a batch's losses, divided by `total_weight`,
    equals PyTorch's `CrossEntropyLoss(weight=class_weights, label_smoothing=smoothing)`.

    Args:
      logits: logits of the images.
      targets: labels, or distributions over the classes.
      smoothing: amount of smoothing, in [0, 1).
      class_weights: weight of each class, or None.
    """
    targets_are_labels = targets.ndim == 1
    if targets_are_labels and class_weights is None:
        return smoothed_cross_entropy(logits, targets, smoothing)
    num_classes = logits.shape[-1]
    smoothed_targets = (1 - smoothing) * distributions(targets, num_classes)
    smoothed_targets += smoothing / num_classes
    weights = 1.0 if class_weights is None else class_weights
    weighted_targets = weights * smoothed_targets
    return -(weighted_targets * jax.nn.log_softmax(logits)).sum(-1)


def total_weight(
    targets: Targets,
    class_weights: Float32[Array, "classes"] | None,
    batch_size: int,
    axis: str | None,
) -> Float32[Array, ""] | int:
    """Return the divisor that turns the sum of a batch's losses into the mean loss.

    The divisor is the batch size or, with class weights, the sum of the images' weights. A mixed
    image has the mean weight of its classes.

    Args:
      targets: targets of this device's part of the batch.
      class_weights: weight of each class, or None.
      batch_size: number of images in the batch of all devices.
      axis: name of the mapped axis of devices that share the batch, or None.
    """
    if class_weights is None:
        return batch_size
    shares_of_classes = distributions(targets, len(class_weights))
    image_weights = (shares_of_classes * class_weights).sum(-1)
    return sharing.sum_over_devices(image_weights.sum(), axis)


def smoothed_cross_entropy(
    logits: Float32[Array, "batch classes"],
    labels: Integer[Array, "batch"],
    smoothing: Float[Array, ""] | float,
) -> Float32[Array, "batch"]:
    """Return the cross-entropy of each image with label smoothing, in nats.

    Each class gets the target `smoothing / classes`, and the true class gets `1 - smoothing` in
    addition. Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.

    Args:
      logits: logits of the images.
      labels: true class of each image.
      smoothing: amount of smoothing, in [0, 1).
    """
    true_class_loss = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    mean_loss_of_classes = jax.nn.logsumexp(logits, -1) - jnp.mean(logits, -1)
    return (1 - smoothing) * true_class_loss + smoothing * mean_loss_of_classes
