"""A batch shared by the devices along one mapped axis; the axis None is a device alone.

What is random is drawn for each example by its position in the whole batch, and sums are taken over
all devices, so that results do not depend on how many there are.
"""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jax.flatten_util import ravel_pytree

AnyArray = jax.Array | np.ndarray  # on the devices or on the host
PyTree = Any
AXIS = "data"


def place_on_devices(tree: PyTree, sharding: jax.sharding.Sharding) -> PyTree:
    """Put arrays that every process has alike on the devices of all of them."""

    def put(array: Any) -> jax.Array:
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            return jax.random.wrap_key_data(put(jax.random.key_data(array)))
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(put, tree)


def device_count(axis: str | None) -> int:
    """How many share a batch."""
    return lax.axis_size(axis) if axis else 1


def batch_positions(count: int, axis: str | None) -> jax.Array:
    """Of this device's `count` examples in the batch: `[count] int32`."""
    first = lax.axis_index(axis) * count if axis else 0
    return first + jnp.arange(count, dtype=jnp.int32)


def example_keys(key: jax.Array, count: int, axis: str | None) -> jax.Array:
    """A random key for each of this device's `count` examples, `[count]`."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, batch_positions(count, axis))


def device_key(key: jax.Array, axis: str | None) -> jax.Array:
    """A random key for what this device draws without regard to places."""
    return jax.random.fold_in(key, lax.axis_index(axis) if axis else 0)


def sum_over_devices(tree: PyTree, axis: str | None) -> PyTree:
    """Sums of arrays over the devices, in one exchange."""
    if axis is None:
        return tree
    flat, unflatten = ravel_pytree(tree)
    return unflatten(lax.psum(flat, axis))


def sum_and_mean_over_devices(
    summed: PyTree, averaged: PyTree, axis: str | None
) -> tuple[PyTree, PyTree]:
    """Sums of some arrays over the devices and means of others, in one exchange.

    Of what is averaged, arrays that are not floats stay what they are.
    """
    leaves, structure = jax.tree.flatten(averaged)
    floats = {i: leaf for i, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)}
    summed, floats = sum_over_devices((summed, floats), axis)
    for i, leaf in floats.items():
        leaves[i] = leaf / device_count(axis)
    return summed, jax.tree.unflatten(structure, leaves)
