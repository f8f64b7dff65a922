"""FastNet against NumPy: its whitening, its first weights, what it computes, and how it trains."""

import dataclasses
import io
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from networks.test_models import numpy_conv
from rich.console import Console
from rounding import UNIT, assert_near, error_by_condition, error_of_sum
from scipy.special import erf

import jaxcifar
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.build.model import check_model, create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.networks.fastnet import (
    FastNet,
    mean_of_maxima,
)
from jaxcifar.networks.initializers import input_copying_initializer
from jaxcifar.networks.whitening import mirrored_whitening_kernel, whitening_kernel
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task

WIDTHS, DEPTHS = (8, 6, 4), (2, 1, 3)
CONFIG = Config.create(
    "fastnet",
    arch_args={"widths": WIDTHS},
    dataset="shapes10",
    epochs=2,
    batch_size=32,
    learning_rate=0.05,
)

DIRECTIONS = [*range(6), *range(12, 18)]  # of a mirrored whitening, those that are no negatives


def patches(images):
    """All 2x2 patches, a row each, in the order of a kernel's axes."""
    windows = np.lib.stride_tricks.sliding_window_view(images, (2, 2), axis=(1, 2))
    return windows.transpose(0, 1, 2, 4, 5, 3).reshape(-1, 4 * images.shape[-1])


def both_sides(images):
    """All patches of images and of their mirror images."""
    return np.concatenate([patches(side) for side in (images, images[:, :, ::-1])]).astype(float)


def smooth_images():
    """Neighbouring pixels and channels resemble each other, as they do in photographs."""
    noise = np.random.RandomState(0).randn(50, 33, 33, 3) @ [[1, 0.5, 0.2], [0, 1, 0.5], [0, 0, 1]]
    return (noise[:, 1:, 1:] + noise[:, :-1, 1:] + 0.5 * noise[:, 1:, :-1]).astype(np.float32) + 0.3


def test_whitened_patches_are_uncorrelated_and_of_variance_one():
    images = smooth_images()
    kernel = np.asarray(whitening_kernel(jnp.asarray(images)))
    assert kernel.shape == (2, 2, 3, 24)
    columns = kernel.reshape(12, 24)
    np.testing.assert_array_equal(columns[:, 12:], -columns[:, :12])
    given = np.cov(patches(images).T)
    assert np.abs(given - np.diag(np.diag(given))).max() > 0.3  # there was something to do
    whitened = np.cov((patches(images).astype(np.float64) @ columns[:, :12]).T)
    # Along a direction of variance v it is v / (v + eps).
    variances = np.linalg.eigvalsh(given)
    expected = np.diag(variances / (variances + 5e-4))
    assert_near(whitened, expected, error_of_whitening(patches(images), variances))


def error_of_whitening(seen, variances):
    """Covariances are sums over patches; their error counts most along the smallest variance."""
    return error_of_sum(len(seen)) * variances.max() / variances.min()


def test_images_without_variance_leave_the_kernel_finite():
    kernel = np.asarray(whitening_kernel(jnp.full((2, 32, 32, 3), 0.7)))
    roundings = 12 + 4  # of a direction's length, of the root, the sum and the quotient
    assert np.abs(kernel).max() <= 1 / np.sqrt(5e-4) * (1 + roundings * UNIT)


@pytest.mark.parametrize(("inputs", "outputs"), [(3, 5), (4, 4), (5, 3)])
def test_the_first_outputs_begin_as_copies_of_the_inputs(inputs, outputs):
    kernel = np.asarray(
        input_copying_initializer(9 * inputs)(jax.random.key(0), (3, 3, inputs, outputs))
    )
    images = np.random.RandomState(0).randn(2, 6, 6, inputs)
    copied = min(inputs, outputs)
    made = numpy_conv(images, kernel, 1)
    np.testing.assert_allclose(made[..., :copied], images[..., :copied])
    drawn = kernel[..., copied:]
    assert (np.abs(drawn) <= (9 * inputs) ** -0.5).all()
    assert (drawn != 0).all()


