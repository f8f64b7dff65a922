"""Convolution by matrix products against its definition in double precision, and its gradients."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax
from rounding import ENLARGED_BY_TRANSFORMS, assert_near, error_of_products

from jaxcifar.kernels.convolution import conv2d

# Each form: tiles of 3x3 and 2x2 kernels, one product, no kernel to speak of, any other kernel.
# Images, the kernel's size, features, stride and padding.
CASES = [
    pytest.param((6, 8, 8, 16), 3, 24, 1, (1, 1), id="tiles"),
    pytest.param((64, 32, 32, 16), 3, 12, 1, (1, 1), id="chunks"),
    pytest.param((2, 31, 15, 12), 3, 16, 1, (1, 1), id="odd"),
    pytest.param((3, 7, 6, 12), 3, 16, 1, (1, 1), id="tiles of 4 and 3"),
    pytest.param((5, 3, 3, 12), 3, 16, 1, (1, 1), id="tiles of 3"),
    pytest.param((5, 2, 2, 12), 3, 16, 1, (1, 1), id="tiles of 2"),
    pytest.param((3, 9, 8, 12), 3, 16, 1, (0, 0), id="unpadded"),
    pytest.param((3, 6, 5, 12), 3, 16, 1, (4, 0), id="far padded"),
    pytest.param((3, 5, 6, 16), 2, 12, 1, (0, 0), id="2x2"),
    pytest.param((3, 16, 8, 12), 3, 16, 2, (1, 1), id="stride2"),
    pytest.param((3, 24, 12, 12), 3, 16, 2, (0, 1), id="stride2 behind"),
    pytest.param((3, 6, 4, 12), 3, 16, 2, (1, 1), id="stride2 to 3 and 2"),
    pytest.param((3, 3, 7, 12), 3, 16, 2, (1, 1), id="stride2 odd"),
    pytest.param((3, 8, 5, 12), 3, 16, 2, (0, 0), id="stride2 unpadded"),
    pytest.param((4, 32, 32, 3), 3, 8, 1, (1, 1), id="pixels"),
    pytest.param((4, 32, 7, 3), 2, 8, 1, (0, 0), id="pixels 2x2"),
    pytest.param((4, 8, 8, 16), 1, 8, 2, (0, 0), id="pointwise"),
    pytest.param((4, 7, 5, 16), 1, 8, 2, (0, 0), id="pointwise odd"),
    pytest.param((1, 28, 28, 12), 3, 12, 1, (1, 1), id="28 pixels"),
    pytest.param((1, 40, 40, 12), 3, 12, 2, (1, 1), id="40 pixels, stride2"),
    pytest.param((1, 64, 64, 12), 3, 12, 1, (1, 1), id="64 pixels"),
    pytest.param((1, 95, 96, 12), 3, 12, 1, (1, 1), id="95 and 96 pixels"),
    pytest.param((2, 6, 10, 16), 5, 8, 2, (2, 2), id="5x5, stride 2"),
    pytest.param((2, 6, 10, 16), 2, 8, 2, (0, 0), id="2x2, stride 2"),
]


def by_definition(x, kernel, bias, grad, stride, pad):
    """The convolution and its three gradients by NumPy, as sums over the kernel's places."""
    height, width = grad.shape[1:3]
    padded = np.pad(x, ((0, 0), pad, pad, (0, 0)))
    y, padded_grad, kernel_grad = bias + 0 * grad, 0 * padded, 0 * kernel
    for place in np.ndindex(kernel.shape[:2]):
        rows, columns = (
            slice(first, first + stride * (count - 1) + 1, stride)
            for first, count in zip(place, (height, width), strict=True)
        )
        window = padded[:, rows, columns]
        y += window @ kernel[place]
        padded_grad[:, rows, columns] += grad @ kernel[place].T
        kernel_grad[place] = np.tensordot(window, grad, ((0, 1, 2), (0, 1, 2)))
    inner = (slice(pad[0], pad[0] + extent) for extent in x.shape[1:3])
    return y, padded_grad[:, *inner], kernel_grad, grad.sum((0, 1, 2))


