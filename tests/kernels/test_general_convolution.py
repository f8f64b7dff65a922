"""Convolutions of any form by matrix products against the definition in double precision."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import ENLARGED_BY_TRANSFORMS, assert_near, error_of_products

from jaxcifar.kernels import general_convolution
from jaxcifar.kernels.general_convolution import (
    Geometry,
    can_convolve_by_products,
    convolve_by_products,
)

NO_PADDING = ((0, 0), (0, 0))


class Case(NamedTuple):
    """A convolution: shapes `[B, H, W, C]` and `[rows, columns, C / groups, K]`, and its form."""

    images: tuple
    kernel: tuple
    geometry: Geometry


CASES = {
    "5x5": Case((4, 9, 10, 12), (5, 5, 12, 16), Geometry((1, 1), ((2, 2), (2, 2)))),
    "5x5, pixels": Case((4, 9, 10, 3), (5, 5, 3, 8), Geometry((1, 1), ((2, 2), (2, 2)))),
    "5x5 to one output": Case((4, 5, 5, 12), (5, 5, 12, 8), Geometry((1, 1), NO_PADDING)),
    "4x4": Case((4, 8, 8, 12), (4, 4, 12, 8), Geometry((1, 1), ((1, 2), (1, 2)))),
    "7x7, stride 2, odd": Case((2, 13, 11, 12), (7, 7, 12, 8), Geometry((2, 2), ((3, 3), (3, 3)))),
    "7x7, stride 2, pixels": Case((2, 13, 11, 3), (7, 7, 3, 8), Geometry((2, 2), ((3, 3), (3, 3)))),
    "3x3, stride 3": Case((2, 10, 9, 12), (3, 3, 12, 8), Geometry((3, 3), ((1, 1), (1, 1)))),
    "4x4, stride 4, rest": Case((2, 10, 11, 12), (4, 4, 12, 8), Geometry((4, 4), NO_PADDING)),
    "2x2, stride 3": Case((2, 10, 11, 12), (2, 2, 12, 8), Geometry((3, 3), NO_PADDING)),
    "two strides": Case((2, 10, 11, 12), (3, 3, 12, 8), Geometry((2, 1), ((1, 1), (1, 1)))),
    "1x1, padded": Case((2, 7, 5, 12), (1, 1, 12, 8), Geometry((2, 2), ((1, 1), (2, 1)))),
    "1x3": Case((2, 7, 8, 12), (1, 3, 12, 8), Geometry((1, 1), ((0, 0), (1, 1)))),
    "3x1": Case((2, 7, 8, 12), (3, 1, 12, 8), Geometry((1, 1), ((1, 1), (0, 0)))),
    "3x5": Case((2, 9, 8, 12), (3, 5, 12, 8), Geometry((1, 1), ((1, 1), (2, 2)))),
    "dilation": Case((2, 9, 8, 12), (3, 3, 12, 8), Geometry((1, 1), ((2, 2), (2, 2)), (2, 2))),
    "dilation, stride 2": Case(
        (2, 9, 8, 12), (3, 3, 12, 8), Geometry((2, 2), ((2, 2), (2, 2)), (2, 2))
    ),
    "dilation 3, stride 2": Case(
        (2, 11, 13, 12), (3, 3, 12, 8), Geometry((2, 2), ((3, 3), (3, 3)), (3, 3))
    ),
    "dilation beyond the map": Case(
        (2, 4, 5, 12), (3, 3, 12, 8), Geometry((1, 1), ((9, 9), (9, 9)), (9, 9))
    ),
    "dilation of the rows": Case(
        (2, 9, 8, 12), (3, 1, 12, 8), Geometry((1, 1), ((4, 4), (0, 0)), (4, 3))
    ),
    "2 groups": Case((2, 7, 8, 24), (3, 3, 12, 16), Geometry((1, 1), ((1, 1), (1, 1)), groups=2)),
    "8 groups in 4 sets": Case(
        (2, 7, 8, 96), (3, 3, 12, 64), Geometry((1, 1), ((1, 1), (1, 1)), groups=8)
    ),
    "groups, stride 4, kernel 2x5": Case(
        (4, 8, 9, 24), (2, 5, 3, 96), Geometry((4, 1), NO_PADDING, groups=8)
    ),
    "groups, dilation": Case(
        (2, 9, 8, 24), (3, 3, 3, 16), Geometry((1, 1), ((2, 2), (2, 2)), (2, 2), groups=8)
    ),
    "a channel a group, 2 features each": Case(
        (2, 7, 8, 6), (3, 3, 1, 12), Geometry((1, 1), ((1, 1), (1, 1)), groups=6)
    ),
    "a channel a group, stride 2, dilation": Case(
        (2, 9, 8, 6), (3, 3, 1, 6), Geometry((2, 2), ((3, 3), (3, 3)), (3, 3), groups=6)
    ),
    "asymmetric padding": Case((2, 7, 8, 12), (5, 5, 12, 8), Geometry((1, 1), ((0, 3), (5, 1)))),
    "negative padding": Case((2, 9, 9, 12), (3, 3, 12, 8), Geometry((1, 1), ((-2, 1), (1, -3)))),
    "unread last row": Case((2, 10, 8, 12), (3, 3, 12, 8), Geometry((2, 3), NO_PADDING)),
}


def by_definition(x, kernel, grad, geometry):
    """Return the convolution and its two gradients by NumPy, as sums over the weights' places."""
    groups = geometry.groups
    pads = [(max(before, 0), max(after, 0)) for before, after in geometry.padding]
    crops = [(max(-before, 0), max(-after, 0)) for before, after in geometry.padding]
    padded = np.pad(x, ((0, 0), *pads, (0, 0)))
    kept = tuple(
        slice(first, extent - last)
        for (first, last), extent in zip(crops, padded.shape[1:3], strict=True)
    )
    padded_grad, y, kernel_grad = 0 * padded, 0 * grad, 0 * kernel
    by_group = kernel.reshape(*kernel.shape[:3], groups, -1)
    grad_by_group = grad.reshape(*grad.shape[:3], groups, -1)
    for place in np.ndindex(kernel.shape[:2]):
        rows, columns = (
            slice(first, first + stride * (count - 1) + 1, stride)
            for first, stride, count in zip(
                np.multiply(place, geometry.dilation),
                geometry.strides,
                grad.shape[1:3],
                strict=True,
            )
        )
        window = padded[:, kept[0], kept[1]][:, rows, columns]
        window = window.reshape(*window.shape[:3], groups, -1)
        y += np.einsum("bhwgc,cgk->bhwgk", window, by_group[place]).reshape(y.shape)
        pixels_grad = np.einsum("bhwgk,cgk->bhwgc", grad_by_group, by_group[place])
        read_pixels = padded_grad[:, kept[0], kept[1]][:, rows, columns]  # a view
        read_pixels += pixels_grad.reshape(read_pixels.shape)
        weights_grad = np.einsum("bhwgc,bhwgk->cgk", window, grad_by_group)
        kernel_grad[place] = weights_grad.reshape(kernel_grad[place].shape)
    inner = (
        slice(before, before + extent)
        for (before, _), extent in zip(pads, x.shape[1:3], strict=True)
    )
    return y, padded_grad[:, *inner], kernel_grad


