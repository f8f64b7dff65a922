"""Metrics. Pytest does not rewrite this file, so it can be found and hashed."""

import jax.numpy as jnp


def smallest(logits, labels):
    return jnp.abs(logits).min(1)
