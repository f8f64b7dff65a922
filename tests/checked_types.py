"""Arrays in signatures are checked, their shapes too, from the import of this module on.

The import hook of jaxtyping lets beartype check every call in the rooms below. It acts on modules
that are imported later, so conftest.py imports this module first. The programs that tests start run
without these checks.
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

ROOMS = (
    "kernels", "networks", "training", "data", "evaluation.calibration", "evaluation.mistakes",
)  # fmt: skip
# Parsers, which call a function for every few bytes: a check of each call would take minutes.
PARSERS = ("jaxcifar.data.plain_pickle", "jaxcifar.data.tar")
_by_beartype = beartype(conf=BeartypeConf(is_pep484_tower=True))  # an int passes for a float


def checked(function):
    """Check the arrays that a function is given and returns; mypy checks all other types."""
    hints = function.__annotations__
    if not any(map(holds_array, hints.values())):
        return function
    function.__annotations__ = {
        name: hint if holds_array(hint) else Any for name, hint in hints.items()
    }
    return _by_beartype(function)


def holds_array(hint):
    """Whether a type is that of an array or of something with arrays in it."""
    if get_origin(hint) is Callable:  # what it takes and returns can't be seen
        return False
    arrays = (jax.Array, np.ndarray, jaxtyping.AbstractArray)
    if isinstance(hint, type) and issubclass(hint, arrays):
        return True
    return any(map(holds_array, get_args(hint)))


def _flax_dataclass(cls, **options):
    """JAX makes such a class with all that stands for arrays in its transformations."""
    made = flax_dataclass(cls, **options)
    made.__no_type_check__ = True
    return made


class _WithoutChecks(PathFinder):
    @classmethod
    def find_spec(cls, fullname, path=None, target=None):
        return super().find_spec(fullname, path, target) if fullname in PARSERS else None


flax_dataclass = flax.struct.dataclass
flax.struct.dataclass = _flax_dataclass
jaxtyping.install_import_hook([f"jaxcifar.{room}" for room in ROOMS], f"{__name__}.checked")
sys.meta_path.insert(0, _WithoutChecks)
