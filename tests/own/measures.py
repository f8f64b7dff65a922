"""Metrics. Pytest does not rewrite this file, so it can be found and hashed."""

import jax.numpy as jnp

from jaxcifar.training.metrics import Metric


def smallest(logits, labels):
    return jnp.abs(logits).min(1)


least = Metric("least", "least", "", higher_is_better=False, per_image=smallest)
