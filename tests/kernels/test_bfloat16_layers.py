"""Normalisation, ReLU and pools of bfloat16 images on a CPU against double precision."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxcifar.kernels.activations import relu
from jaxcifar.kernels.gradients import batch_norm
from jaxcifar.kernels.pools import max_pool

ROUNDING = 2.0**-8  # of a number to bfloat16, at most


def draw(*shape, mean=0.0, seed=0):
    values = mean + np.random.RandomState(seed).randn(*shape)
    return jnp.asarray(values, jnp.bfloat16)


def normalise_by_definition(x, scale, bias, grad, epsilon):
    """The normalised batch, mean, variance, and the gradients of batch, scale and bias."""
    mean, var = x.mean((0, 1, 2)), x.var((0, 1, 2))
    std = np.sqrt(var + epsilon)
    normalized = (x - mean) / std
    bias_grad, scale_grad = grad.sum((0, 1, 2)), (grad * normalized).sum((0, 1, 2))
    count = x.size / x.shape[-1]
    x_grad = scale / std * (grad - bias_grad / count - normalized * scale_grad / count)
    return normalized * scale + bias, mean, var, x_grad, scale_grad, bias_grad


@pytest.mark.parametrize("mean", (0.0, 3.0), ids=("centred", "three deviations from zero"))
def test_normalised_batches_and_gradients_follow_the_definition(mean):
    x, grad = draw(6, 8, 5, 12, mean=mean), draw(6, 8, 5, 12, seed=1)
    scale, bias = jnp.linspace(0.5, 2, 12), jnp.linspace(-1, 1, 12)
    epsilon = 1e-3

    @jax.jit
    def compute(x, scale, bias, grad):
        def normalise(x, scale, bias):
            options = epsilon, None, 1, jnp.bfloat16
            normalized, mean, var = batch_norm(x, scale, bias, jnp.zeros(12), *options)
            return normalized, (mean, var)

        y, vjp, moments = jax.vjp(normalise, x, scale, bias, has_aux=True)
        return y, *moments, *vjp(grad)

    results = compute(x, scale, bias, grad)
    doubles = [np.asarray(array, np.float64) for array in (x, scale, bias, grad)]
    expected = normalise_by_definition(*doubles, epsilon)
    assert [result.dtype for result in results] == [
        *(jnp.bfloat16, jnp.float32, jnp.float32),
        *(jnp.bfloat16, jnp.float32, jnp.float32),
    ]
    for result, exact in zip(results, expected, strict=True):
        error = np.abs(np.asarray(result, np.float64) - exact).max()
        # Sums of float32 are right to 1e-4, though they are differences of large numbers here.
        relative_error = ROUNDING if result.dtype == jnp.bfloat16 else 1e-4
        assert error < relative_error * np.abs(exact).max()


def test_relu_and_its_derivative_are_exact():
    x, grad = draw(3, 4, 4, 32), draw(3, 4, 4, 32, seed=1)
    x = x.at[0, 0, 0].set(0)
    y, vjp = jax.vjp(relu, x)
    assert y.dtype == vjp(grad)[0].dtype == jnp.bfloat16
    exact_x, exact_grad = np.asarray(x, np.float64), np.asarray(grad, np.float64)
    np.testing.assert_array_equal(np.asarray(y, np.float64), np.maximum(exact_x, 0))
    expected = np.where(exact_x > 0, exact_grad, 0)
    np.testing.assert_array_equal(np.asarray(vjp(grad)[0], np.float64), expected)


@pytest.mark.parametrize(("height", "width"), [(6, 4), (7, 5)], ids=["divided", "left over"])
def test_maxima_of_windows_are_exact_and_the_first_maximum_gets_the_gradient(height, width):
    # Few different values, so that windows have equal maxima.
    x = jnp.round(draw(3, height, width, 16))
    grad = draw(3, height // 2, width // 2, 16, seed=1)
    y, vjp = jax.vjp(lambda x: max_pool(x, 2, 2), x)
    expected_y = np.zeros(y.shape)
    expected_grad = np.zeros(x.shape)
    for image, row, column, channel in np.ndindex(*y.shape):
        rows, columns = slice(2 * row, 2 * row + 2), slice(2 * column, 2 * column + 2)
        window = np.asarray(x[image, rows, columns, channel], np.float64)
        expected_y[image, row, column, channel] = window.max()
        first_row, first_column = np.unravel_index(window.argmax(), (2, 2))
        pixel = image, 2 * row + first_row, 2 * column + first_column, channel
        expected_grad[pixel] = grad[image, row, column, channel]
    np.testing.assert_array_equal(np.asarray(y, np.float64), expected_y)
    np.testing.assert_array_equal(np.asarray(vjp(grad)[0], np.float64), expected_grad)
