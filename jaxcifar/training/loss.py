"""What training makes small."""

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
    """Cross-entropy with targets of `1 - smoothing` at the label and `smoothing / classes` at all.

    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.

    Args:
      logits: of images.
      labels: the right class of each.
      smoothing: in [0, 1).

    Returns:
      the loss of each image.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    of_all = jax.nn.logsumexp(logits, -1) - jnp.mean(logits, -1)
    return (1 - smoothing) * losses + smoothing * of_all
