"""Convolution by matrix products against XLA's, in double precision, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import enable_x64
from jax import lax

from jaxcifar.models.convolution import conv2d

# Each form: tiles of 3x3 and 2x2 kernels, one product, no kernel to speak of, XLA's own.
CASES = [
    pytest.param((6, 8, 8, 16), 3, 24, 1, id="tiles"),
    pytest.param((64, 32, 32, 16), 3, 12, 1, id="chunks"),
    pytest.param((3, 16, 8, 12), 3, 16, 2, id="stride2"),
    pytest.param((4, 32, 32, 3), 3, 8, 1, id="pixels"),
    pytest.param((4, 8, 8, 16), 1, 8, 2, id="pointwise"),
    pytest.param((2, 6, 10, 16), 3, 8, 2, id="odd"),
]


def reference(x, kernel, bias, stride):
    pad = [(len(kernel) // 2,) * 2] * 2
    dimensions = ("NHWC", "HWIO", "NHWC")
    strides = (stride, stride)
    return bias + lax.conv_general_dilated(x, kernel, strides, pad, dimension_numbers=dimensions)


def run(convolve, x, kernel, bias, grad):
    y, vjp = jax.vjp(convolve, x, kernel, bias)
    return y, *vjp(grad)


@pytest.mark.parametrize(("shape", "size", "features", "stride"), CASES)
def test_values_and_gradients(shape, size, features, stride):
    rng = np.random.RandomState(0)
    x, kernel = rng.randn(*shape), rng.randn(size, size, shape[-1], features)
    grad = rng.randn(shape[0], -(-shape[1] // stride), -(-shape[2] // stride), features)
    bias = rng.randn(features)
    single = [a.astype(np.float32) for a in (x, kernel, bias, grad)]
    got = jax.jit(lambda *a: run(lambda x, k, b: conv2d(x, k, stride, b), *a))(*single)
    with enable_x64(True):
        expected = jax.jit(lambda *a: run(lambda x, k, b: reference(x, k, b, stride), *a))(
            *map(jnp.float64, (x, kernel, bias, grad))
        )
    for ours, exact in zip(got, expected, strict=True):
        assert ours.dtype == jnp.float32
        error = np.abs(np.asarray(ours, np.float64) - np.asarray(exact))
        # Of the largest value; XLA's own float32 is up to 1e-6 away.
        assert error.max() < 5e-6 * np.abs(exact).max()


@pytest.mark.parametrize("stride", [1, 2])
def test_it_keeps_the_dtype(stride):
    x, kernel = jnp.ones((2, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 4), jnp.bfloat16)
    y = conv2d(x, kernel, stride)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == 9 * 16


def test_batched_and_in_a_loop_it_is_the_same():
    rng = np.random.RandomState(1)
    x = rng.randn(3, 4, 8, 8, 16).astype(np.float32)
    kernels = rng.randn(3, 3, 3, 16, 16).astype(np.float32)
    alone = [conv2d(*pair) for pair in zip(x, kernels, strict=True)]
    np.testing.assert_allclose(jax.vmap(conv2d)(x, kernels), alone, atol=1e-4)
    looped = jax.jit(lambda *a: lax.map(lambda pair: conv2d(*pair), a))(x, kernels)
    np.testing.assert_allclose(looped, alone, atol=1e-4)


def test_accelerators_keep_their_own():
    """Lowered for a GPU or a TPU there is a convolution, on a CPU there is none."""
    x, kernel = jnp.ones((2, 8, 8, 16)), jnp.ones((3, 3, 16, 4))
    for platform in ("cpu", "cuda", "tpu"):
        text = jax.jit(conv2d).trace(x, kernel).lower(lowering_platforms=(platform,)).as_text()
        assert ("stablehlo.convolution" in text) == (platform != "cpu")
