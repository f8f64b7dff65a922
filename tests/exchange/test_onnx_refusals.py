"""Functions that can't be converted to ONNX give one line that says why."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from exchange.test_onnx_operations import CHANNELS, SHAPE, converted, pool
from jax import lax

from jaxcifar.errors import UsageError
from jaxcifar.exchange.onnx import paired_trace
from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS


def predicted_kernels(x):
    """Each image convolved with a part of itself: the images are groups of channels."""
    layout = ("CHWN", "OHWI", "CHWN")
    return lax.conv_general_dilated(
        x, x[:, :2, :2, :1], (1, 1), "SAME", dimension_numbers=layout, feature_group_count=len(x)
    )


def convolve_integers(x):
    kernel = np.ones((2, 2, 5, 3), np.int32)
    layout = ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (1, 1), "SAME", dimension_numbers=layout)


def pool_in_all_axes(x):
    windows = (1, 2, 2, 2, 2, 1)
    x = jnp.broadcast_to(x[:, None, None], (len(x), 2, 2, *SHAPE))
    return lax.reduce_window(x, -np.inf, lax.max, windows, (1,) * 6, "SAME")


def _fail():
    raise RuntimeError("too many")


@pytest.mark.parametrize(
    ("words", "function"),
    [
        (("nextafter", "use other operations"), lambda x: lax.nextafter(x, 2 * x)),
        (("branch",), lambda x: lax.cond(x.sum() > 0, jnp.sin, jnp.cos, x)),
        (("while",), lambda x: lax.while_loop(lambda y: y.sum() < 9, lambda y: 2 * y, x)),
        (("number of images",), lambda x: x / len(x)),
        (("number of images",), lambda x: x + jnp.arange(len(x))[:, None, None, None]),
        (("slice of the batch",), lambda x: x - x[:1]),
        (("along the batch",), lambda x: jnp.concatenate([x, x])[: len(x)]),
        (("depend on the images",), lambda x: jnp.asarray(CHANNELS)[jnp.argmax(x, -1)]),
        (("loop over the images",), lambda x: lax.map(jnp.sin, x)),
        (("fails for 3 images", "too many"), lambda x: x if len(x) < 3 else _fail()),
        (("number of images",), lambda x: jnp.maximum(x, len(x) - 2)),
        (
            ("replaces some images",),
            lambda x: lax.dynamic_update_slice(x, jnp.zeros((1, *SHAPE)), (0, 0, 0, 0)),
        ),
        (
            ("replaces some images",),
            lambda x: lax.dynamic_update_slice(x, x[:, :1], (0, len(x) - 1, 0, 0)),
        ),
        (("position depends on the number",), lambda x: x[:, len(x)]),
        (("position depends on the number",), lambda x: lax.dynamic_index_in_dim(x, len(x), 1)),
        (("reps depends",), lambda x: jnp.tile(x.max(0, keepdims=True), (len(x), 1, 1, 1))),
        (("window_dimensions depends",), lambda x: pool(0.0, lax.add, (1, len(x)), (1, 1))(x)),
        (("y depends",), lambda x: lax.integer_pow(x, len(x))),
        (("k depends",), lambda x: lax.top_k(x, len(x))[0]),
        (("padding_config depends",), lambda x: jnp.pad(x, ((0, 0), (0, len(x)), (0, 0), (0, 0)))),
        (("uint32",), lambda x: jnp.cumsum(jnp.uint32(jnp.abs(x)), 1)),
        (("reduce_max of uint32",), lambda x: jnp.uint32(jnp.abs(x)).max(1)),
        (("complex64",), lambda x: x.astype(jnp.complex64).real),
        (("int4",), lambda x: x.astype(jnp.int4)),
        (("convolution of integers",), lambda x: convolve_integers(jnp.int32(x))),
        (("without elements",), lambda x: x[:, :0].reshape(len(x), 0)),
        (("loop of 0 iterations",), lambda x: lax.scan(lambda y, w: (y, y), x, np.zeros(0))[1]),
        (("loop of 1,001 iterations",), lambda x: lax.fori_loop(0, 1001, lambda _, y: 2 * y, x)),
        (("along more than 3 axes",), pool_in_all_axes),
        (("indexing", "single images"), lambda x: x.at[0].set(0)),
        (("feature_group_count depends",), predicted_kernels),
    ],
    ids=lambda value: value[0] if isinstance(value, tuple) else "",
)
def test_what_can_not_be_converted_gives_one_line(words, function):
    with pytest.raises(UsageError) as raised:
        converted(function)
    message = str(raised.value)
    assert "\n" not in message
    for word in (*words, "--to stablehlo"):
        assert word in message


def test_the_layer_of_an_unknown_operation_is_named():
    @jax.jit
    def inner(x):
        with jax.named_scope("Block_1"):
            return lax.nextafter(x, x)

    def outer(x):
        with jax.named_scope("Net"):
            return inner(x)

    with pytest.raises(UsageError, match=r"because in Net/Block_1 the operation nextafter"):
        converted(outer)


def test_loops_of_many_operations_are_refused(monkeypatch):
    monkeypatch.setattr(paired_trace, "_MOST_NODES", 100)
    with pytest.raises(UsageError, match="more than 100 operations"):
        converted(lambda x: lax.fori_loop(0, 60, lambda _, y: jnp.sin(y) * 2, x))


def test_an_error_of_a_conversion_names_the_operation(monkeypatch):
    def fail(graph, step):
        raise KeyError("strange")

    monkeypatch.setitem(CONVERSIONS, "sin", fail)

    def named(x):
        with jax.named_scope("Net"):
            return jnp.sin(x)

    with pytest.raises(UsageError, match=r"in Net the operation sin .* conversion fails .*strange"):
        converted(named)
