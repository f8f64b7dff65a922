"""The networks and their tables against the figures of the reference report, or by hand."""

from functools import partial
from itertools import product
from statistics import NormalDist

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import enable_x64, obeyed
from flax import linen as nn
from rounding import (
    ENLARGED_BY_TRANSFORMS,
    UNIT,
    assert_near,
    error_by_condition,
    error_of_sum,
)

from jaxcifar.build.model import check_model, create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.errors import UsageError
from jaxcifar.kernels.activations import gelu, relu
from jaxcifar.kernels.gradients import mean_and_var_in_one_pass
from jaxcifar.kernels.pools import max_pool, pair_maxima
from jaxcifar.networks.layers import (
    BatchNorm,
    Conv,
    Dense,
    Dropout,
    MaxBlurPool,
    MaxPool,
    mean_of_window_maxima,
)

PARAMETERS = {
    "cnn": 551_722,
    "resnet18": 11_173_962,
    # Biases of whitening and norms, kernels, head.
    "fastnet": 24
    + 2 * (64 + 256 + 256)
    + 9 * (24 * 64 + 64 * 64 + 64 * 256 + 3 * 256 * 256)
    + 256 * 10,
}
FLOPS = {
    "cnn": 39_356_160,
    "resnet18": 557_880_320,
    "fastnet": 31**2 * (12 * 24 + 9 * 24 * 64)
    + 15**2 * (9 * 64 * 64 + 9 * 64 * 256 + 2 * 4 * 64)
    + 7**2 * (2 * 9 * 256 * 256 + 2 * 4 * 256)
    + 3**2 * (9 * 256 * 256 + 2 * 4 * 256)
    + 256 * 10,
}
SIZES = {
    "cnn": (0.01, 1.86, 2.10, 3.98),
    "resnet18": (0.01, 13.63, 42.63, 56.26),
    "fastnet": (0.01, 2.92, 7.52, 10.45),
}
ROWS = {
    "cnn": {
        1: "Conv2d-1 [-1, 32, 32, 32] 896",
        2: "BatchNorm2d-2 [-1, 32, 32, 32] 64",
        5: "MaxPool2d-5 [-1, 32, 16, 16] 0",
        13: "Conv2d-13 [-1, 128, 8, 8] 147,584",
        17: "BatchNorm1d-17 [-1, 128] 256",
        18: "Dropout-18 [-1, 128] 0",
        19: "Linear-19 [-1, 10] 1,290",
    },
    "resnet18": {
        1: "Conv2d-1 [-1, 64, 32, 32] 1,728",
        3: "ReLU-3 [-1, 64, 32, 32] 0",
        9: "ResBlock-9 [-1, 64, 32, 32] 0",
        21: "Conv2d-21 [-1, 128, 16, 16] 8,192",
        57: "ResBlock-57 [-1, 512, 4, 4] 0",
        58: "Linear-58 [-1, 10] 5,130",
    },
    "fastnet": {
        1: "Whitening-1 [-1, 24, 31, 31] 24",
        3: "Conv2d-3 [-1, 64, 31, 31] 13,824",
        4: "MaxPool2d-4 [-1, 64, 15, 15] 0",
        5: "BatchNorm2d-5 [-1, 64, 15, 15] 64",
        6: "GELU-6 [-1, 64, 15, 15] 0",
        18: "ConvGroup-18 [-1, 256, 7, 7] 0",
        27: "Linear-27 [-1, 10] 2,560",
    },
}
ARCHS = tuple(PARAMETERS)


@pytest.mark.parametrize("arch", ARCHS)
def test_shapes_dtypes_and_parameter_count(arch):
    model = create_model(Config.create(arch, arch_args={}), 10, jnp.bfloat16)
    images = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
    logits, variables = jax.eval_shape(
        lambda x: model.init_with_output(jax.random.key(0), x, train=False), images
    )
    assert (logits.shape, logits.dtype) == ((4, 10), jnp.float32)
    assert {leaf.dtype for leaf in jax.tree.leaves(variables)} == {jnp.dtype("float32")}
    assert sum(leaf.size for leaf in jax.tree.leaves(variables["params"])) == PARAMETERS[arch]