def random_arrays(case):
    rng = np.random.RandomState(0)
    extents = case.geometry.output_extents(case.images, case.kernel)
    grad_shape = case.images[0], *extents, case.kernel[-1]
    return [np.float32(rng.randn(*shape)) for shape in (case.images, case.kernel, grad_shape)]


def value_and_gradients(x, kernel, grad, geometry, product_dtype=None):
    y, vjp = jax.vjp(lambda *a: convolve_by_products(*a, geometry, product_dtype), x, kernel)
    return y, *vjp(grad)


def assert_by_definition(got, arrays, geometry):
    expected = by_definition(*map(np.float64, arrays), geometry)
    errors = error_of_products(lambda *a: by_definition(*map(np.asarray, a), geometry), *arrays)
    for ours, exact, error in zip(got, expected, errors, strict=True):
        assert ours.dtype == jnp.float32
        assert_near(ours, exact, ENLARGED_BY_TRANSFORMS * error)


@pytest.mark.parametrize("case", CASES.values(), ids=CASES)
def test_values_and_gradients_follow_the_definition(case):
    arrays = random_arrays(case)
    compute = jax.jit(value_and_gradients, static_argnums=3)
    lowered = compute.lower(*arrays, case.geometry)
    assert "stablehlo.convolution" not in lowered.as_text()
    assert can_convolve_by_products(*map(jnp.asarray, arrays[:2]), case.geometry)
    assert_by_definition(lowered.compile()(*arrays), arrays, case.geometry)


@pytest.mark.parametrize("name", ["5x5", "5x5, pixels", "8 groups in 4 sets"])
def test_a_batch_in_chunks_has_the_same_gradient(name, monkeypatch):
    """The gradient of the kernel is the sum over the chunks."""
    case = CASES[name]._replace(images=(6, *CASES[name].images[1:]))
    monkeypatch.setattr(general_convolution, "_CHUNK_BYTES", 1)
    arrays = random_arrays(case)
    got = value_and_gradients(*arrays, case.geometry)
    assert_by_definition(got, arrays, case.geometry)


def test_runs_at_once_are_those_alone():
    """A vectorised convolution has one more axis, also in the gradients of grouped kernels."""
    case = CASES["8 groups in 4 sets"]
    arrays = random_arrays(case)
    pairs = [jnp.stack([array, 2 * array]) for array in arrays]
    compute = jax.jit(jax.vmap(lambda *a: value_and_gradients(*a, case.geometry)))
    for together, alone in zip(
        compute(*pairs), value_and_gradients(*arrays, case.geometry), strict=True
    ):
        np.testing.assert_allclose(together[0], alone, rtol=1e-4, atol=1e-3)
        np.testing.assert_allclose(together[1], 4 * alone, rtol=1e-4, atol=4e-3)


def test_operands_of_winograds_products_are_rounded():
    """Outputs and gradients are float32 and differ from float32 products by the rounding."""
    case = CASES["5x5"]
    arrays = random_arrays(case)
    exact = value_and_gradients(*arrays, case.geometry)
    rounded = value_and_gradients(*arrays, case.geometry, jnp.bfloat16)
    for ours, expected in zip(rounded, exact, strict=True):
        error = np.sqrt(np.mean((ours - expected) ** 2) / np.mean(expected**2))
        assert ours.dtype == jnp.float32
        assert 1e-4 < error < ENLARGED_BY_TRANSFORMS * 2.0**-8


def test_without_an_output_there_are_no_products():
    x, kernel = jnp.ones((1, 4, 4, 12)), jnp.ones((5, 5, 12, 8))
    assert not can_convolve_by_products(x, kernel, Geometry((1, 1), NO_PADDING))
    assert can_convolve_by_products(x, kernel, Geometry((1, 1), ((0, 1), (1, 0))))
