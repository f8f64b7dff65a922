"""Convolution of bfloat16 images on a CPU against its definition in double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from kernels.test_convolution import by_definition

from jaxcifar.kernels import direct_convolution
from jaxcifar.kernels.convolution import conv2d
from jaxcifar.machine import onednn

# Images, the kernel's size, features, stride and padding.
CASES = [
    pytest.param((3, 8, 6, 16), 3, 12, 1, (1, 1), id="rows and columns"),
    pytest.param((3, 8, 6, 16), 5, 12, 1, (2, 2), id="5x5"),
    pytest.param((3, 7, 6, 3), 3, 16, 1, (1, 1), id="pixels"),
    pytest.param((3, 7, 6, 8), 3, 16, 1, (0, 0), id="unpadded"),
    pytest.param((3, 6, 5, 8), 2, 12, 1, (0, 1), id="2x2 padded behind"),
    pytest.param((3, 8, 6, 16), 3, 12, 2, (1, 1), id="stride 2"),
    pytest.param((3, 7, 9, 16), 3, 12, 2, (0, 1), id="stride 2 odd"),
    pytest.param((3, 8, 7, 16), 1, 12, 1, (0, 0), id="pointwise"),
    pytest.param((3, 8, 7, 16), 1, 12, 2, (0, 0), id="pointwise stride 2"),
    pytest.param((3, 8, 7, 16), 1, 12, 1, (1, 1), id="pointwise padded"),
    pytest.param((3, 6, 5, 16), 3, 12, 1, (4, 0), id="far padded"),
    pytest.param((3, 6, 5, 16), 3, 12, 2, (0, 5), id="far padded behind"),
    pytest.param((3, 6, 5, 16), 2, 12, 1, (3, 4), id="far padded on both sides"),
]
# bfloat16 has 8 binary digits. An output is rounded before and after the bias is added.
ROUNDING = 2.0**-8


@pytest.fixture(autouse=True)
def onednn_is_on(monkeypatch):
    """Convolve directly on every machine; without oneDNN, XLA gives the same numbers slowly."""
    monkeypatch.setattr(onednn, "is_on", lambda: True)
    jax.clear_caches()


def draw(shape, size, features, stride, pad):
    """Images, kernel, bias and the output's gradient, in double precision, exact in bfloat16."""
    rng = np.random.RandomState(0)
    out_extents = ((extent + sum(pad) - size) // stride + 1 for extent in shape[1:3])
    shapes = [shape, (size, size, shape[-1], features), (features,)]
    shapes.append((shape[0], *out_extents, features))
    return [np.float64(np.asarray(rng.randn(*shape), jnp.bfloat16)) for shape in shapes]


def value_and_gradients(inputs, stride, pad):
    """Return the outputs, and the gradients of images, kernel and bias, as `conv2d` computes."""
    *arrays, output_grad = (jnp.asarray(array, jnp.bfloat16) for array in inputs)

    @jax.jit
    def compute(x, kernel, bias, output_grad):
        def convolve(x, kernel, bias):
            return conv2d(x, kernel, stride, bias, pad, jnp.bfloat16)

        y, vjp = jax.vjp(convolve, x, kernel, bias)
        return y, *vjp(output_grad)

    return compute(*arrays, output_grad)


def assert_rounded(results, expected, roundings=2):
    for result, exact in zip(results, expected, strict=True):
        assert result.dtype == jnp.bfloat16
        error = np.abs(np.asarray(result, np.float64) - exact)
        assert error.max() < roundings * ROUNDING * np.abs(exact).max()


@pytest.mark.parametrize(("shape", "size", "features", "stride", "pad"), CASES)
def test_values_and_gradients_follow_the_definition(shape, size, features, stride, pad):
    inputs = draw(shape, size, features, stride, pad)
    results = value_and_gradients(inputs, stride, pad)
    assert_rounded(results, by_definition(*inputs, stride, pad))


@pytest.mark.parametrize(("features", "stride"), [(12, 1), (40, 1), (12, 2)])
def test_the_kernels_gradient_is_summed_over_chunks_of_images(monkeypatch, features, stride):
    inputs = draw((6, 8, 6, 8), 3, features, stride, (1, 1))
    at_once = jax.make_jaxpr(lambda: value_and_gradients(inputs, stride, (1, 1)))()
    # A chunk is at least as large as the kernel, so that sums do not take the most time.
    kernel_bytes = 4 * 9 * 8 * features
    monkeypatch.setattr(direct_convolution, "_CHUNK_BYTES", 1)
    jax.clear_caches()
    by_chunks = jax.make_jaxpr(lambda: value_and_gradients(inputs, stride, (1, 1)))()
    assert "scan" not in str(at_once)
    assert ("scan" in str(by_chunks)) == (6 * 8 * 6 // stride**2 * 2 * 9 * 8 > kernel_bytes)
    results = value_and_gradients(inputs, stride, (1, 1))
    assert_rounded(results, by_definition(*inputs, stride, (1, 1)), roundings=3)


def test_only_bfloat16_images_with_bfloat16_products_are_convolved_directly(monkeypatch):
    asked = []
    direct = direct_convolution.convolve_directly

    def note(x, *arguments, **options):
        asked.append(x.dtype)
        return direct(x, *arguments, **options)

    monkeypatch.setattr("jaxcifar.kernels.convolution.convolve_directly", note)
    jax.clear_caches()
    for dtype in (jnp.float32, jnp.bfloat16):
        for product_dtype in (None, jnp.float32, jnp.bfloat16):
            x, kernel = jnp.ones((1, 4, 4, 16), dtype), jnp.ones((3, 3, 16, 4), dtype)
            y = conv2d(x, kernel, product_dtype=product_dtype)
            assert y.dtype == dtype
            assert y[0, 1, 1, 0] == pytest.approx(9 * 16, abs=0.5)
    assert asked == [jnp.bfloat16]


def test_without_onednn_and_without_an_output_they_are_not_convolved_directly(monkeypatch):
    monkeypatch.setattr("jaxcifar.kernels.convolution.convolve_directly", None)
    x, kernel = jnp.ones((1, 2, 2, 16), jnp.bfloat16), jnp.ones((5, 5, 16, 4), jnp.bfloat16)
    assert conv2d(x, kernel, padding=(0, 0), product_dtype=jnp.bfloat16).shape == (1, 0, 0, 4)
    monkeypatch.setattr(onednn, "is_on", lambda: False)
    assert conv2d(x, kernel, product_dtype=jnp.bfloat16)[0, 0, 0, 0] == pytest.approx(64, abs=0.5)