@pytest.mark.parametrize("arch", ARCHS)
def test_the_table_is_as_it_should_be(arch):
    done = obeyed("summary", "--arch", arch, "--arch-args")  # none: FastNet's recipe has some
    assert done.returncode == 0, done.stderr
    lines = [" ".join(line.split()) for line in done.stdout.splitlines()]
    rows = lines[3 : lines.index("=" * 64, 3)]
    assert len(rows) == max(ROWS[arch])
    assert {number: rows[number - 1] for number in ROWS[arch]} == ROWS[arch]
    assert f"Total params: {PARAMETERS[arch]:,}" in lines
    assert f"Trainable params: {PARAMETERS[arch]:,}" in lines
    assert "Non-trainable params: 0" in lines
    names = ("Input size", "Forward/backward pass size", "Params size", "Estimated Total Size")
    for name, size in zip(names, SIZES[arch], strict=True):
        assert f"{name} (MB): {size:.2f}" in lines
    assert f"FLOPs: {FLOPS[arch]:,}" in lines


def test_the_recipe_has_a_wider_deeper_fastnet_that_is_mirrored():
    summary = summarize(create_model(Config.create("fastnet"), 10))
    halves = 24 * 32 + 64 * 32 + 64 * 128 + 256 * 128 + 256 * 192 + 2 * 384 * 192
    biases = 18 + (2 * 64 + 2 * 256 + 3 * 384) // 2
    assert summary.params == biases + 9 * halves + 384 * 10 // 2 == 2_166_290


@pytest.mark.parametrize("layer", [Conv(16, use_bias=True), Conv(16, 1), Dense(64)])
def test_initialisation_is_uniform_in_one_over_sqrt_fan_in(layer):
    shape = (1, 64) if isinstance(layer, Dense) else (1, 8, 8, 64)
    params = layer.init(jax.random.key(0), jnp.zeros(shape))["params"]
    fan_in = params["kernel"][..., 0].size
    values = np.concatenate([np.ravel(array) for array in params.values()]) * np.sqrt(fan_in)
    assert np.abs(values).max() <= 1
    assert np.abs(values).max() > 0.98
    assert abs(values.mean()) < 0.05
    assert abs(values.var() - 1 / 3) < 0.03  # of a uniform distribution on [-1, 1]


def numpy_conv(x, kernel, stride):
    """Convolution from its definition, an odd kernel padded by half of it on every side."""
    size = len(kernel)
    pad = size // 2 if size % 2 else 0
    x = np.pad(x, ((0, 0), (pad, pad), (pad, pad), (0, 0)))
    height = (x.shape[1] - size) // stride + 1
    y = np.zeros((len(x), height, height, kernel.shape[-1]))
    for i in range(height):
        for j in range(height):
            window = x[:, i * stride : i * stride + size, j * stride : j * stride + size]
            y[:, i, j] = np.tensordot(window, kernel, 3)
    return y


@pytest.mark.parametrize(
    ("size", "stride", "padding"),
    [(3, 1, None), (3, 2, None), (1, 1, None), (1, 2, None), (2, 1, 0), (2, 2, 0)],
)
def test_convolution_pads_on_each_side(size, stride, padding):
    x = np.random.RandomState(0).randn(2, 8, 8, 3).astype(np.float32)
    layer = Conv(4, size, stride, padding=padding)
    variables = layer.init(jax.random.key(0), jnp.asarray(x))
    kernel = np.float64(variables["params"]["kernel"])
    root_of_squares = np.sqrt(numpy_conv(x**2, kernel**2, stride).max())
    error = ENLARGED_BY_TRANSFORMS * error_of_sum(3 * size**2, root_of_squares)
    y = layer.apply(variables, jnp.asarray(x))
    assert_near(y, numpy_conv(x, kernel, stride), error)


def test_batch_norm_computes_its_definition():
    x = jnp.float32(np.random.RandomState(0).randn(6, 4, 4, 5) * 3 + 2)
    layer = BatchNorm()
    variables = layer.init(jax.random.key(0), x, train=False)
    y, updated = layer.apply(variables, x, train=True, mutable=["batch_stats"])

    def definition(x):
        mean, var, unbiased = x.mean((0, 1, 2)), x.var((0, 1, 2)), x.var((0, 1, 2), ddof=1)
        return (x - mean) / np.sqrt(var + 1e-5), 0.1 * mean, 0.9 + 0.1 * unbiased

    got = y, updated["batch_stats"]["mean"], updated["batch_stats"]["var"]
    errors = error_by_condition(definition, np.float64(x), 6 * 4 * 4)
    for mine, exact, error in zip(got, definition(np.float64(x)), errors, strict=True):
        assert_near(mine, exact, error)


