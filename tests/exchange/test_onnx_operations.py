"""Each operation that is converted to ONNX computes in ONNX Runtime what it computes in JAX."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax import lax, nn

from jaxcifar.exchange.onnx.conversion_table import CONVERSIONS
from jaxcifar.exchange.onnx.function_graph import function_graph
from jaxcifar.exchange.onnx.onnx_file import checked_onnx_model

SHAPE = (4, 6, 5)  # of an image, with other sizes along each axis
BATCHES = (1, 3, 4)
RANDOM = np.random.RandomState(0)
ROWS = np.float32(RANDOM.normal(size=(6, 1)))
CHANNELS = np.float32(RANDOM.normal(size=5))
POSITIONS = np.float32(RANDOM.normal(size=(4, 1, 1)))


def convolve(kernel_shape, strides=(1, 1), padding="SAME", **options):
    """A convolution of images, channels last, with a random kernel."""
    kernel = np.float32(np.random.RandomState(1).normal(size=kernel_shape))
    layout = options.pop("layout", ("NHWC", "HWIO", "NHWC"))

    def convolution(x):
        return lax.conv_general_dilated(
            x, kernel, strides, padding, dimension_numbers=layout, **options
        )

    return convolution


def pool(start, function, size, strides, padding="VALID"):
    def pooled(x):
        return lax.reduce_window(x, start, function, (1, *size, 1), (1, *strides, 1), padding)

    return pooled


def attend(x):
    heads = x.reshape(len(x), -1, 5, 2)
    weights = nn.softmax(jnp.einsum("bqhd,bkhd->bhqk", heads, heads))
    return jnp.einsum("bhqk,bkhd->bqhd", weights, heads)


# By the operation in JAX that is tested, and what is special about the case.
CASES = {
    "abs": jnp.abs,
    "acos": lambda x: jnp.arccos(jnp.tanh(x)),
    "acosh": lambda x: jnp.arccosh(1 + jnp.abs(x)),
    "add": lambda x: x + 2,
    "add arrays": lambda x: x + CHANNELS + ROWS,
    "and, or, not, xor": lambda x: ((x > 0) & (x < 1)) | (~(x > -1) ^ (x > 2)),
    "argmax": lambda x: x.argmax(2),
    "argmin": lambda x: x.argmin(-1),
    "asin": lambda x: jnp.arcsin(jnp.tanh(x)),
    "asinh": jnp.arcsinh,
    "atan": jnp.arctan,
    "atanh": lambda x: jnp.arctanh(jnp.tanh(x)),
    "broadcast_in_dim": lambda x: x + x.mean((1, 2))[:, None, None],
    "broadcast_in_dim of a result": lambda x: jnp.broadcast_to(x[:, None], (len(x), 2, *SHAPE)),
    "ceil": jnp.ceil,
    "clamp": lambda x: lax.clamp(-0.5, x, 0.5),
    "concatenate": lambda x: jnp.concatenate([x, jnp.ones((len(x), 4, 6, 2)), x * 2], -1),
    "cond": lambda x: lax.cond(jnp.array(True), lambda x: x + 1, lambda x: x, x),
    "conv_general_dilated": convolve((3, 3, 5, 7)),
    "conv_general_dilated, strides": convolve((3, 2, 5, 7), (2, 3), ((1, 2), (0, 1))),
    "conv_general_dilated, cropped": convolve((2, 2, 5, 7), padding=((-1, 1), (1, -2))),
    "conv_general_dilated, kernel dilated": convolve((2, 2, 5, 7), rhs_dilation=(1, 3)),
    "conv_general_dilated, groups": convolve((3, 3, 1, 10), feature_group_count=5),
    "conv_general_dilated, channels first": convolve(
        (4, 3, 2, 7), layout=("NCHW", "IHWO", "NCHW"), padding=((1, 1), (0, 1))
    ),
    "conv_general_dilated, transposed": convolve(
        (3, 4, 5, 7), padding=((1, 2), (3, 0)), lhs_dilation=(2, 3)
    ),
    "conv_general_dilated, transposed with groups": convolve(
        (2, 2, 1, 10), (2, 1), ((3, 0), (1, 2)), lhs_dilation=(3, 2), feature_group_count=5
    ),
    "conv_general_dilated, one axis": lambda x: convolve(
        (3, 5, 2), (2,), layout=("NWC", "WIO", "NWC")
    )(x[:, 0]),
    "conv_general_dilated, folded": lambda x: (convolve((3, 3, 5, 5))(x) - 1) * CHANNELS + 2,
    "conv_general_dilated, folded before a pool": lambda x: (
        pool(-np.inf, lax.max, (2, 2), (2, 2))(convolve((3, 3, 5, 5))(x)) * 3 + CHANNELS
    ),
    "conv_general_dilated, not folded before a pool": lambda x: (
        pool(-np.inf, lax.max, (2, 2), (2, 2))(convolve((3, 3, 5, 5))(x)) * CHANNELS
    ),
    "conv_general_dilated, used twice": lambda x: (lambda y: y * CHANNELS + y)(
        convolve((3, 3, 5, 5))(x)
    ),
    "convert_element_type": lambda x: (3 * x).astype(jnp.int32),
    "cos": jnp.cos,
    "cosh": jnp.cosh,
    "cumsum": lambda x: lax.cumsum(lax.cumsum(x, 1), 2, reverse=True),
    "div": lambda x: x / CHANNELS,
    "div by a result": lambda x: 1 / (1 + x * x),
    "dot_general": lambda x: x @ np.arange(15.0).reshape(5, 3),
    "dot_general, vector": lambda x: x.reshape(len(x), -1) @ jnp.arange(120.0),
    "dot_general, weights first": lambda x: jnp.einsum("rh,bhwc->brwc", np.ones((3, 4)), x),
    "dot_general, two axes": lambda x: jnp.einsum("bhwc,wcij->bijh", x, np.ones((6, 5, 2, 3))),
    "dot_general, shared axis": lambda x: jnp.einsum("bhwc,hcd->bhwd", x, np.ones((4, 5, 2))),
    "dot_general, attention": attend,
    "dynamic_slice": lambda x: lax.dynamic_slice(x, (0, 1, 9, 0), (len(x), 2, 3, 5)),
    "dynamic_update_slice": lambda x: lax.dynamic_update_slice(x, 2 * x[:, :2, :3], (0, 1, 9, 0)),
    "eq, ne": lambda x: (jnp.round(x) == 0) != (x > 0),
    "erf": lax.erf,
    "erfc": lax.erfc,
    "exp": jnp.exp,
    "exp2": jnp.exp2,
    "expm1": jnp.expm1,
    "floor": jnp.floor,
    "fori_loop": lambda x: lax.fori_loop(0, 3, lambda number, y: 2 * y + number, x),
    "gather": lambda x: x[:, np.array([0, 2, 1]), np.array([1, 1, 4])],
    "gather along an axis": lambda x: jnp.take(x, np.array([3, 0, 1]), axis=2),
    "ge, gt": lambda x: (x >= 0.1) | (x > 0),
    "gelu": lambda x: nn.gelu(x, approximate=False) + nn.gelu(x),
    "gelu by erf": lambda x: x * (0.5 * (1 + lax.erf(x * 0.5**0.5))),
    "integer_pow": lambda x: x**3 + x**2 + 1 / x**1,
    "is_finite": lambda x: jnp.isfinite(1 / jnp.round(x)),
    "le, lt": lambda x: (x <= 0.1) & (x < 0),
    "log": lambda x: jnp.log(jnp.abs(x)),
    "log1p": lambda x: jnp.log1p(jnp.abs(x)),
    "logistic": nn.sigmoid,
    "max": lambda x: jnp.maximum(x, 0.5) + nn.relu(x),
    "min": lambda x: jnp.minimum(x, ROWS),
    "mul": lambda x: 3 * x * CHANNELS,
    "neg": lambda x: -x,
    "optimization_barrier": lax.optimization_barrier,
    "pad": lambda x: jnp.pad(x, ((0, 0), (1, 2), (0, 1), (0, 0)), constant_values=3),
    "pad by negative numbers": lambda x: lax.pad(
        x, 0.0, ((0, 0, 0), (-1, 2, 0), (1, -2, 0), (0, 0, 0))
    ),
    "pad by reflections": lambda x: jnp.pad(x, ((0, 0), (1, 2), (2, 1), (0, 0)), mode="reflect"),
    "pow": lambda x: jnp.abs(x) ** 1.5,
    "reduce_and, reduce_or": lambda x: (x > -1).all((1, 2)) | (x > 2).any((1, 2)),
    "reduce_max": lambda x: x.max((1, 2)),
    "reduce_max of blocks": lambda x: x.reshape(len(x), 2, 2, 3, 2, 5).max((2, 4)),
    "reduce_max of cropped blocks": lambda x: (
        (x + 1)[:, :3, :].reshape(len(x), 1, 3, 2, 3, 5).max((2, 4))
    ),
    "reduce_min": lambda x: x.min(2),
    "reduce_precision": lambda x: lax.reduce_precision(x, 8, 23),
    "reduce_prod": lambda x: x.prod(-1),
    "reduce_sum": lambda x: x.var((1, 2)),
    "reduce_sum of blocks": lambda x: x.reshape(len(x), 2, 2, 3, 2, 5).sum((2, 4)),
    "reduce_window_max": pool(-np.inf, lax.max, (2, 3), (2, 1), "SAME"),
    "reduce_window_min": pool(np.inf, lax.min, (2, 2), (1, 2)),
    "reduce_window_sum": pool(0.0, lax.add, (3, 2), (1, 2), "SAME"),
    "rem": lambda x: lax.rem(x, jnp.full_like(x, 0.3)),
    "remat": jax.checkpoint(jnp.sin),
    "reshape": lambda x: x.reshape(len(x), -1),
    "reshape, images joined": lambda x: x.reshape(-1, 5).sum(1).reshape(len(x), -1),
    "reshape, channels first": lambda x: x.transpose(0, 3, 1, 2).reshape(len(x), -1),
    "reshape, axis split": lambda x: (
        x.transpose(0, 2, 1, 3).reshape(len(x), 3, 2, 4, 5).sum(1).transpose(0, 3, 2, 1)
    ),
    "rev": lambda x: jnp.flip(x, (1, 2)),
    "round": jnp.round,
    "round away from zero": lambda x: lax.round(2 * x, lax.RoundingMethod.AWAY_FROM_ZERO),
    "rsqrt": lambda x: lax.rsqrt(jnp.abs(x)),
    "scan": lambda x: lax.scan(lambda y, w: (jnp.tanh(y * w), y), x, CHANNELS[:3])[0],
    "scan, stacked": lambda x: lax.scan(
        lambda sums, row: (sums + row, sums),
        jnp.zeros((len(x), 6, 5)),
        x.swapaxes(0, 1),
        reverse=True,
    )[1].swapaxes(0, 1),
    "scatter": lambda x: x.at[:, np.array([0, 3]), 2].set(5.0),
    "select_n": lambda x: jnp.where(x > 0, x, -CHANNELS),
    "sign": jnp.sign,
    "sin": jnp.sin,
    "sinh": jnp.sinh,
    "slice": lambda x: x[:, 1:3, ::2, -2],
    "sort": lambda x: jnp.sort(x, 2),
    "sort, positions": lambda x: jnp.argsort(x, -1),
    "softmax": lambda x: nn.softmax(x) + nn.log_softmax(x, 1),
    "split": lambda x: jnp.multiply(*jnp.split(x, (2,), axis=1)),
    "sqrt": lambda x: jnp.sqrt(jnp.abs(x)),
    "square": lax.square,
    "squeeze": lambda x: x[:, :1].squeeze(1),
    "stack": lambda x: jnp.stack([x, x + 1], 2),
    "stop_gradient": lambda x: x + lax.stop_gradient(x),
    "sub": lambda x: 2 - (x - CHANNELS),
    "tan": jnp.tan,
    "tanh": jnp.tanh,
    "tile": lambda x: jnp.tile(x, (1, 2, 1, 3)),
    "token": lambda x: jnp.concatenate(
        [jnp.broadcast_to(CHANNELS, (len(x), 1, 5)), x.reshape(len(x), -1, 5)], 1
    )[:, :3],
    "top_k": lambda x: jnp.concatenate(lax.top_k(x, 2), -1),
    "transpose": lambda x: x.transpose(0, 3, 1, 2),
    "vmap": jax.vmap(lambda image: (image @ np.ones((5, 3))).max((0, 1))),
    "while of constants": lambda x: x * lax.while_loop(lambda y: y < 9, lambda y: 2 * y, 1.0),
}

# Cases with images of other shapes: (shape of an image, function).
OTHER_SHAPES = {
    "reduce_max of transposed blocks": (
        (4, 6, 5),
        lambda x: x.reshape(len(x), 4, 2, 3, 5).swapaxes(2, 3).max(3),
    ),
    "reduce_sum of transposed blocks": (
        (4, 6, 5),
        lambda x: x.reshape(len(x), 4, 2, 3, 5).swapaxes(2, 3).sum(3),
    ),
    "reduce_max of cropped and transposed blocks": (
        (7, 7, 5),
        lambda x: x[:, :6, :6].swapaxes(1, 2).reshape(len(x), 3, 2, 3, 2, 5).max((2, 4)),
    ),
    "reduce_max of joined images": (
        (4, 6, 5),
        lambda x: x + x.reshape(-1, 6, 5).reshape(4, len(x), 6, 5).max(1),
    ),
    "and, or of arrays": ((6, 5), lambda x: jnp.maximum(x > 0, x < 1) & jnp.minimum(x < 2, x > -1)),
    "select_n of bools": ((6, 5), lambda x: jnp.where(x > 0, x < 1, x > -1)),
    "lt, ge of bools": ((6, 5), lambda x: lax.lt(x > 1, x > 0) | lax.ge(x > 1, x < 1)),
    "reduce_max of bools": ((6, 5), lambda x: lax.reduce_max(x > 1, (1,))),
    "argmax of bools": ((6, 5), lambda x: (x > 1).argmax(1)),
    "sort of bools": ((6, 5), lambda x: jnp.sort(x > 0, 1)),
    "reduce_and over no axes": ((6, 5), lambda x: jnp.all(x > 0, axis=())),
    "convert_element_type, saturated": (
        (6, 5),
        lambda x: (x * 1e10).astype(jnp.int32) // 2 + (x * 200).astype(jnp.int8),
    ),
    "convert_element_type of NaN": ((6, 5), lambda x: jnp.log(x).astype(jnp.int32)),
    "concatenate an array without elements": (
        (8, 5),
        lambda x: jnp.concatenate([x[:, :0], x], axis=1),
    ),
    "div by 0": ((6, 5), lambda x: x / np.float32([0, 1, 2, 1e-35, 4])),
    "expm1 near 0": ((6, 5), lambda x: 1e4 * jnp.expm1(x * 1e-4)),
    "expm1 of large numbers": ((6, 5), lambda x: jnp.expm1(jnp.clip(x * 100, -90, 80))),
    "log1p near 0": ((6, 5), lambda x: 1e4 * jnp.log1p(x * 1e-4)),
    "log1p of large numbers": ((6, 5), lambda x: jnp.log1p(jnp.exp(30 * x) - 0.9)),
    "scan of constants alone": (
        (6, 5),
        lambda x: x + lax.scan(lambda y, w: (y * w, y), 1.0, CHANNELS)[1],
    ),
    "transposition moved over other nodes": (
        (7, 6, 5),
        lambda x: jnp.einsum(
            "bqw,bhwc->bqhc",
            jnp.broadcast_to(CHANNELS[:3, None] * ROWS[:, 0], (len(x), 3, 6)),
            x + 1,
        ),
    ),
    "transposition moved over a reduction": (
        (4, 6, 5),
        lambda x: (lambda y, total: convolve((3, 3, 5, 7))(y) + total)(2 * x, x[:, :1, :1, :1]),
    ),
    "sum of 0 that broadcasts": ((6, 5), lambda x: (x[:, None] + POSITIONS) - POSITIONS),
    "reduce_max of blocks along four axes": (
        (4, 4, 4, 4, 3),
        lambda x: x.reshape(len(x), 2, 2, 2, 2, 2, 2, 2, 2, 3).max((2, 4, 6, 8)),
    ),
    "reduce_window_max in an array of six axes": (
        (2, 3, 4, 4, 5),
        lambda x: lax.reduce_window(
            x, -np.inf, lax.max, (1, 1, 1, 2, 2, 1), (1, 1, 1, 2, 1, 1), "VALID"
        ),
    ),
    "reduce_window_sum along the first axis": (
        (3, 2, 4, 4, 5),
        lambda x: lax.reduce_window(x, 0.0, lax.add, (1, 2, 1, 1, 1, 1), (1,) * 6, "SAME"),
    ),
    "unstack": ((6, 5), lambda x: jnp.multiply(*lax.slice_in_dim(x, 0, 2, axis=1).swapaxes(0, 1))),
    "unstack along an axis": ((6, 5), lambda x: sum(jnp.unstack(x, axis=2))),
    "no softmax: the sums are transposed": ((6, 6), lambda x: divided_by_transposed_sums(x)),
}


def divided_by_transposed_sums(x):
    exponentials = jnp.exp(x - x.max(1, keepdims=True))
    return exponentials / exponentials.sum(1, keepdims=True).swapaxes(1, 2)


def floats(function):
    """The function, with its result as float32."""
    return lambda images: function(images).astype(jnp.float32)


def converted(function, shape=SHAPE):
    """The ONNX graph of a function of images."""
    return function_graph(lambda _, images: function(images), (), shape, jnp.float32)


def assert_same(function, shape=SHAPE, scale=1, rtol=2e-5, atol=2e-5):
    """Compare a function's results in ONNX Runtime with its results in JAX, for each batch size."""
    onnxruntime = pytest.importorskip("onnxruntime", reason="ONNX Runtime is not installed")
    function = floats(function)
    draw = np.random.RandomState(2)
    images = np.float32(scale * draw.normal(size=(max(BATCHES), *shape)))
    model = checked_onnx_model(converted(function, shape), "function")
    session = onnxruntime.InferenceSession(model.SerializeToString())
    for count in BATCHES:
        expected = np.asarray(jax.jit(function)(images[:count]))
        [got] = session.run(None, {"images": images[:count]})
        assert got.shape == expected.shape
        np.testing.assert_allclose(got, expected, rtol, atol)


