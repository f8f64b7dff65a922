"""Sharing each batch between devices, along one mapped axis of a JAX program.

Results must not depend on the number of devices. So random numbers are drawn for each example by
its position in the whole batch, and sums are taken over all devices. In all functions here, the
axis None means a program for a single device.
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
    """Place arrays on the devices of all processes, and return the placed arrays.

    Args:
      tree: arrays, with the same values in all processes; random keys are allowed.
      sharding: the devices, and how they share each array.
    """

    def place_array(array: Any) -> jax.Array:
        if jnp.issubdtype(array.dtype, jax.dtypes.prng_key):
            generator = jax.random.key_impl(array)
            return jax.random.wrap_key_data(place_array(jax.random.key_data(array)), impl=generator)
        array = np.asarray(array)
        return jax.make_array_from_callback(array.shape, sharding, array.__getitem__)

    return jax.tree.map(place_array, tree)


def device_count(device_axis: str | None) -> int:
    """Return the number of devices on a mapped axis, which share each batch; 1 for None."""
    return lax.axis_size(device_axis) if device_axis else 1


def batch_positions(
    examples_per_device: int, device_axis: str | None, parts_per_batch: int = 1
) -> jax.Array:
    """Return the positions of this device's examples in the whole batch, `[count] int32`.

    A batch may be computed in parts, one after another. All devices share each part. The result
    begins with the positions of this device's examples in the first part.

    Args:
      examples_per_device: number of examples of the batch on each device.
      device_axis: name of the mapped axis of the devices; None for a single device.
      parts_per_batch: number of parts in which the batch is computed.
    """
    if parts_per_batch == 1:
        return _positions_in_part(examples_per_device, device_axis)
    examples_per_part = examples_per_device // parts_per_batch  # on each device
    positions_in_part = _positions_in_part(examples_per_part, device_axis)
    part_length = examples_per_part * device_count(device_axis)
    part_starts = jnp.arange(parts_per_batch, dtype=jnp.int32) * part_length
    positions_by_part = part_starts[:, None] + positions_in_part
    return positions_by_part.ravel()


def _positions_in_part(examples_per_device: int, device_axis: str | None) -> jax.Array:
    """Return the positions of this device's examples in a part that all devices share."""
    first_position = lax.axis_index(device_axis) * examples_per_device if device_axis else 0
    return first_position + jnp.arange(examples_per_device, dtype=jnp.int32)


def example_keys(
    key: jax.Array, examples_per_device: int, device_axis: str | None, parts_per_batch: int = 1
) -> jax.Array:
    """Return a random key for each of this device's examples.

    A key depends on the example's position in the batch of all devices.

    Args:
      key: random key of the batch.
      examples_per_device: number of examples on each device.
      device_axis: name of the mapped axis; None for a single device.
      parts_per_batch: number of parts in which the batch is computed (see `batch_positions`).
    """
    return keys_at(key, batch_positions(examples_per_device, device_axis, parts_per_batch))


def keys_at(key: jax.Array, positions: jax.Array) -> jax.Array:
    """Return a random key for each position in a batch."""
    return jax.vmap(jax.random.fold_in, (None, 0))(key, positions)


def next_examples(tree: PyTree, device_axis: str | None, parts_per_batch: int = 1) -> PyTree:
    """Return arrays in which each example is replaced by the next example of the batch.

    The last example of the batch is replaced by the first example. The next example may be on
    another device.

    Args:
      tree: arrays whose first axis counts this device's examples.
      device_axis: name of the mapped axis of the devices; None for a single device.
      parts_per_batch: number of parts in which the batch is computed (see `batch_positions`).
    """

    def next_of_each(examples: jax.Array) -> jax.Array:
        example_shape = examples.shape[1:]
        examples_by_part = examples.reshape(parts_per_batch, -1, *example_shape)
        first_example_by_part = examples_by_part[:, :1]
        after_last_by_part = _examples_after_last(first_example_by_part, device_axis)
        later_examples_by_part = examples_by_part[:, 1:]
        next_by_part = jnp.concatenate([later_examples_by_part, after_last_by_part], axis=1)
        return next_by_part.reshape(examples.shape)

    return jax.tree.map(next_of_each, tree)


def _examples_after_last(first_examples: jax.Array, device_axis: str | None) -> jax.Array:
    """Return for each part of the batch the example after this device's last, `[parts, 1, ...]`.

    This is the first example of the next device. After the last device, it is the first example of
    the next part, which the first device has.

    Args:
      first_examples: this device's first example of each part, `[parts, 1, ...]`.
      device_axis: name of the mapped axis of the devices; None for a single device.
    """
    first_examples_of_next_part = jnp.roll(first_examples, -1, axis=0)
    if device_axis is None:
        return first_examples_of_next_part
    devices = device_count(device_axis)
    senders_and_receivers = []
    for receiver in range(devices):
        next_device = (receiver + 1) % devices
        senders_and_receivers.append((next_device, receiver))
    is_first_device = lax.axis_index(device_axis) == 0
    sent_examples = jnp.where(is_first_device, first_examples_of_next_part, first_examples)
    return lax.ppermute(sent_examples, device_axis, senders_and_receivers)


def device_key(key: jax.Array, device_axis: str | None) -> jax.Array:
    """Return a random key that differs between the devices of a mapped axis.

    Random numbers drawn with it depend on the number of devices.
    """
    return jax.random.fold_in(key, lax.axis_index(device_axis) if device_axis else 0)


def sum_over_devices(tree: PyTree, device_axis: str | None) -> PyTree:
    """Return the sum of each array over the devices on a mapped axis, in one exchange.

    If `device_axis` is None, for a single device, the arrays are returned unchanged.
    """
    if device_axis is None:
        return tree
    # One array of one dtype: counts travel as floats, which are exact for fewer than 2**24 images.
    flat_array, unflatten = ravel_pytree(tree)
    return unflatten(lax.psum(flat_array, device_axis))


def sum_and_mean_over_devices(
    summed: PyTree, averaged: PyTree, device_axis: str | None
) -> tuple[PyTree, PyTree]:
    """Return sums of some arrays and means of others over the devices, in one exchange.

    Args:
      summed: arrays to sum.
      averaged: arrays to average; arrays of integers are returned unchanged.
      device_axis: name of the mapped axis; None for a single device.

    Returns:
      the sums and the means.
    """
    leaves, structure = jax.tree.flatten(averaged)
    floats_by_index = {
        index: leaf for index, leaf in enumerate(leaves) if jnp.issubdtype(leaf.dtype, jnp.floating)
    }
    sums, float_sums_by_index = sum_over_devices((summed, floats_by_index), device_axis)
    for index, leaf_sum in float_sums_by_index.items():
        leaves[index] = leaf_sum / device_count(device_axis)
    return sums, jax.tree.unflatten(structure, leaves)
