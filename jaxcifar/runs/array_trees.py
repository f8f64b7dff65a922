"""Pytrees of arrays: name their arrays, and describe how two pytrees differ."""

from typing import Any

import jax
import numpy as np

from jaxcifar.machine.sharing import PyTree

_MAX_SHOWN = 3  # differences in a message; two networks may differ in every layer


def named_arrays(tree: PyTree) -> dict[str, Any]:
    """Return a pytree's arrays by path, such as `params/Conv_0/kernel`, in the pytree's order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def describe_differences(found: PyTree, expected: PyTree, any_float: bool = False) -> str:
    """Return text about up to three arrays that are missing or differ; "" if all are alike.

    Args:
      found: a pytree whose leaves have a shape and a dtype, such as arrays or orbax's metadata.
      expected: the pytree that `found` is compared with.
      any_float: True if all floating-point dtypes count as equal.
    """
    found_arrays, expected_arrays = named_arrays(found), named_arrays(expected)
    differences = []
    for name in {**expected_arrays, **found_arrays}:
        array, expected_array = found_arrays.get(name), expected_arrays.get(name)
        if array is None:
            differences.append(f"{name} is missing")
        elif expected_array is None:
            differences.append(f"{name} is not expected")
        elif not _are_alike(array, expected_array, any_float):
            differences.append(f"{name} is {_described(array)}, not {_described(expected_array)}")
    differences.sort(key=lambda line: not line.startswith("params/"))  # the others follow from them
    shown = differences[:_MAX_SHOWN]
    if len(differences) > _MAX_SHOWN:
        shown.append(f"and {len(differences) - _MAX_SHOWN} more")
    return "; ".join(shown)


def _are_alike(array: Any, expected: Any, any_float: bool) -> bool:
    kinds = {np.dtype(array.dtype).kind, np.dtype(expected.dtype).kind}
    same_dtype = array.dtype == expected.dtype or (any_float and kinds == {"f"})
    return same_dtype and tuple(array.shape) == tuple(expected.shape)


def _described(array: Any) -> str:
    return f"{array.dtype}{list(array.shape)}"
