"""Pytrees of arrays: name their arrays, and describe how two pytrees differ."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.machine.sharing import PyTree, place_on_devices

_MAX_SHOWN_DIFFERENCES = 3  # differences in a message; two networks may differ in every layer


def named_arrays(tree: PyTree) -> dict[str, Any]:
    """Return the arrays of a pytree in a dict, in the order of the pytree.

    A key is the path of an array, such as `params/Conv_0/kernel`.
    """
    paths_and_leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in paths_and_leaves
    }


def describe_differences(actual: PyTree, expected: PyTree, ignore_float_dtype: bool = False) -> str:
    """Compare the arrays of two pytrees; return text that names up to three differences.

    An array may be missing, unexpected, or of another dtype or shape; values are not compared. The
    text is empty if there is no difference.

    Args:
      actual: a pytree whose leaves have a shape and a dtype, such as arrays or orbax's metadata.
      expected: the pytree that `actual` is compared with.
      ignore_float_dtype: True if all floating-point dtypes count as equal.
    """
    actual_arrays, expected_arrays = named_arrays(actual), named_arrays(expected)
    differences = []
    for name in {**expected_arrays, **actual_arrays}:
        array, expected_array = actual_arrays.get(name), expected_arrays.get(name)
        if array is None:
            differences.append(f"{name} is missing")
        elif expected_array is None:
            differences.append(f"{name} is not expected")
        elif not _have_same_shape_and_dtype(array, expected_array, ignore_float_dtype):
            differences.append(
                f"{name} is {_dtype_and_shape(array)}, not {_dtype_and_shape(expected_array)}"
            )
    # Parameters first: other differences follow from them.
    parameter_differences = [text for text in differences if text.startswith("params/")]
    other_differences = [text for text in differences if not text.startswith("params/")]
    shown_differences = [*parameter_differences, *other_differences][:_MAX_SHOWN_DIFFERENCES]
    hidden_count = len(differences) - len(shown_differences)
    if hidden_count > 0:
        shown_differences.append(f"and {hidden_count} more")
    return "; ".join(shown_differences)


def _have_same_shape_and_dtype(array: Any, expected: Any, ignore_float_dtype: bool) -> bool:
    """Return True if two arrays have the same shape and dtype.

    If `ignore_float_dtype` is True, all floating-point dtypes count as equal.
    """
    if tuple(array.shape) != tuple(expected.shape):
        return False
    if array.dtype == expected.dtype:
        return True
    are_both_floats = np.dtype(array.dtype).kind == "f" and np.dtype(expected.dtype).kind == "f"
    return ignore_float_dtype and are_both_floats


def _dtype_and_shape(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def random_keys_to_numbers(tree: PyTree) -> PyTree:
    """Return a pytree in which each JAX random key is replaced by `{generator name: key data}`.

    Checkpoint files hold numbers only. The generator's name, such as "threefry2x32", becomes part
    of the array's path. So a key of another generator is noticed when a checkpoint is read.
    """

    def key_to_numbers(leaf: Any) -> Any:
        if not _is_random_key(leaf):
            return leaf
        generator_name = str(jax.random.key_impl(leaf))
        numbers_by_generator = {generator_name: jax.random.key_data(leaf)}
        return numbers_by_generator

    return jax.tree.map(key_to_numbers, tree)


def numbers_to_random_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Return a pytree with JAX random keys made of numbers; undoes `random_keys_to_numbers`.

    Args:
      tree: a pytree in which each random key is a dict `{generator name: key data}`.
      like: a pytree of the same structure that has random keys in place of the dicts.
    """

    def numbers_to_key(like_leaf: Any, leaf_or_numbers: Any) -> Any:
        if not _is_random_key(like_leaf):
            return leaf_or_numbers
        [key_data] = leaf_or_numbers.values()
        generator = jax.random.key_impl(like_leaf)
        return jax.random.wrap_key_data(jnp.asarray(key_data), impl=generator)

    return jax.tree.map(numbers_to_key, like, tree)


def place_on_devices_like(tree: PyTree, like: PyTree) -> PyTree:
    """Return a pytree whose arrays are on the same devices as the arrays of `like`."""

    def place(array: Any, like_array: jax.Array) -> Any:
        return place_on_devices(array, like_array.sharding)

    return jax.tree.map(place, tree, like)


def _is_random_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