@pytest.mark.parametrize("estimate", [2.0, 0.0])
def test_moments_in_one_pass_are_those_of_the_definition(estimate):
    """As an accelerator computes them, from an estimate that is good or that of a first step."""
    x = jnp.float32(np.random.RandomState(0).randn(6, 4, 4, 5) * 3 + 2)
    mean, var = mean_and_var_in_one_pass(x, jnp.full(5, estimate), (0, 1, 2))
    exact = np.float64(x)
    np.testing.assert_allclose(mean, exact.mean((0, 1, 2)), rtol=1e-5)
    np.testing.assert_allclose(var, exact.var((0, 1, 2)), rtol=1e-5)


def test_the_variance_of_equal_values_in_one_pass_is_not_negative():
    x = jnp.full((100, 3), 0.1, jnp.float32)
    _, var = mean_and_var_in_one_pass(x, jnp.zeros(3), (0,))
    assert float(var.min()) >= 0
    assert float(var.max()) < 1e-7


def test_the_gradients_of_batch_norm_are_those_of_its_definition():
    rng = np.random.RandomState(0)
    x, weights = rng.randn(6, 4, 4, 5) * 3 + 2, rng.randn(6, 4, 4, 5)
    params = {"scale": rng.randn(5), "bias": rng.randn(5)}
    stats = {"batch_stats": {"mean": np.zeros(5), "var": np.ones(5)}}

    def ours(x, params):
        single = jax.tree.map(jnp.float32, {"params": params} | stats)
        y, _ = BatchNorm().apply(single, x, train=True, mutable=["batch_stats"])
        return (y * weights).sum()

    def definition(x, params, weights):
        y = (x - x.mean((0, 1, 2))) / jnp.sqrt(x.var((0, 1, 2)) + 1e-5)
        return ((y * params["scale"] + params["bias"]) * weights).sum()

    gradient_by_definition = jax.jit(jax.grad(definition, (0, 1)))

    def by_definition(given):
        with enable_x64(True):
            return jax.device_get(gradient_by_definition(*given))

    got = jax.jit(jax.grad(ours, (0, 1)))(jnp.float32(x), jax.tree.map(jnp.float32, params))
    given = x, params, weights
    errors = error_by_condition(by_definition, given, 6 * 4 * 4)
    jax.tree.map(assert_near, got, by_definition(given), errors)


def test_relu_has_no_gradient_at_zero():
    x = jnp.asarray([-2.0, 0.0, 3.0])
    y, vjp = jax.vjp(relu, x)
    np.testing.assert_array_equal(y, [0, 0, 3])
    np.testing.assert_array_equal(vjp(jnp.full(3, 5.0))[0], [0, 0, 5])