def gelu(x):
    return x * (1 + erf(x / np.sqrt(2))) / 2


def pooled(x, size):
    height = x.shape[1] // size
    windows = np.lib.stride_tricks.sliding_window_view(x, (size, size), axis=(1, 2))
    return windows[:, ::size, ::size][:, :height, :height].max((-2, -1))


LONGEST_SUM = 4 * 15 * 15  # the first normalisation's, over the pixels of four images


def in_numpy(variables, images):
    """Logits in training, and each normalisation's mean and unbiased variance of the batch."""
    params, moments = variables["params"], {}

    def norm(x, name):
        moments[name] = x.mean((0, 1, 2)), x.var((0, 1, 2), ddof=1)
        group, layer = name
        bias = params[f"ConvGroup_{group}"][f"BatchNorm_{layer}"]["bias"]
        return (x - x.mean((0, 1, 2))) / np.sqrt(x.var((0, 1, 2)) + 1e-5) + bias

    kernel = variables["whitening"]["Whitening_0"]["kernel"].reshape(12, 24)
    x = (patches(images) @ kernel).reshape(len(images), 31, 31, 24)
    x = gelu(x + params["Whitening_0"]["bias"])
    for group, depth in enumerate(DEPTHS):
        of_group = params[f"ConvGroup_{group}"]
        kernels = [of_group[f"Conv_{layer}"]["kernel"] for layer in range(depth)]
        x = first = gelu(norm(pooled(numpy_conv(x, kernels[0], 1), 2), (group, 0)))
        if depth > 1:
            x = norm(numpy_conv(x, kernels[1], 1), (group, 1))
        if depth == 3:
            x = norm(numpy_conv(gelu(x), kernels[2], 1), (group, 2)) + first
        x = gelu(x) if depth > 1 else x
    return pooled(x, 3)[:, 0, 0] @ params["Dense_0"]["kernel"] / 9, moments


def test_what_it_computes_against_numpy():
    images, model = smooth_images()[:4], FastNet(WIDTHS, DEPTHS)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images)
    rng = np.random.RandomState(1)  # biases begin as zeros, which would hide them
    moved = jax.tree.map(lambda a: a + 0.1 * rng.randn(*a.shape), variables["params"])
    variables = jax.tree.map(jnp.float32, {**variables, "params": moved})
    forward = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    logits, updated = forward(variables, images)
    exactly = jax.tree.map(np.float64, (variables, images))
    expected, moments = in_numpy(*exactly)
    error, errors = error_by_condition(lambda given: in_numpy(*given), exactly, LONGEST_SUM)
    assert_near(logits, expected, error)
    groups = updated["batch_stats"]
    assert len(moments) == 6
    for (group, layer), (mean, var) in moments.items():
        stats = groups[f"ConvGroup_{group}"][f"BatchNorm_{layer}"]
        of_mean, of_var = errors[group, layer]
        assert_near(stats["mean"], 0.4 * mean, 0.4 * of_mean)
        assert_near(stats["var"], 0.6 + 0.4 * var, 0.4 * of_var + error_of_sum(2))


def mirrored_pool(x):
    """Of an odd width: windows of 2x3 pixels, every two of them; at the end all 3x3."""
    if x.shape[1:3] == (3, 3):
        return pooled(x, 3)
    windows = np.lib.stride_tricks.sliding_window_view(x, (2, 3), axis=(1, 2))
    return windows[:, ::2, ::2].max((-2, -1))


