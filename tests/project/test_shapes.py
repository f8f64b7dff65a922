"""Shapes in signatures are checked in the tests, and public functions of arrays have them."""

import importlib
import importlib.util
import inspect
import pkgutil
import subprocess
import sys
from functools import cache
from typing import get_args

import checked_types
import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pyarrow
import pytest
from conftest import ROOT

from jaxcifar.data.split import stratified_split
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.networks.layers import Conv

WITHOUT_SHAPES = (jax.Array, np.ndarray)


@cache
def modules():
    """All modules whose calls are checked."""
    found = []
    for room in checked_types.PACKAGES:
        top = importlib.import_module(f"jaxcifar.{room}")
        inner = pkgutil.iter_modules(getattr(top, "__path__", ()), f"{top.__name__}.")
        found += [top, *(importlib.import_module(module.name) for module in inner)]
    return [module for module in found if module.__name__ not in checked_types.PARSERS]


def public_names():
    """Name and function or class, of modules and of public classes."""
    for module in modules():
        for name, value in public(module):
            yield f"{module.__name__}.{name}", value
            if isinstance(value, type):
                for method, function in [*public(value), ("__call__", vars(value).get("__call__"))]:
                    yield f"{module.__name__}.{name}.{method}", function


def public(owner):
    """Public functions and classes that a module or class defines itself."""
    module = getattr(owner, "__module__", owner.__name__)
    for name, value in vars(owner).items():
        if not name.startswith("_") and getattr(value, "__module__", module) == module:
            yield name, getattr(value, "__func__", getattr(value, "fget", value))


IMPORTED_FOR_TYPES_ONLY = {"pa": pyarrow}  # under TYPE_CHECKING, where it is imported on demand


def array_without_shape(hint):
    """Whether an array is all that a type, or a part of it, says."""
    return hint in WITHOUT_SHAPES or any(map(array_without_shape, get_args(hint)))


def lacking(function):
    """Arguments, or fields of a class, whose types lack a shape; "return" for the result."""
    if not callable(function):
        return []
    hints = inspect.get_annotations(
        inspect.unwrap(function), locals=IMPORTED_FOR_TYPES_ONLY, eval_str=True
    )
    return [name for name, hint in hints.items() if array_without_shape(hint)]


def test_public_functions_say_the_shapes_of_their_arrays():
    found = dict(public_names())
    a_few = ("data.examples.Examples", "kernels.convolution.conv2d", "networks.cnn.CNN.__call__")
    assert {f"jaxcifar.{name}" for name in a_few} <= {*found}
    assert {name: names for name, f in found.items() if (names := lacking(f))} == {}


def test_an_array_without_a_shape_is_found():
    def function(x: jax.Array, y: dict[str, np.ndarray], z: int) -> list[jax.Array | None]: ...

    def with_shapes(x: jaxtyping.Float[jax.Array, "..."], y: int) -> None: ...

    assert lacking(function) == ["x", "y", "return"]
    assert lacking(with_shapes) == []


@pytest.mark.parametrize(
    "call",
    [
        lambda: stratified_split(np.zeros((3, 2), int), 0.5),
        lambda: stratified_split(np.zeros(3), 0.5),
        lambda: conv2d(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 4, 5))),
        lambda: jax.jit(conv2d)(jnp.ones((1, 8, 8, 3)), jnp.ones((3, 3, 4, 5))),
        lambda: Conv(4).init(jax.random.key(0), jnp.ones((8, 8, 3))),
    ],
    ids=["one axis too many", "floats for integers", "sizes that differ", "jit", "method"],
)
def test_a_wrong_array_is_refused_in_the_tests(call):
    with pytest.raises(jaxtyping.TypeCheckError):
        call()


LYING = """
import numpy as np

from jaxcifar.array_types import Float


def doubled(x: Float[np.ndarray, "images"]) -> Float[np.ndarray, "images"]:
    return np.concatenate([x, x])


def sums(x: Float[np.ndarray, "images classes"]) -> list[Float[np.ndarray, "classes"]]:
    return [x.sum(1)]
"""


def test_a_signature_with_the_wrong_shape_is_noticed(tmp_path, monkeypatch):
    (tmp_path / "jaxcifar_lying.py").write_text(LYING)
    monkeypatch.syspath_prepend(tmp_path)
    with jaxtyping.install_import_hook("jaxcifar_lying", "checked_types.checked"):
        lying = importlib.import_module("jaxcifar_lying")
    with pytest.raises(jaxtyping.TypeCheckError, match=r"return value of .*doubled"):
        lying.doubled(np.ones(3))
    with pytest.raises(jaxtyping.TypeCheckError, match=r"return value of .*sums"):
        lying.sums(np.ones((3, 2)))
    np.testing.assert_array_equal(lying.sums(np.ones((2, 2)))[0], [2, 2])


def test_in_use_no_shape_is_checked_and_nothing_is_imported_for_it():
    program = """
import sys
import numpy as np
from jaxcifar.array_types import Float
from jaxcifar.data.split import stratified_split
from jaxcifar.kernels.convolution import conv2d
assert not {"jaxtyping", "beartype"} & {*sys.modules}
assert Float[np.ndarray, "images classes"] is np.ndarray
assert stratified_split.__annotations__["labels"] is np.ndarray
assert not hasattr(stratified_split, "__wrapped__")
"""
    subprocess.run([sys.executable, "-c", program], cwd=ROOT, check=True)
