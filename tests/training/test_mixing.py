"""Mixup and CutMix against NumPy, on any number of devices; augmentations that change labels."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from rounding import UNIT
from scipy import stats

from jaxcifar.machine import sharing
from jaxcifar.training import mixing
from jaxcifar.training.mixing import LabelAugmentation, MixingSettings
from jaxcifar.training.state import TrainingSums

CLASSES, SIDE = 5, 16
MANY = jax.random.split(jax.random.key(1), 2000)
KEY = jax.random.key(0)
RNG = np.random.RandomState(0)
INPUTS = RNG.randn(12, SIDE, SIDE, 3).astype(np.float32)
LABELS = RNG.randint(0, CLASSES, 12).astype(np.int32)
MIX = jax.jit(mixing.mix, static_argnums=4)


def settings(mixup=None, cutmix=None):
    alphas = [None if alpha is None else jnp.float32(alpha) for alpha in (mixup, cutmix)]
    return MixingSettings(*alphas, num_classes=CLASSES)


def mixed(how):
    keys = sharing.example_keys(KEY, len(INPUTS), None)
    inputs, targets = MIX(keys, jnp.asarray(INPUTS), jnp.asarray(LABELS), how, None)
    return np.asarray(inputs), np.asarray(targets)


def partner_of(array):
    return np.roll(array, -1, axis=0)


def own_share(inputs):
    """The share of the image itself in each pixel, solved from the mixture of two images."""
    share = (inputs - partner_of(INPUTS)) / (INPUTS - partner_of(INPUTS))
    return np.median(share, axis=-1)  # of the channels, since small differences round badly


def expected_targets(share):
    one_hot = np.eye(CLASSES)[LABELS]
    return share[:, None] * one_hot + (1 - share[:, None]) * partner_of(one_hot)


def test_mixup_mixes_images_and_labels_by_the_same_share():
    inputs, targets = mixed(settings(mixup=0.7))
    share = own_share(inputs)
    np.testing.assert_allclose(share, share[:, :1, :1] * np.ones_like(share), atol=1e-3)
    share = share.mean((1, 2))
    assert len(set(share.round(3))) == len(share)  # each image has a share of its own
    np.testing.assert_allclose(targets, expected_targets(share), atol=1e-4)
    np.testing.assert_allclose(targets.sum(1), 1, atol=4 * UNIT)


@jax.jit
def many_mixup_shares(alpha):
    return jax.vmap(lambda key: mixing.mixup_shares(key, alpha, 1, 1))(MANY)


@pytest.mark.parametrize("alpha", [0.2, 1.0, 3.0])
def test_the_shares_of_mixup_are_from_a_beta_distribution(alpha):
    shares = np.asarray(many_mixup_shares(np.float32(alpha))).ravel()
    assert ((shares >= 0) & (shares <= 1)).all()
    assert stats.kstest(shares, stats.beta(alpha, alpha).cdf).pvalue > 1e-6


def test_cutmix_pastes_a_box_of_the_next_image():
    inputs, targets = mixed(settings(cutmix=1.0))
    is_own, is_partner = inputs == INPUTS, inputs == partner_of(INPUTS)
    assert (is_own | is_partner).all()
    pasted = ~is_own.all(-1)
    for box in pasted:
        rows, columns = box.any(1), box.any(0)
        np.testing.assert_array_equal(box, rows[:, None] & columns[None, :])
        for line in (rows, columns):  # one run of pixels without a gap
            assert np.abs(np.diff(np.r_[0, line.astype(int), 0])).sum() in (0, 2)
    share = 1 - pasted.mean((1, 2))
    assert len(set(share)) > 4
    np.testing.assert_allclose(targets, expected_targets(share), atol=4 * UNIT)


def published_area(rng, alpha, size):
    """The pasted area by the code that Yun et al. published (`rand_bbox`), in NumPy."""
    ratio = np.sqrt(1 - rng.beta(alpha, alpha))
    cut, (x, y) = int(size * ratio), rng.randint(size, size=2)
    ends = [np.clip([c - cut // 2, c + cut // 2], 0, size) for c in (x, y)]
    return np.prod([end - start for start, end in ends]) / size**2


@jax.jit
def many_cutmix_shares(alpha):
    return jax.vmap(lambda key: mixing.cutmix_shares(key, alpha, SIDE, SIDE))(MANY)


@pytest.mark.parametrize("alpha", [0.5, 1.0])
def test_the_boxes_of_cutmix_are_as_large_as_the_published_ones(alpha):
    areas = 1 - np.asarray(many_cutmix_shares(np.float32(alpha))).mean((1, 2))
    rng = np.random.RandomState(0)
    published = [published_area(rng, alpha, SIDE) for _ in range(len(MANY))]
    assert stats.ks_2samp(areas, published).pvalue > 1e-6


BOTH = settings(mixup=1.0, cutmix=1.0)
# Each second image is black, the others are white: a pixel of a white one is its own share.
WHITE_AND_BLACK = np.zeros((4000, 4, 4, 3), np.float32)
WHITE_AND_BLACK[::2] = 1
# The first images of four devices' parts, 1000 images each, have the classes 0, 2, 0 and 3.
CLASS_OF_EACH = (np.arange(4000) // 7 % CLASSES).astype(np.int32)


@pytest.fixture(scope="module")
def mixed_by_both():
    keys = sharing.example_keys(KEY, len(WHITE_AND_BLACK), None)
    return MIX(keys, jnp.asarray(WHITE_AND_BLACK), jnp.asarray(CLASS_OF_EACH), BOTH, None)


def test_with_both_each_image_gets_one_of_the_two(mixed_by_both):
    images, _ = mixed_by_both
    pixels = np.asarray(images)[::2, ..., 0].reshape(2000, -1)
    is_mixup = (pixels == pixels[:, :1]).all(1) & (pixels[:, 0] > 0) & (pixels[:, 0] < 1)
    is_cutmix = np.isin(pixels, [0, 1]).all(1)
    assert (is_mixup ^ is_cutmix).all()
    assert stats.binomtest(int(is_mixup.sum()), len(pixels), 0.5).pvalue > 1e-6


def test_devices_that_share_a_batch_mix_it_as_one_does(mixed_by_both):
    """`vmap` with a named axis computes what devices compute."""

    def on_device(inputs, labels):
        keys = sharing.example_keys(KEY, len(inputs), "data")
        return mixing.mix(keys, inputs, labels, BOTH, "data")

    def parts(array):
        return jnp.asarray(array).reshape(4, -1, *array.shape[1:])

    given = parts(WHITE_AND_BLACK), parts(CLASS_OF_EACH)
    shared = jax.jit(jax.vmap(on_device, axis_name="data"))(*given)
    for together, alone in zip(shared, mixed_by_both, strict=True):
        np.testing.assert_allclose(together.reshape(alone.shape), alone, atol=16 * UNIT)


def test_a_users_augmentation_gets_and_gives_distributions():
    def fade(key, images, labels):
        return images / 2, labels / 2 + 0.5 / CLASSES

    images, targets = LabelAugmentation(fade, CLASSES)(
        KEY, jnp.asarray(INPUTS), jnp.asarray(LABELS)
    )
    np.testing.assert_array_equal(images, INPUTS / 2)
    np.testing.assert_allclose(targets, np.eye(CLASSES)[LABELS] / 2 + 0.5 / CLASSES, atol=UNIT)
    how = settings(mixup=1.0)  # which takes such targets too
    keys = sharing.example_keys(KEY, len(INPUTS), None)
    _, after = MIX(keys, images, targets, how, None)
    _, of_labels = mixed(how)
    np.testing.assert_allclose(after, of_labels / 2 + 0.5 / CLASSES, atol=8 * UNIT)


def test_the_larger_share_counts_as_the_label():
    logits = jnp.asarray(RNG.randn(3, CLASSES).astype(np.float32))
    targets = jnp.asarray([[0.3, 0.7, 0, 0, 0], [0, 0, 0.1, 0, 0.9], [0.6, 0, 0, 0.4, 0]])
    by_label = TrainingSums.of(logits, jnp.asarray([1, 4, 0], jnp.int32))
    found = TrainingSums.of(logits, targets)
    assert jax.tree.map(float, found) == jax.tree.map(float, by_label)
