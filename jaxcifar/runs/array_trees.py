"""Trees of arrays: the names of their arrays, and how two trees differ."""

from typing import Any

import jax
import numpy as np

from jaxcifar.machine.sharing import PyTree

_MAX_SHOWN = 3  # differences in a message: another network differs in every layer


def named_arrays(tree: PyTree) -> dict[str, Any]:
    """Return the arrays of a tree by path, such as `params/Conv_0/kernel`, in the tree's order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}


def describe_differences(found: PyTree, expected: PyTree, any_float: bool = False) -> str:
    """Return text that names the first arrays in which two trees differ; "" if none differ.

    Args:
      found: a tree whose leaves have a shape and a dtype, such as arrays or orbax's metadata.
      expected: a tree of the same kind.
      any_float: True if floating-point types count as equal.
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