def blurred_pool(x):
    """Of odd extents: the maxima over all 2x2 pixels, and the mean of four of them each."""
    maxima = np.lib.stride_tricks.sliding_window_view(x, (2, 2), (1, 2)).max((-2, -1))
    batch, height, width, channels = maxima.shape
    return maxima.reshape(batch, height // 2, 2, width // 2, 2, channels).mean((2, 4))


def by_both_sides(variables, images, pool):
    """A mirrored network in its other form: half of it looks at an image and at its mirror image.

    Before each convolution either side is given what the other one has seen, mirrored.
    """
    params = variables["params"]
    kernel = variables["whitening"]["Whitening_0"]["kernel"].reshape(12, 24)
    bias = params["Whitening_0"]["bias"]
    bias = np.concatenate([bias, bias[12:]])
    sides = images, images[:, :, ::-1]
    x = np.stack([gelu((patches(s) @ kernel).reshape(-1, 31, 31, 24) + bias) for s in sides])

    def convolved(x, kernel):
        return np.stack([numpy_conv(side, kernel, 1) for side in x])

    def norm(x, layer):
        axes = (0, 1, 2, 3)
        return (x - x.mean(axes)) / np.sqrt(x.var(axes) + 1e-5) + layer["bias"]

    def both(x):
        return np.concatenate([x, x[::-1, :, :, ::-1]], -1)

    for group, depth in enumerate(DEPTHS):
        layers = params[f"ConvGroup_{group}"]
        x = convolved(both(x) if group else x, layers["MirroredConv_0"]["kernel"])
        x = np.stack([pool(side) for side in x])
        x = first = gelu(norm(x, layers["BatchNorm_0"]))
        for layer in range(1, depth):
            x = norm(
                convolved(both(x), layers[f"MirroredConv_{layer}"]["kernel"]),
                layers[f"BatchNorm_{layer}"],
            )
            x = gelu(x + first if layer == 2 else x)
    features = sum(pool(side)[:, 0, 0] for side in x)
    return features @ params["Dense_0"]["kernel"] / 9


@pytest.mark.parametrize("blurred", [False, True])
def test_a_mirrored_network_sees_both_sides_alike(blurred):
    images, model = smooth_images()[:4], FastNet(WIDTHS, DEPTHS, mirrored=True, blurred=blurred)
    variables = jax.jit(partial(model.init, train=False))(jax.random.key(0), images)
    rng = np.random.RandomState(1)
    weights = sum(array.size for array in jax.tree.leaves(variables["params"]))
    kernels = 24 * 4 + 8 * 4 + 8 * 3 + 6 * 2 + 4 * 2 + 4 * 2
    assert weights == 18 + (4 + 4) + 3 + (2 + 2 + 2) + 9 * kernels + 2 * 10
    moved = jax.tree.map(lambda a: a + 0.1 * rng.randn(*a.shape), variables["params"])
    variables = jax.tree.map(jnp.float32, {**variables, "params": moved})
    forward = jax.jit(partial(model.apply, train=True, mutable=["batch_stats"]))
    logits, updated = forward(variables, images)
    pool = blurred_pool if blurred else mirrored_pool
    exactly = jax.tree.map(np.float64, (variables, images))
    error = error_by_condition(lambda given: by_both_sides(*given, pool), exactly, 2 * LONGEST_SUM)
    assert_near(logits, by_both_sides(*exactly, pool), error)
    trained = {**variables, **updated}

    @jax.jit
    def predicted(images):
        return model.apply(trained, images, train=False)

    error = 2 * error_by_condition(predicted, images, 9 * 24)
    assert_near(predicted(images[:, :, ::-1]), predicted(images), error)
    assert np.ptp(predicted(images)) > 0.1


def test_a_mirrored_whitening_whitens_images_and_mirror_images():
    images = smooth_images()
    kernel = np.asarray(mirrored_whitening_kernel(jnp.asarray(images)))
    columns = kernel.reshape(12, 24).astype(np.float64)
    seen = both_sides(images)
    covariance = np.cov((seen @ columns[:, DIRECTIONS]).T)
    variances = np.diag(covariance)
    true = np.linalg.eigvalsh(np.cov(seen.T))
    error = error_of_whitening(seen, true)
    assert_near(covariance, np.diag(variances), error)
    assert_near(np.sort(variances), np.sort(true / (true + 5e-4)), error)
    np.testing.assert_array_equal(kernel[:, ::-1, :, :12], kernel[..., :12])  # their own partners
    swapped = [*range(18, 24), *range(12, 18)]
    np.testing.assert_array_equal(kernel[:, ::-1, :, 12:], kernel[..., swapped])


@pytest.mark.parametrize("depths", [(2, 3), (2, 0, 2)])
def test_each_group_has_a_depth(depths):
    config = Config.create("fastnet", arch_args={"widths": WIDTHS, "depths": depths})
    with pytest.raises(UsageError, match="one depth, at least 1, for each width"):
        check_model(config, create_model(config, 10), 10)


def test_what_is_mirrored_comes_in_pairs():
    config = Config.create("fastnet", arch_args={"widths": (8, 7, 4), "mirrored": True})
    with pytest.raises(UsageError, match="can't have the odd width 7"):
        check_model(config, create_model(config, 10), 10)


def test_the_first_training_images_are_whitened(monkeypatch, easy_dataset):
    monkeypatch.setattr("jaxcifar.training.network._MAX_INIT_IMAGES", 50)
    config = dataclasses.replace(CONFIG, batch_size=16)  # a program of its own
    program = make_program(config, 10, 128, jax.devices()[:1])
    # Pixels by themselves, so that all variances are alike; those of later images are smaller.
    images = np.random.RandomState(0).randint(0, 256, (128, 32, 32, 3)).astype(np.uint8)
    images[50:] //= 2
    hp = make_hyperparameters(config, easy_dataset, program.steps_per_epoch)
    state = program.init(hp, images)
    kernel = state.variables["whitening"]["Whitening_0"]["kernel"]
    normalized = (images / 255 - easy_dataset.mean) / easy_dataset.std
    for count, same in ((50, True), (128, False)):
        given = patches(normalized[:count])
        variances = np.linalg.eigvalsh(np.cov(given.T))
        whitened = (given @ np.asarray(kernel).reshape(12, 24)[:, :12]).var(0)
        error = error_of_whitening(given, variances)
        assert np.allclose(whitened, variances / (variances + 5e-4), 0, error) == same


@pytest.mark.parametrize(("height", "width"), [(1, 1), (1, 3), (2, 2), (3, 3), (5, 4)])
def test_the_mean_of_all_maxima_is_that_of_numpy(height, width):
    x = np.random.RandomState(0).randn(2, height, width, 3).astype(np.float32)
    starts = np.ndindex(max(height - 1, 1), max(width - 1, 1))
    maxima = np.float64([x[:, i : i + 2, j : j + 2].max((1, 2)) for i, j in starts])
    error = error_of_sum(len(maxima), np.abs(maxima).mean(0)) + UNIT * np.abs(maxima).max()
    assert_near(mean_of_maxima(jnp.asarray(x)), maxima.mean(0), error)


def test_a_run_trains_all_but_the_whitening_and_is_loaded(tmp_path, easy_dataset):
    config = dataclasses.replace(CONFIG, arch_args=(("depths", (1,)), ("widths", (8,))), epochs=1)
    result = fit(Task(config, tmp_path / "run"), lambda: easy_dataset, Console(file=io.StringIO()))
    classifier = jaxcifar.load(tmp_path / "run")
    program = make_program(config, 10, 128, jax.devices()[:1])
    hp = make_hyperparameters(config, easy_dataset, program.steps_per_epoch)
    first = program.init(hp, easy_dataset.train.images).variables
    trained = jax.tree.map(np.asarray, classifier.variables)
    np.testing.assert_array_equal(
        trained["whitening"]["Whitening_0"]["kernel"],
        first["whitening"]["Whitening_0"]["kernel"],
    )
    moved = jax.tree.map(lambda a, b: bool((a != b).any()), first["params"], trained["params"])
    assert all(jax.tree.leaves(moved))
    predicted = np.asarray(classifier.logits(easy_dataset.test.images)).argmax(1)
    assert (predicted == easy_dataset.test.labels).mean() == pytest.approx(result["test_accuracy"])