@pytest.mark.parametrize("name", CASES)
def test_an_operation_gives_the_same_for_any_batch_size(name):
    assert_same(CASES[name])


@pytest.mark.parametrize("name", OTHER_SHAPES)
def test_an_operation_on_another_shape_gives_the_same(name):
    shape, function = OTHER_SHAPES[name]
    assert_same(function, shape)


def operations(function):
    return [node.operation for node in converted(function).nodes]


def test_a_chain_of_layers_is_transposed_only_at_its_ends():
    def layers(x):
        x = nn.relu(convolve((3, 3, 5, 5))(x / 255 - CHANNELS) * CHANNELS + CHANNELS)
        x = pool(-np.inf, lax.max, (2, 2), (2, 2))(x)
        x = nn.relu((convolve((3, 3, 5, 8))(x) - 1) * 2)
        return x.mean((1, 2)) @ np.ones((8, 3)) + np.ones(3)

    expected = ["Transpose", "Mul", "Add", "Conv", "Relu", "MaxPool", "Conv", "Relu"]
    assert operations(layers) == [*expected, "ReduceSum", "Mul", "Gemm"]


def test_blocks_that_are_reduced_are_a_pool():
    def blocks(x):
        y = convolve((1, 1, 5, 5))(jnp.tile(x, (1, 2, 1, 1)))[:, :7, :5]
        return y[:, :6, :4].reshape(len(x), 3, 2, 2, 2, 5).max((2, 4)).sum((1, 2, 3))

    assert operations(blocks).count("MaxPool") == 1
    assert "ReduceMax" not in operations(blocks)


def test_branches_for_kinds_of_devices_become_the_shortest_branch():
    def choice(x):
        return lax.platform_dependent(x, cpu=lambda x: jnp.sin(jnp.cos(x)), default=jnp.tanh)

    assert operations(choice) == ["Tanh"]


def test_a_branch_for_a_kind_of_device_needs_conversions():
    def choice(x):
        return lax.platform_dependent(
            x, cpu=lambda x: lax.nextafter(x, x), default=lambda x: jnp.tanh(jnp.cos(x))
        )

    assert operations(choice) == ["Cos", "Tanh"]


def test_every_conversion_has_a_case():
    names = {name for case in (*CASES, *OTHER_SHAPES) for name in case.replace(",", " ").split()}
    tested_otherwise = {"add_any", "copy", "copy_p", "device_put", "layout_constraint", "name"}
    tested_otherwise |= {"pvary", "sharding_constraint"}  # as `optimization_barrier`
    assert CONVERSIONS.keys() - names == tested_otherwise


def test_operations_without_effect_on_the_result_need_no_conversion():
    def printing(x):
        jax.debug.print("mean {}", lax.nextafter(x, x).mean())
        return jnp.tanh(x)

    assert operations(printing) == ["Tanh"]
