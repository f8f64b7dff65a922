"""What training makes small."""

import jax
import jax.numpy as jnp
import optax


def smoothed_cross_entropy(
    logits: jax.Array, labels: jax.Array, smoothing: jax.Array | float
) -> jax.Array:
    """Cross-entropy with targets of `1 - smoothing` at the label and `smoothing / K` at all.

    Szegedy et al., "Rethinking the Inception architecture for computer vision", 2016.

    Args:
      logits: `[B, K] float32`.
      labels: `[B] int32`.
      smoothing: scalar in [0, 1).

    Returns:
      `[B] float32`.
    """
    losses = optax.softmax_cross_entropy_with_integer_labels(logits, labels)
    of_all = jax.nn.logsumexp(logits, -1) - jnp.mean(logits, -1)
    return (1 - smoothing) * losses + smoothing * of_all
