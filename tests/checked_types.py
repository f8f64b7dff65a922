"""Importing this module switches on checks of the array types and shapes in signatures.

The import hook of jaxtyping makes beartype check every call in the packages below. The hook acts on
modules that are imported later, so conftest.py imports this module first. Programs that the tests
start run without these checks.
"""

import sys
from collections.abc import Callable
from importlib.machinery import PathFinder
from typing import Any, get_args, get_origin

import flax.struct
import jax
import jaxtyping
import numpy as np
from beartype import BeartypeConf, beartype

PACKAGES = ("kernels", "networks", "training", "data", "evaluation")
# Parsers call a function for every few bytes: checking each call would take minutes.
PARSERS = ("jaxcifar.data.plain_pickle", "jaxcifar.data.tar")
_by_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # accepts an int for a float


def checked(function):
    """Return the function with checks of its array arguments and results.

    mypy checks all other types.
    """
    hints = function.__annotations__
    if not any(map(holds_array, hints.values())):
        return function
    function.__annotations__ = {
        name: hint if holds_array(hint) else Any for name, hint in hints.items()
    }
    return _by_beartype(function)


def holds_array(hint):
    """Return True if a type is an array type or contains an array type."""
    if get_origin(hint) is Callable:  # its arguments and result can't be checked
        return False
    arrays = (jax.Array, np.ndarray, jaxtyping.AbstractArray)
    if isinstance(hint, type) and issubclass(hint, arrays):
        return True
    return any(map(holds_array, get_args(hint)))


_original_flax_dataclass = flax.struct.dataclass


def _flax_dataclass_without_checks(cls, **options):
    """Return a Flax dataclass whose constructor is not checked.

    JAX's transformations create such objects with placeholders in place of arrays.
    """
    dataclass = _original_flax_dataclass(cls, **options)
    dataclass.__no_type_check__ = True
    return dataclass


class _WithoutChecks(PathFinder):
    """Finds the modules in `PARSERS` before jaxtyping's import hook does, so it skips them."""

    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return super().find_spec(fullname, path, target) if fullname in PARSERS else None


flax.struct.dataclass = _flax_dataclass_without_checks
jaxtyping.install_import_hook(
    [f"jaxcifar.{package}" for package in PACKAGES], f"{__name__}.checked"
)
sys.meta_path.insert(0, _WithoutChecks)
