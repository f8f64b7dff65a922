"""Noise of training labels, weights of classes, and what of both reaches a training step."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from scipy import stats

from jaxcifar.build.make_program import make_program
from jaxcifar.build.setup import Setup
from jaxcifar.build.training_labels import class_weights, noisy_labels, training_hyperparameters
from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples
from jaxcifar.errors import UsageError
from jaxcifar.machine import sharing
from jaxcifar.training import mixing
from jaxcifar.training.augment import MIXING_STREAM

NET = f"{ROOT / 'tests' / 'own' / 'net.py'}:Net"
NAMES = ("cat", "dog", "frog")
SETTINGS = {"dataset": "shapes10", "batch_size": 32, "epochs": 1, "augment": False}
PLAIN = {"optimizer": "sgd", "learning_rate": 0.5, "momentum": 0.0, "weight_decay": 0.0}


def config(**settings):
    return Config.create(NET, **SETTINGS, **PLAIN, **settings)


def test_noise_replaces_a_share_of_the_labels_by_any_class():
    labels = np.arange(10_000, dtype=np.int32) % 4
    noisy = noisy_labels(labels, 4, 0.3, seed=5)
    assert noisy.dtype == np.int32
    changed = np.flatnonzero(noisy != labels)
    # 3,000 are replaced; a quarter of them gets the same label again.
    assert stats.binomtest(len(changed), 3000, 3 / 4).pvalue > 1e-6
    assert stats.chisquare(np.bincount(labels[changed])).pvalue > 1e-6
    moves = np.bincount((noisy[changed] - labels[changed]) % 4, minlength=4)
    assert moves[0] == 0 and stats.chisquare(moves[1:]).pvalue > 1e-6
    np.testing.assert_array_equal(noisy, noisy_labels(labels, 4, 0.3, seed=5))
    assert (noisy != noisy_labels(labels, 4, 0.3, seed=6)).any()
    np.testing.assert_array_equal(labels, np.arange(10_000) % 4)  # the data set's stay right


def test_with_all_labels_random_they_say_nothing_of_the_true_ones():
    labels = np.arange(9_000, dtype=np.int32) % 3
    noisy = noisy_labels(labels, 3, 1.0, seed=0)
    table = np.histogram2d(labels, noisy, bins=3)[0]
    assert stats.chi2_contingency(table).pvalue > 1e-6


def test_balanced_weights_give_every_class_the_same_total():
    labels = np.repeat([0, 1, 2], [700, 200, 100]).astype(np.int32)
    weights = class_weights(config(class_weights="balanced"), labels, NAMES)
    np.testing.assert_allclose(weights * [700, 200, 100], 1000 / 3, rtol=1e-6)
    without_frogs = class_weights(config(class_weights="balanced"), labels[:900], NAMES)
    assert np.isfinite(without_frogs).all()


def test_weights_by_name_and_names_that_no_class_has():
    labels = np.zeros(3, np.int32)
    some = config(class_weights='{"dog": 4}')
    np.testing.assert_array_equal(class_weights(some, labels, NAMES), [1, 4, 1])
    with pytest.raises(UsageError, match=r"--class-weights dgo: .*did you mean dog"):
        class_weights(config(class_weights='{"dgo": 4}'), labels, NAMES)


def test_the_weights_are_those_of_the_labels_trained_on(easy_dataset):
    settings = config(class_weights="balanced", label_noise=0.8)
    hyper = training_hyperparameters(settings, easy_dataset, 4)
    counts = np.bincount(np.asarray(hyper.labels), minlength=10)
    np.testing.assert_allclose(hyper.class_weights, 128 / (10 * counts), rtol=1e-6)


def test_runs_without_these_settings_have_nothing_of_them(easy_dataset):
    hyper = training_hyperparameters(config(), easy_dataset, 4)
    assert hyper.mixing is hyper.class_weights is hyper.labels is None
    written = config().to_dict()
    assert not {"class_weights", "label_noise", "mixup", "cutmix"} & written.keys()


def after_one_step(settings, dataset, labels=None):
    """Parameters before and after the first step, and the images and labels of its batch."""
    program = make_program(settings, 10, 128, jax.devices()[:1])
    hyper = training_hyperparameters(settings, dataset, program.steps_per_epoch)
    state = program.init(hyper, dataset.train.images)
    order = program.epoch_order(hyper, np.int32(0), 128)
    labels = dataset.train.labels if labels is None else labels
    train = jax.jit(program.copy_for_one_device.train_steps)
    new_state, _ = train(state, hyper, *dataset.train._replace(labels=labels), order, np.int32(1))
    batch = np.asarray(order)[:32]
    return state.params, new_state, Examples(dataset.train.images[batch], labels[batch])


def test_a_step_follows_the_gradient_of_pytorchs_weighted_loss(easy_dataset):
    given = {"a": 5.0, "c": 0.5}
    settings = config(class_weights=str(given).replace("'", '"'), label_smoothing=0.1)
    params, after, (images, labels) = after_one_step(settings, easy_dataset)
    weights = np.asarray([given.get(name, 1.0) for name in "abcdefghij"])
    pixels = (np.float32(images) / 255 - easy_dataset.mean) / easy_dataset.std

    def loss(params):
        hidden = jax.nn.relu(
            pixels.mean((1, 2)) @ params["body"]["kernel"] + params["body"]["bias"]
        )
        logits = hidden @ params["head"]["kernel"] + params["head"]["bias"]
        log_odds = jax.nn.log_softmax(logits)
        targets = 0.9 * np.eye(10)[labels] + 0.01
        return -(weights * targets * log_odds).sum() / weights[labels].sum()

    expected = jax.tree.map(lambda p, g: p - 0.5 * g, params, jax.grad(loss)(params))
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), after.params, expected)


def test_only_training_labels_are_noisy(easy_dataset):
    """The labels of the setup, which validation and test use, are those of the data set."""
    noisy = Config.create("cnn", **SETTINGS, label_noise=1.0)
    before = [easy_dataset.val.labels.copy(), easy_dataset.test.labels.copy()]
    setup = Setup.create(noisy, easy_dataset, devices=jax.devices()[:1])
    hyper = setup.hyperparameters(noisy)
    assert hyper.labels.shape == easy_dataset.train.labels.shape
    assert (hyper.labels != easy_dataset.train.labels).any()
    np.testing.assert_array_equal(setup.val.labels, before[0])
    np.testing.assert_array_equal(setup.test.labels, before[1])


def test_a_run_trains_on_its_noisy_labels(easy_dataset):
    noisy = config(label_noise=0.5, seed=3)
    labels = noisy_labels(easy_dataset.train.labels, 10, 0.5, seed=3)
    _, with_noise, _ = after_one_step(noisy, easy_dataset)
    _, with_these, _ = after_one_step(
        dataclasses.replace(noisy, label_noise=0.0), easy_dataset, labels
    )
    jax.tree.map(np.testing.assert_array_equal, with_noise.params, with_these.params)
    assert (labels != easy_dataset.train.labels).any()


def shares_of_first_step(hyper, count, name, alpha):
    """Each image's share in its pixels, drawn from the same random numbers as in the first step."""
    augment_key = jax.random.split(jax.random.fold_in(hyper.step_key, 0))[0]

    def draw(key):
        _, mixup_key, cutmix_key = jax.random.split(jax.random.fold_in(key, MIXING_STREAM), 3)
        if name == "mixup":
            return mixing.mixup_shares(mixup_key, alpha, 32, 32)
        return mixing.cutmix_shares(cutmix_key, alpha, 32, 32)

    return np.asarray(jax.vmap(draw)(sharing.example_keys(augment_key, count, device_axis=None)))


