"""The compiled functions: what they compute does not depend on how they are dispatched."""

import dataclasses
import json
from collections.abc import Callable
from itertools import combinations, pairwise
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from conftest import finish, start_program
from flax import linen as nn
from jax.sharding import Mesh
from rounding import assert_near, error_by_condition, error_of_sum

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.machine.sharing import AXIS
from jaxcifar.networks.layers import Dropout
from jaxcifar.training import optim, predicting
from jaxcifar.training.metrics import ACCURACY, LOSS, measure
from jaxcifar.training.network import copy_for_one_device
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.predicting import EVAL_BATCH
from jaxcifar.training.program import Program
from jaxcifar.training.state import TrainingSums

# The CNN's dense layers, normalisation and Dropout: without convolutions it compiles quickly.
DENSE = {"widths": (), "hidden": 8}
CONFIG = Config.create(
    "cnn",
    arch_args=DENSE,
    epochs=2,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.05,
    schedule="cosine",
    dropout=0.0,
    average=0.5,
)


@pytest.fixture(scope="module")
def trained(easy_dataset):
    """Losses and state of one epoch, one dispatch a step."""
    return train(make_program(CONFIG, 10, 128, jax.devices()[:1]), easy_dataset)


def train(program, dataset, config=CONFIG, steps_at_a_time=1, params=None):
    """Train an epoch; `params` are to start from instead of the network's own."""
    hp = placed_hyperparameters(program, dataset, config)
    data = jax.device_put(dataset.train, program.replicated)
    together, losses = ParallelRuns(program, 1), []
    states, hps, orders = stacked(program, hp, 0, dataset, params)
    count = jax.device_put(np.int32(steps_at_a_time), program.replicated)
    for _ in range(program.steps_per_epoch // steps_at_a_time):
        states, means = together.train_steps(states, hps, *data, orders, count)
        losses.append(float(means["loss"][0]))
    [state] = together.split(states)
    return program, hp, state, losses


def placed_hyperparameters(program, dataset, config=CONFIG):
    """Hyper-parameters on the devices: placed in another way, they would need another program."""
    hp = make_hyperparameters(config, dataset, program.steps_per_epoch)
    return jax.device_put(hp, program.replicated)


def stacked(program, hp, step, dataset, params=None):
    """State, hyper-parameters and order of one run, as `ParallelRuns` takes them."""
    order = program.epoch_order(hp, np.int32(step), 128)
    state = program.init(hp, dataset.train.images)
    if params is not None:
        state = state.replace(params=jax.device_put(params, program.replicated))
    return ParallelRuns(program, 1).join([(state, hp, order)])


def initial_params(program, dataset, config=CONFIG):
    hp = placed_hyperparameters(program, dataset, config)
    return jax.device_get(program.init(hp, dataset.train.images).params)


LONGEST_SUM = 32 * 32 * 3  # the first layer's, over the values of an image


def test_an_epoch_visits_every_image_once(easy_dataset):
    program = make_program(CONFIG, 10, 128, jax.devices()[:1])
    hp = placed_hyperparameters(program, easy_dataset)
    orders = [np.asarray(program.epoch_order(hp, np.int32(step), 128)) for step in (0, 3, 4)]
    for order in orders:
        assert sorted(order) == list(range(128))
    np.testing.assert_array_equal(orders[0], orders[1])  # the same epoch
    assert not np.array_equal(orders[0], orders[2])


class Watched:
    """Trains a network of one layer and keeps the images that it sees, after shifts and flips.

    Each of 50 images has its number in the first channel, rows and columns in the others.
    """

    EPOCHS, BATCH, STEPS = 4, 16, 3  # two images are left over in each epoch

    def __init__(self):
        rows, columns = np.mgrid[100:132, 100:132]
        plane = np.zeros((50, 32, 32), int)
        images = np.stack([plane + np.arange(1, 51)[:, None, None], plane + rows, plane + columns])
        self.images = images.transpose(1, 2, 3, 0).astype(np.uint8)
        self.seen, self.kept = [], []
        self.program = Program(
            model=OneLayer(self.kept.append),
            optimizer=optim.sgd,
            augmentation=self.watch,
            batch_size=self.BATCH,
            steps_per_epoch=self.STEPS,
            mesh=Mesh(np.asarray(jax.devices()[:1]), (AXIS,)),
            device_axis=AXIS,
        )

    def watch(self, key, images):
        jax.debug.callback(lambda pixels: self.seen.append(np.asarray(pixels)), images)
        return images

    def train(self, images=None, steps_at_a_time=1, **settings):
        """The images of each epoch, and the weights before and after all of them."""
        images = self.images if images is None else images
        config = Config.create(
            "cnn", epochs=self.EPOCHS, batch_size=self.BATCH, optimizer="sgd", **settings
        )
        statistics = SimpleNamespace(mean=np.full(3, 128 / 255), std=np.full(3, 0.25))
        hp = make_hyperparameters(config, statistics, self.STEPS)
        together, labels = ParallelRuns(self.program, 1), np.arange(50, dtype=np.int32) % 10
        data = jax.device_put((images, labels), self.program.replicated)
        start = self.program.init(hp, images)
        states, hps = together.join([(start, hp)])
        self.seen.clear()
        self.kept.clear()
        count = np.int32(steps_at_a_time)
        for step in range(0, self.EPOCHS * self.STEPS, steps_at_a_time):
            order = together.join([self.program.epoch_order(hp, np.int32(step), 50)])
            states, _ = together.train_steps(states, hps, *data, order, count)
            jax.block_until_ready(states)
            jax.effects_barrier()
        pixels = np.round(255 * np.asarray(self.seen)).astype(int)
        shape = self.EPOCHS, self.STEPS * self.BATCH, 32, 32, 3
        [end] = together.split(states)
        return pixels.reshape(shape), start.params, end.params

    def draws(self, **settings):
        """Of each epoch: image -> whether it was flipped, and the corner of its window."""
        epochs, _, _ = self.train(**settings)
        return [{image[16, 16, 0]: seen_from(image) for image in epoch} for epoch in epochs]


def seen_from(image):
    """Flipped or not, top, left, by the pixels in the middle, which no shift takes away."""
    _, row, column = image[16, 16]
    flipped = image[16, 17, 2] < column
    return flipped, row - 116, (115 - column if flipped else column - 116)


class OneLayer(nn.Module):
    """Tells what its dropout keeps of ones, which has no part in its logits."""

    tell: Callable

    @nn.compact
    def __call__(self, x, train):
        kept = Dropout(0.5)(jnp.ones((len(x), 64)), train)
        if train:
            jax.debug.callback(lambda kept: self.tell(np.asarray(kept) > 0), kept)
        return nn.Dense(10)(x.mean((1, 2)))


@pytest.fixture(scope="module")
def watched():
    return Watched()


def test_each_epoch_of_each_seed_has_other_images_in_another_order(watched):
    shown = [draws for seed in (0, 1) for draws in watched.draws(seed=seed)]
    left_over = {frozenset(range(1, 51)).difference(draws) for draws in shown}
    assert all(len(left) == 2 for left in left_over)
    assert len(left_over) > 4
    assert len({tuple(draws) for draws in shown}) == len(shown)


def test_each_step_of_each_seed_draws_shifts_flips_and_dropout_anew(watched):
    """By their places in the batch, as they are drawn, and not by image."""
    steps = []  # of both seeds: draws of each place, and what dropout keeps
    for seed in (0, 1):
        draws = [list(draws.values()) for draws in watched.draws(seed=seed)]
        places = np.reshape(draws, (len(watched.kept), watched.BATCH, 3))
        steps += zip(places, list(watched.kept), strict=True)
    assert len(steps) == 24
    for (one, kept), (other, kept_then) in combinations(steps, 2):
        assert (one == other).all(-1).sum() < 6  # of 16 places, one in 162 by chance
        same = (kept == kept_then).mean()
        assert abs(same - 0.5) < 5 * 0.5 / np.sqrt(kept.size)  # deviations of the binomial
    kept_step_by_step = list(watched.kept)  # with seed 1
    watched.draws(seed=1, steps_at_a_time=watched.STEPS)
    np.testing.assert_array_equal(watched.kept, kept_step_by_step)


def test_alternate_flips_show_each_image_from_the_other_side_in_the_next_epoch(watched):
    settings = {"flip": "alternate", "shift": 0}
    shown, others = (watched.draws(seed=seed, **settings) for seed in (0, 1))
    for one, following in pairwise(shown):
        for image in one.keys() & following.keys():
            assert one[image][0] != following[image][0]
    assert all(draw[1:] == (0, 0) for draws in shown for draw in draws.values())
    same = sum(shown[0][i] == others[0][i] for i in shown[0].keys() & others[0].keys())
    assert 5 < same < 42  # the seed says which are flipped first


def test_without_augmentation_the_images_are_trained_on_as_they_are(watched):
    epochs, _, _ = watched.train(augment=False)
    for epoch in epochs:
        numbers = epoch[:, 16, 16, 0]
        np.testing.assert_array_equal(epoch, watched.images[numbers - 1])


def test_what_is_cut_out_becomes_the_mean_of_the_pixels(watched):
    """Of images that are that mean all over, nothing can be seen, and no kernel has a gradient."""
    grey, white = (np.full((50, 32, 32, 3), value, np.uint8) for value in (128, 255))
    settings = {"cutout": 16, "learning_rate": 1.0, "border": "reflect"}
    for images, learns in ((grey, False), (white, True)):
        _, start, end = watched.train(images, **settings)
        moved = np.abs(np.subtract(end["Dense_0"]["kernel"], start["Dense_0"]["kernel"])).max()
        assert (moved > 0.2) == learns, moved


def test_one_dispatch_for_an_epoch_gives_the_same_state(trained, easy_dataset):
    program, _, expected, losses = trained
    _, _, state, [loss] = train(program, easy_dataset, steps_at_a_time=program.steps_per_epoch)
    assert loss == losses[-1]
    jax.tree.map(np.testing.assert_array_equal, expected.params, state.params)
    assert int(state.step) == program.steps_per_epoch


def test_an_epoch_takes_nothing_from_the_host(trained, easy_dataset):
    """What went the other way, a guard on a CPU would not see: `test_platforms` looks for it."""
    program, hp, _, _ = trained
    data = jax.device_put(easy_dataset.train, program.replicated)
    variables = program.init(hp, easy_dataset.train.images).variables
    count = jax.device_put(np.int32(program.steps_per_epoch), program.replicated)
    states, hps, orders = stacked(program, hp, 0, easy_dataset)
    with jax.transfer_guard("disallow"):
        states, means = ParallelRuns(program, 1).train_steps(states, hps, *data, orders, count)
        logits = predicting.predict(program, variables, hp, data.images)
        measured = measure((LOSS, ACCURACY), logits, data.labels)
    assert int(states.step[0]) == program.steps_per_epoch
    assert float(means["loss"][0]) == pytest.approx(trained[3][-1], rel=1e-5)
    assert measured.confusion.sum() == 128


def test_a_step_is_that_of_optax(trained, easy_dataset):
    """All that is done to loss, gradients and updates by SGD, in the order of doing it."""
    rates = {"learning_rate": 0.05, "momentum": 0.8, "weight_decay": 0.02, "bias_rate": 3.0}
    config = dataclasses.replace(CONFIG, nesterov=True, bias_decay=False, clip_norm=0.5,
                                 label_smoothing=0.2, augment=False, **rates)  # fmt: skip
    program, hp, _, _ = trained
    assert make_program(config, 10, 128, jax.devices()[:1]) == program
    hp = placed_hyperparameters(program, easy_dataset, config)
    states, hps, orders = stacked(program, hp, 0, easy_dataset)
    batch = np.asarray(orders[0][: config.batch_size])
    data = jax.device_put(easy_dataset.train, program.replicated)
    count = jax.device_put(np.int32(1), program.replicated)
    states, _ = ParallelRuns(program, 1).train_steps(states, hps, *data, orders, count)
    [state] = ParallelRuns(program, 1).split(states)
    images, labels = easy_dataset.train.images[batch], easy_dataset.train.labels[batch]
    pixels = (images / 255 - easy_dataset.mean) / easy_dataset.std
    network = copy_for_one_device(program.model)
    start = jax.device_get(program.init(hp, easy_dataset.train.images).variables)

    def loss(params):
        given = jax.tree.map(jnp.asarray, {**start, "params": params})
        logits, _ = network.apply(given, jnp.float32(pixels), train=True, mutable=["batch_stats"])
        targets = optax.smooth_labels(jax.nn.one_hot(labels, 10), 0.2)
        return optax.softmax_cross_entropy(logits, targets).mean()

    rule = optax.chain(
        optax.clip_by_global_norm(0.5),
        optax.add_decayed_weights(0.02, lambda params: jax.tree.map(lambda p: p.ndim > 1, params)),
        optax.sgd(0.05, momentum=0.8, nesterov=True),
    )
    gradient = jax.jit(jax.grad(loss))
    assert optax.tree.norm(gradient(start["params"])) > 0.5  # or nothing would be clipped

    def after_a_step(params):
        updates, _ = rule.update(gradient(params), rule.init(params), params)
        updates = jax.tree.map(lambda update: update * (3 if update.ndim == 1 else 1), updates)
        return optax.apply_updates(params, updates)

    expected = after_a_step(start["params"])
    errors = error_by_condition(after_a_step, start["params"], LONGEST_SUM)
    jax.tree.map(lambda a, b, error: assert_near(a, b, 2 * error), state.params, expected, errors)


STRONG = Config.create("cnn", recipe="strong", arch_args=DENSE, epochs=2, batch_size=32)
OTHERS = (
    {"learning_rate": 0.1}, {"non_kernel_rate": 5.0}, {"momentum": 0.1}, {"weight_decay": 0.1},
    {"bias_decay": True}, {"bias_rate": 9.0}, {"clip_norm": 1e-3}, {"label_smoothing": 0.4},
    {"average": 0.05}, {"schedule": "cosine"}, {"schedule": "step"}, {"warmup": 0.5}, {"shift": 1},
    {"border": "zeros"}, {"flip": "random"}, {"cutout": 12}, {"augment": False},
    {"normalize": False}, {"seed": 1}, {"lr_scale": "linear", "base_batch_size": 8},
)  # fmt: skip
# Nesterov is in the step against optax, small images are below, the step schedule's are in
# test_optim.py, weights to start from in test_weights.py, and what changes labels in
# test_training_labels.py and test_mixing.py. What continues another run, or ends
# early, is in tests/runs: a step does not know it.
ELSEWHERE = {
    *("nesterov", "small_fraction", "step_size", "gamma", "init", "init_sha256"),
    *("continue_from", "continue_sha256", "continue_epochs", "patience"),
    *("class_weights", "label_noise", "mixup", "cutmix"),
}


def test_every_option_that_is_data_reaches_the_step(easy_dataset):
    """Each makes other weights than all others do, through the program compiled for the first."""
    data = {f.name for f in dataclasses.fields(Config) if f.metadata.get("array") is not None}
    assert {name for changes in OTHERS for name in changes} | ELSEWHERE == data
    program = make_program(STRONG, 10, 128, jax.devices()[:1])

    def weights(changes):
        config = dataclasses.replace(STRONG, **changes)
        assert make_program(config, 10, 128, jax.devices()[:1]) == program
        *_, state, _ = train(program, easy_dataset, config)
        return np.concatenate([np.ravel(w) for w in jax.tree.leaves(state.variables)]).tobytes()

    seen = {weights({}): {}}
    compiled = ParallelRuns.train_steps._cache_size()
    assert weights({}) in seen
    for changes in OTHERS:
        made = weights(changes)
        assert made not in seen, (changes, seen[made])
        seen[made] = changes
    assert ParallelRuns.train_steps._cache_size() == compiled


def test_predictions_do_not_depend_on_the_chunks(trained, easy_dataset):
    program, hp, state, _ = trained
    images = np.tile(easy_dataset.train.images, (5, 1, 1, 1))[: EVAL_BATCH + 7]
    together = predicting.predict(
        program, state.variables, hp, images
    )  # two chunks, one of them not full
    assert together.shape == (EVAL_BATCH + 7, 10)
    error = error_by_condition(
        lambda variables: predicting.predict(program, variables, hp, images),
        state.variables,
        LONGEST_SUM,
    )
    for some in (slice(0, 1), slice(3, 10), slice(EVAL_BATCH - 3, None)):
        alone = predicting.predict(program, state.variables, hp, images[some])
        assert_near(alone, together[some], 2 * error[some])


class OneConvolution(nn.Module):
    """A convolution with a precision is left to XLA, and is not put into loops on a CPU."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(nn.Conv(5, (4, 4), strides=4, precision="highest")(x).mean((1, 2)))


def test_chunks_of_a_network_without_loops_are_put_together_in_order(monkeypatch, watched):
    monkeypatch.setattr(predicting, "EVAL_BATCH", 16)  # four chunks of the 50 images
    program = dataclasses.replace(watched.program, model=OneConvolution(), network_identity=None)
    assert not program.compiles_loops
    config = Config.create("cnn", batch_size=16, optimizer="sgd")
    mean, std = np.float32([0.3, 0.5, 0.4]), np.float32([0.2, 0.3, 0.25])
    hp = make_hyperparameters(config, SimpleNamespace(mean=mean, std=std), 3)
    images = np.random.RandomState(0).randint(0, 256, (50, 32, 32, 3)).astype(np.uint8)
    variables = program.init(hp, images).variables
    pixels = (images / 255 - mean) / std
    expected = program.model.apply(variables, jnp.float32(pixels), train=False)
    got = predicting.predict(program, variables, hp, images)
    np.testing.assert_allclose(got, expected, rtol=1e-4, atol=1e-4)
    assert np.abs(np.diff(expected, axis=0)).max(-1).min() > 1e-3  # one for another would be seen


def test_pixels_are_normalised_or_left_as_they_are():
    mean, std = np.float32([0.3, 0.5, 0.4]), np.float32([0.2, 0.3, 0.25])
    for normalize, expected in ((True, (mean, std)), (False, (np.zeros(3), np.ones(3)))):
        config = Config.create("cnn", normalize=normalize)
        hp = make_hyperparameters(config, SimpleNamespace(mean=mean, std=std), 3)
        np.testing.assert_array_equal((hp.mean, hp.std), expected)


def test_metrics_are_those_of_numpy():
    rng = np.random.RandomState(0)
    logits, labels = rng.randn(60, 10).astype(np.float32), np.arange(60) % 10
    probabilities = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    hits = logits.argmax(1) == labels
    got, counted = measure((LOSS, ACCURACY), logits, labels)
    assert got["loss"] == pytest.approx(-np.log(probabilities[range(60), labels]).mean(), rel=1e-5)
    assert got["accuracy"] == hits.mean()
    confusion = np.zeros((10, 10), int)
    for label, row in zip(labels, logits, strict=True):
        confusion[label, row.argmax()] += 1
    np.testing.assert_array_equal(counted, confusion)
    given = jnp.asarray(logits), jnp.asarray(labels)
    first, rest = ([array[part] for array in given] for part in (slice(20), slice(20, None)))
    summed = TrainingSums.of(*first) + TrainingSums.of(*rest)
    assert summed.means()["loss"] == pytest.approx(got["loss"], rel=1e-5)
    assert TrainingSums.zero().means()["accuracy"] == 0


@pytest.fixture(scope="module")
def eight_devices():
    output = finish(start_program("eight_devices", env={"JAX_NUM_CPU_DEVICES": "8"}))
    return json.loads(output.splitlines()[-1])


def test_eight_devices_give_the_losses_of_one(eight_devices):
    one, eight, errors = (eight_devices[name] for name in ("one", "eight", "errors"))
    for name in errors:
        assert_near(eight[name], one[name], np.asarray(errors[name]))


def test_a_step_exchanges_gradients_once_and_batch_statistics(eight_devices):
    widths = [8]  # of the batch normalisation: two sums forward, two backward
    gradients = 4 * (eight_devices["parameters"] + 3)  # and loss, hits and images
    expected = [8 * width for width in widths + widths[::-1]] + [gradients]
    assert eight_devices["exchanged"] == [["all-reduce", size] for size in expected]


def test_user_code_is_checked_if_the_runs_together_do_not_fill_the_devices(eight_devices):
    assert eight_devices["three_runs"] == []


class OfAnySize(nn.Module):
    """Logits that depend on the size of an image: every fourth pixel counts."""

    @nn.compact
    def __call__(self, x, train):
        return nn.Dense(10)(nn.relu(nn.Dense(8)(x[:, ::4, ::4])).mean((1, 2)))


SMALL_FIRST = Config.create(
    "cnn",
    epochs=1,
    batch_size=32,
    optimizer="sgd",
    learning_rate=0.5,
    momentum=0.0,
    weight_decay=0.0,
    schedule="none",
    augment=False,
    normalize=False,
    small_size=16,
    small_fraction=0.5,
)


def test_small_images_come_first_in_the_same_program(easy_dataset):
    """Then as they are: of four steps, as many as are asked for are on small images."""
    images, labels = easy_dataset.train
    size = (len(images), 16, 16, 3)
    small = jax.image.resize(images.astype(np.float32), size, "linear", antialias=True)
    small = np.asarray(jnp.round(small), np.uint8)
    made = make_program(SMALL_FIRST, 10, 128, jax.devices()[:1])
    program = dataclasses.replace(made, model=OfAnySize(), network_identity=None)
    hp = placed_hyperparameters(program, easy_dataset, SMALL_FIRST)
    order = np.asarray(program.epoch_order(hp, np.int32(0), 128))
    start = jax.device_get(program.init(hp, images).params)

    @jax.jit
    @jax.value_and_grad
    def loss_and_gradient(params, images, labels):
        logits = OfAnySize().apply({"params": params}, images / 255, train=True)
        return optax.softmax_cross_entropy_with_integer_labels(logits, labels).mean()

    def by_hand(small_steps):
        """Return the mean loss after each step."""
        params, losses = start, []
        for step, batch in enumerate(order.reshape(4, 32)):
            seen = small if step < small_steps else images
            loss, gradient = loss_and_gradient(params, seen[batch], labels[batch])
            params = jax.tree.map(lambda w, g: w - 0.5 * g, params, gradient)
            losses.append(float(loss))
        return np.cumsum(losses) / [1, 2, 3, 4]

    expected = {steps: by_hand(steps) for steps in (0, 1, 2)}
    assert len({losses[-1].round(4) for losses in expected.values()}) == 3
    for small_fraction, steps in ((0.5, 2), (0.25, 1), (0.01, 0)):
        config = dataclasses.replace(SMALL_FIRST, small_fraction=small_fraction)
        assert make_program(config, 10, 128, jax.devices()[:1]) == made
        *_, losses = train(program, easy_dataset, config)
        np.testing.assert_allclose(losses, expected[steps], rtol=1e-5)
    some = dataclasses.replace(SMALL_FIRST, small_fraction=0.29)
    assert make_hyperparameters(some, easy_dataset, 100).small_steps == 29  # not 28.999999999999996


def test_what_is_evaluated_is_the_average(trained, easy_dataset):
    """Of the weights after each step, and of BatchNorm's statistics after each."""
    program, hp, _, _ = trained
    data = jax.device_put(easy_dataset.train, program.replicated)
    states, hps, orders = stacked(program, hp, 0, easy_dataset)
    count = jax.device_put(np.int32(1), program.replicated)
    start = program.init(hp, easy_dataset.train.images)
    together = ParallelRuns(program, 1)
    expected = None
    for step in range(3):
        states, _ = together.train_steps(states, hps, *data, orders, count)
        [state] = together.split(states)
        new = jax.device_get((state.params, state.batch_stats))
        keep = min(0.5, (step + 1) / (step + 10))
        first = expected or jax.device_get((start.params, start.batch_stats))
        expected = jax.tree.map(lambda old, now, k=keep: k * old + (1 - k) * now, first, new)
    params, batch_stats = expected
    got = jax.device_get(state.variables)
    for name, tree in (("params", params), ("batch_stats", batch_stats)):
        jax.tree.map(
            lambda a, b: assert_near(a, b, error_of_sum(3 * 4, np.abs(b).max())), got[name], tree
        )