@pytest.mark.parametrize(("shape", "window"), [((4, 6), 2), ((7, 3), 2), ((3, 3), 3), ((8, 7), 3)])
def test_max_pool_is_that_of_numpy(shape, window):
    x = np.random.RandomState(0).randn(2, *shape, 5).astype(np.float32)
    expected = np.zeros((2, *(extent // window for extent in shape), 5))
    for i, j in np.ndindex(expected.shape[1:3]):
        rows, columns = (slice(n * window, (n + 1) * window) for n in (i, j))
        expected[:, i, j] = x[:, rows, columns].max((1, 2))
    np.testing.assert_array_equal(MaxPool(window).apply({}, jnp.asarray(x)), expected)


def value_and_gradient(layer, x, grad):
    """The output of a layer, and the gradient of its input for that of its output."""

    @jax.jit
    def run(x, grad):
        y, vjp = jax.vjp(layer, x)
        return y, vjp(grad)[0]

    return run(x, grad)


@pytest.mark.parametrize(
    ("shape", "size", "width"),
    [((4, 6), 2, 2), ((7, 3), 2, 2), ((8, 7), 3, 3), ((5, 7), 2, 3), ((7, 8), 3, 5)],
)
def test_of_equal_pixels_the_first_has_the_gradient_of_max_pool(shape, size, width):
    x = np.random.RandomState(0).randint(0, 3, (2, *shape, 5)).astype(np.float32)
    made = (len(x), (shape[0] - size) // size + 1, (shape[1] - width) // size + 1, x.shape[-1])
    grad = np.arange(1.0, np.prod(made) + 1).reshape(made).astype(np.float32)
    y, x_grad = value_and_gradient(partial(max_pool, stride=size, window_width=width), x, grad)
    assert y.shape == made
    most, expected = np.zeros_like(grad), np.zeros_like(x)
    for b, i, j, c in np.ndindex(grad.shape):
        window = x[b, i * size : (i + 1) * size, j * size : j * size + width, c]
        row, column = divmod(int(window.argmax()), width)
        most[b, i, j, c] = window.max()
        expected[b, i * size + row, j * size + column, c] += grad[b, i, j, c]
    np.testing.assert_array_equal(y, most)
    np.testing.assert_array_equal(x_grad, expected)


@pytest.mark.parametrize(("width", "window"), [(7, 2), (8, 2), (8, 3)])
def test_a_mirrored_pool_commutes_with_mirroring(width, window):
    x = jnp.float32(np.random.RandomState(0).randn(2, 6, width, 5))
    pool = MaxPool(window, mirrored=True)
    y = pool.apply({}, x)
    np.testing.assert_array_equal(pool.apply({}, x[:, :, ::-1]), y[:, :, ::-1])
    size = window, window + width % window
    np.testing.assert_array_equal(y, nn.max_pool(x, size, (window, window)))


def starts_of_pairs(extent, k):
    return (2 * k, 2 * k + 1) if extent % 2 else (2 * k,)


@pytest.mark.parametrize("shape", [(6, 7), (7, 6), (7, 5), (2, 4)])
@pytest.mark.parametrize("pool", [partial(MaxBlurPool().apply, {}), mean_of_window_maxima])
def test_a_blurred_pool_and_its_gradient_against_numpy(pool, shape):
    rng = np.random.RandomState(0)
    x = rng.permutation(2.0 ** np.arange(0, 2 * shape[0] * shape[1]) / 2**30)  # no two alike
    x = x.reshape(1, *shape, 2).astype(np.float32)
    made = (1, shape[0] // 2, shape[1] // 2, 2)
    grad = rng.randint(1, 9, made).astype(np.float32)
    y, x_grad = value_and_gradient(pool, x, grad)
    expected, back = np.zeros(made), np.zeros(x.shape)
    assert y.shape == made
    for i, j, c in np.ndindex(y.shape[1:]):
        rows, columns = starts_of_pairs(shape[0], i), starts_of_pairs(shape[1], j)
        part = 1 / (len(rows) * len(columns))
        for top, left in product(rows, columns):
            window = x[0, top : top + 2, left : left + 2, c]
            row, column = divmod(int(window.argmax()), 2)
            expected[0, i, j, c] += part * window.max()
            back[0, top + row, left + column, c] += part * grad[0, i, j, c]
    assert_near(y, expected, error_of_sum(4, expected))
    np.testing.assert_array_equal(x_grad, back)


def test_of_equal_neighbours_the_first_has_the_gradient():
    y, vjp = jax.vjp(lambda x: pair_maxima(x, 0), jnp.asarray([1.0, 1, 1, 0, 2]))
    np.testing.assert_array_equal(y, [[1, 1], [1, 2]])
    np.testing.assert_array_equal(vjp(tuple(jnp.asarray([[1.0, 2], [4, 8]])))[0], [1, 4, 2, 0, 8])


@pytest.mark.parametrize("width", [7, 8])
def test_a_blurred_pool_commutes_with_mirroring(width):
    x = jnp.float32(np.random.RandomState(0).randn(2, 6, width, 5))
    y = MaxBlurPool().apply({}, x)
    assert y.shape == (2, 3, width // 2, 5)
    np.testing.assert_array_equal(MaxBlurPool().apply({}, x[:, :, ::-1]), y[:, :, ::-1])


def test_copies_share_what_a_batch_norm_learns_and_sees():
    """As if the parts were images of one batch."""
    x = jnp.float32(np.random.RandomState(0).randn(8, 3, 3, 6) * [1, 2, 3, 4, 5, 6] + 1)
    shared, single = BatchNorm(channel_groups=2), BatchNorm()
    apart = jnp.stack([x[..., :3], x[..., 3:]])
    variables = single.init(jax.random.key(0), apart, train=False)
    variables = jax.tree.map(lambda a: a + np.arange(3, dtype=np.float32), variables)
    weight = jnp.float32(np.random.RandomState(1).randn(*x.shape))

    def together(layer, x, weight):
        def loss(params, x):
            given = {**variables, "params": params}
            y, updated = layer.apply(given, x, train=True, mutable=["batch_stats"])
            return (y.reshape(x.shape) * of(weight, layer)).sum(), updated

        return jax.jit(jax.value_and_grad(loss, (0, 1), has_aux=True))(variables["params"], x)

    def of(array, layer):
        return array if layer is shared else jnp.stack([array[..., :3], array[..., 3:]])

    def learned(given):
        (_, stats), (grads, x_grad) = together(single, *map(jnp.asarray, given))
        return stats, grads, x_grad

    @jax.jit
    def predicted(apart):
        return single.apply(variables, jnp.asarray(apart), train=False)

    (_, stats), (grads, x_grad) = together(shared, x, weight)
    errors = error_by_condition(learned, (apart, weight), 16 * 3 * 3)
    got, expected = (stats, grads, of(x_grad, None)), learned((apart, weight))
    jax.tree.map(lambda a, b, error: assert_near(a, b, 2 * error), got, expected, errors)
    y = of(shared.apply(variables, x, train=False), None)
    assert_near(y, predicted(apart), 2 * error_by_condition(predicted, apart, 4))


def test_gelu_and_its_gradient_are_those_of_the_normal_distribution():
    x = np.linspace(-6, 6, 97)
    y, vjp = jax.vjp(gelu, jnp.float32(x))
    normal = NormalDist()
    # 1 + erf, of up to 2, is off by a few roundings, whatever is left of it; so is the density.
    error = 8 * UNIT * np.maximum(1, np.abs(x))
    assert_near(y, [v * normal.cdf(v) for v in x], error)
    halves = jnp.asarray(x, jnp.bfloat16)
    rounded = np.asarray(halves, np.float64)
    exact = np.asarray([v * normal.cdf(v) for v in rounded])
    assert_near(gelu(halves), exact, error + 2**-8 * np.abs(exact))  # rounded to bfloat16 once
    slopes = [normal.cdf(v) + v * normal.pdf(v) for v in x]
    assert_near(vjp(jnp.full(x.shape, 2.0))[0], 2 * np.asarray(slopes), 2 * error)


@pytest.mark.parametrize("rate", [0.2, 0.7])
def test_dropout_zeroes_a_part_and_scales_the_rest_up(rate):
    """The part by the binomial distribution, drawn anew for each example and each key."""
    ones, layer = jnp.ones((64, 1000)), Dropout(rate)
    got, other = (
        np.asarray(layer.apply({}, ones, train=True, rngs={"dropout": jax.random.key(key)}))
        for key in (0, 1)
    )
    dropped = got == 0
    deviation = np.sqrt(rate * (1 - rate) / dropped.size)
    assert abs(dropped.mean() - rate) < 5 * deviation
    np.testing.assert_allclose(got[~dropped], 1 / (1 - rate), rtol=1e-6)
    same = (1 - rate) ** 2 + rate**2  # of two places, drawn apart
    for one, another in ((got[0], got[1]), (got, other)):
        assert abs(((one == 0) == (another == 0)).mean() - same) < 5 / np.sqrt(one.size)
    np.testing.assert_array_equal(layer.apply({}, ones, train=False), ones)


def test_the_configs_dropout_is_the_networks():
    for rate in (0.0, 0.3):
        assert create_model(Config.create("cnn", dropout=rate), 10).dropout == rate


def test_dropout_acts_in_training_only():
    model = create_model(Config.create("cnn"), 10).clone(widths=(), hidden=16)
    x = jnp.float32(np.random.RandomState(0).rand(8, 32, 32, 3))
    variables = jax.jit(lambda: model.init(jax.random.key(0), x, train=False))()

    @jax.jit
    def logits(key):
        rngs = {"dropout": key}
        return model.apply(variables, x, train=True, mutable=["batch_stats"], rngs=rngs)[0]

    assert not np.allclose(logits(jax.random.key(1)), logits(jax.random.key(2)))
    without = model.clone(dropout=0.0)
    evaluated = (jax.jit(partial(m.apply, train=False))(variables, x) for m in (model, without))
    np.testing.assert_array_equal(*evaluated)


@pytest.mark.parametrize(
    "arguments",
    [
        {"hidden": 0, "widths": (0, 0)},
        {"hidden": -1},
        {"hidden": True},
        {"hidden": False},
        {"widths": (4,) * 6},
        {"widths": (4, "x")},
        {"hidden": 10**11},
    ],
)
def test_arguments_that_make_no_network_are_one_line(arguments):
    with pytest.raises(UsageError) as error:
        config = Config.create("cnn", arch_args=arguments)
        check_model(config, create_model(config, 10), 10)
    assert "\n" not in str(error.value) and str(error.value).startswith("--arch")