def run(convolve, x, kernel, bias, grad):
    y, vjp = jax.vjp(convolve, x, kernel, bias)
    return y, *vjp(grad)


@pytest.mark.parametrize(("shape", "size", "features", "stride", "pad"), CASES)
def test_values_and_gradients_follow_the_definition(shape, size, features, stride, pad):
    rng = np.random.RandomState(0)
    x, kernel, bias = (
        rng.randn(*shape),
        rng.randn(size, size, shape[-1], features),
        rng.randn(features),
    )
    extents = ((extent + sum(pad) - size) // stride + 1 for extent in shape[1:3])
    given = x, kernel, bias, rng.randn(shape[0], *extents, features)
    single = [array.astype(np.float32) for array in given]
    ours = jax.jit(lambda *a: run(lambda x, k, b: conv2d(x, k, stride, b, pad), *a)).lower(*single)
    assert jax.default_backend() == "cpu"
    assert "stablehlo.convolution" not in ours.as_text()
    got = ours.compile()(*single)
    expected = by_definition(*map(np.float64, single), stride, pad)
    errors = error_of_products(
        lambda *arrays: by_definition(*map(np.asarray, arrays), stride, pad), *single
    )
    for ours, exact, error in zip(got, expected, errors, strict=True):
        assert ours.dtype == jnp.float32
        assert_near(ours, exact, ENLARGED_BY_TRANSFORMS * error)


@pytest.mark.parametrize(
    ("shape", "size", "stride"),
    [((4, 16, 8, 32), 3, 1), ((8, 7, 3, 32), 3, 1), ((8, 5, 6, 32), 2, 1), ((4, 16, 8, 16), 3, 2)],
)
def test_products_of_bfloat16_are_nearly_as_good_as_a_convolution_of_it(shape, size, stride):
    """Transforms enlarge what rounding does, to five times at most; all else is float32."""
    rng, pad = np.random.RandomState(0), ((size - 1) // 2,) * 2
    x, kernel = rng.randn(*shape), rng.randn(size, size, shape[-1], 24)

    def rounded(*arrays):
        return [np.float64(np.asarray(array, jnp.bfloat16)) for array in arrays]

    def convolve(x, kernel, bias):
        return conv2d(x, kernel, stride, bias, pad, jnp.bfloat16)

    extents = ((extent + sum(pad) - size) // stride + 1 for extent in shape[1:3])
    given = x, kernel, np.zeros(24), rng.randn(shape[0], *extents, 24)
    expected = by_definition(*given, stride, pad)
    plain = by_definition(*rounded(*given), stride, pad)
    got = jax.jit(lambda *a: run(convolve, *a))(*map(np.float32, given))
    for ours, theirs, right in list(zip(got, plain, expected, strict=True))[:3]:
        assert ours.dtype == jnp.float32
        ours, theirs = (
            np.sqrt(np.mean((np.float64(a) - np.float64(right)) ** 2)) for a in (ours, theirs)
        )
        assert (
            theirs < ours < ENLARGED_BY_TRANSFORMS * theirs
        )  # a float32 convolution's would be far less


@pytest.mark.parametrize("stride", [1, 2])
def test_it_keeps_the_dtype(stride):
    x, kernel = jnp.ones((2, 8, 8, 16), jnp.bfloat16), jnp.ones((3, 3, 16, 4), jnp.bfloat16)
    y = conv2d(x, kernel, stride)
    assert y.dtype == jnp.bfloat16
    assert float(y[0, 4, 4, 0]) == 9 * 16


def test_batched_and_in_a_loop_it_is_the_same():
    rng = np.random.RandomState(1)
    x = jnp.float32(rng.randn(3, 4, 8, 8, 16))
    kernels = jnp.float32(rng.randn(3, 3, 3, 16, 16))
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
