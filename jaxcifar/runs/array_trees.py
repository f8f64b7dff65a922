"""Pytrees of arrays: name their arrays, and describe how two pytrees differ."""

from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.machine.sharing import PyTree

_MAX_SHOWN = 3  # differences in a message; two networks may differ in every layer


def named_arrays(tree: PyTree) -> dict[str, Any]:
    """Return a pytree's arrays by path, such as `params/Conv_0/kernel`, in the pytree's order."""
    paths_and_leaves, _ = jax.tree_util.tree_flatten_with_path(tree)
    return {
        jax.tree_util.keystr(path, simple=True, separator="/"): leaf
        for path, leaf in paths_and_leaves
    }


def describe_differences(actual: PyTree, expected: PyTree, any_float: bool = False) -> str:
    """Return text about up to three arrays that are missing or differ; "" if all are alike.

    Args:
      actual: a pytree whose leaves have a shape and a dtype, such as arrays or orbax's metadata.
      expected: the pytree that `actual` is compared with.
      any_float: True if all floating-point dtypes count as equal.
    """
    actual_arrays, expected_arrays = named_arrays(actual), named_arrays(expected)
    differences = []
    for name in {**expected_arrays, **actual_arrays}:
        array, expected_array = actual_arrays.get(name), expected_arrays.get(name)
        if array is None:
            differences.append(f"{name} is missing")
        elif expected_array is None:
            differences.append(f"{name} is not expected")
        elif not _are_alike(array, expected_array, any_float):
            differences.append(
                f"{name} is {_dtype_and_shape(array)}, not {_dtype_and_shape(expected_array)}"
            )
    # Parameters first: other differences follow from them.
    differences.sort(key=lambda difference: not difference.startswith("params/"))
    shown_differences = differences[:_MAX_SHOWN]
    if len(differences) > _MAX_SHOWN:
        shown_differences.append(f"and {len(differences) - _MAX_SHOWN} more")
    return "; ".join(shown_differences)


def _are_alike(array: Any, expected: Any, any_float: bool) -> bool:
    dtype_kinds = {np.dtype(array.dtype).kind, np.dtype(expected.dtype).kind}
    are_both_floats = dtype_kinds == {"f"}
    same_dtype = array.dtype == expected.dtype or (any_float and are_both_floats)
    return same_dtype and tuple(array.shape) == tuple(expected.shape)


def _dtype_and_shape(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"


def without_keys(tree: PyTree) -> PyTree:
    """Return a pytree in which each random key is a dict: kind of random generator -> key data.

    Files hold numbers only. The kind, such as "threefry2x32", is part of the array's name, so that
    a key of another kind is found to differ.
    """

    def converted(leaf: Any) -> Any:
        if not _is_key(leaf):
            return leaf
        return {str(jax.random.key_impl(leaf)): jax.random.key_data(leaf)}

    return jax.tree.map(converted, tree)


def with_keys(tree: PyTree, like: PyTree) -> PyTree:
    """Return a pytree with the random keys of `like`; the inverse of `without_keys`."""

    def converted(like_leaf: Any, leaf: Any) -> Any:
        if not _is_key(like_leaf):
            return leaf
        [data] = leaf.values()
        return jax.random.wrap_key_data(jnp.asarray(data), impl=jax.random.key_impl(like_leaf))

    return jax.tree.map(converted, like, tree)


def _is_key(leaf: Any) -> bool:
    return jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key)