@pytest.mark.parametrize("name", ["mixup", "cutmix"])
def test_a_step_follows_the_gradient_on_images_that_numpy_mixes(easy_dataset, name):
    alpha = 0.7
    settings = config(**{name: alpha})
    params, after, (images, labels) = after_one_step(settings, easy_dataset)
    hyper = training_hyperparameters(settings, easy_dataset, 4)
    shares = shares_of_first_step(hyper, len(labels), name, jnp.float32(alpha))[..., None]
    pixels = (np.float32(images) / 255 - easy_dataset.mean) / easy_dataset.std
    mixed = shares * pixels + (1 - shares) * np.roll(pixels, -1, axis=0)
    one_hot = np.eye(10)[labels]
    share = shares.mean((1, 2))
    targets = share * one_hot + (1 - share) * np.roll(one_hot, -1, axis=0)

    def loss(params, images, targets):
        body, head = params["body"], params["head"]
        hidden = jax.nn.relu(images.mean((1, 2)) @ body["kernel"] + body["bias"])
        log_odds = jax.nn.log_softmax(hidden @ head["kernel"] + head["bias"])
        return -(targets * log_odds).sum(1).mean()

    def step_on(images, targets):
        gradient = jax.grad(loss)(params, images, targets)
        return jax.tree.map(lambda p, g: p - 0.5 * g, params, gradient)

    expected = step_on(mixed, targets)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-5), after.params, expected)
    without_mixing = step_on(pixels, one_hot)
    difference = after.params["head"]["bias"] - without_mixing["head"]["bias"]
    assert np.abs(difference).max() > 1e-3  # far above the tolerance


def test_a_step_takes_mixed_images_and_a_users_labels(easy_dataset):
    """With the labels spread over all classes, the loss is that of no label at all."""
    steps = ROOT / "tests" / "own" / "steps.py"
    settings = config(mixup=1.0, cutmix=1.0, augmentation=f"{steps}:spread_labels")
    params, after, _ = after_one_step(settings, easy_dataset)
    other = np.roll(easy_dataset.train.labels, 1)
    _, after_other, _ = after_one_step(settings, easy_dataset, other)
    jax.tree.map(np.testing.assert_array_equal, after.params, after_other.params)
    changed = jax.tree.map(lambda a, b: bool(jnp.any(a != b)), after.params, params)
    assert all(jax.tree.leaves(changed))
