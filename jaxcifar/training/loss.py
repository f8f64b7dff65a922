"""The loss that training minimises."""

import jax
import jax.numpy as jnp
import optax
from jax import Array

from jaxcifar.array_types import Float, Float32, Integer


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
