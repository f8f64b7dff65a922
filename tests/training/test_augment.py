"""Augmentation and normalisation against NumPy."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from conftest import ROOT
from PIL import Image
from rounding import UNIT, assert_near
from scipy import stats

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS, Entry
from jaxcifar.training import augment

KEYS = jax.random.split(jax.random.key(0), 256)
IMAGES = np.random.RandomState(0).randint(0, 256, (256, 32, 32, 3)).astype(np.uint8)
GIVEN = jnp.asarray(IMAGES)
# Compiled as a whole, as in training, and once for all tests: settings are arrays.
SHIFT_AND_FLIP, CUT_OUT = jax.jit(augment.shift_and_flip), jax.jit(augment.cut_out)
CROP = jax.jit(augment.crop, static_argnums=2)


NEVER = jnp.zeros(len(IMAGES), bool)


def how(**changes):
    settings = {"enabled": True, "shift": 4, "reflect": False, "cutout": 0}
    settings |= {"flips": True, "alternate": False}
    arrays = {name: jnp.asarray(value) for name, value in (settings | changes).items()}
    return augment.AugmentationSettings(**arrays, max_shift=4)


def numpy_crop(image, top, left):
    padded = np.zeros((40, 40, 3), np.uint8)
    padded[4:36, 4:36] = image
    return padded[top : top + 32, left : left + 32]


def test_a_crop_is_that_of_numpy():
    shifts = np.random.RandomState(1).randint(0, 9, (len(IMAGES), 2))
    got = CROP(GIVEN, jnp.asarray(shifts), 4)
    assert got.dtype == np.uint8
    for image, (top, left), cropped in zip(IMAGES, shifts, got, strict=True):
        np.testing.assert_array_equal(cropped, numpy_crop(image, top, left))


def test_every_image_is_one_of_its_shifts_and_flips():
    got = np.asarray(SHIFT_AND_FLIP(KEYS, GIVEN, how(), NEVER))
    seen = set()
    for image, result in zip(IMAGES, got, strict=True):
        matches = [
            (flip, top, left)
            for flip, source in ((False, image), (True, image[:, ::-1]))
            for top in range(9)
            for left in range(9)
            if np.array_equal(result, numpy_crop(source, top, left))
        ]
        assert len(matches) == 1
        seen.add(matches[0])
    assert {flip for flip, _, _ in seen} == {False, True}
    assert {top for _, top, _ in seen} == set(range(9))
    assert {left for _, _, left in seen} == set(range(9))


MANY = 40_000
MANY_KEYS = jax.random.split(jax.random.key(2), MANY)


def drawn(how):
    """Whether each of many small images was flipped, and the corner of its window.

    Pixels are numbered along the rows, so that the middle one says where the window lies, and those
    beside it on which side of it they were before.
    """
    numbered = np.broadcast_to(np.arange(1, 82, dtype=np.uint8).reshape(9, 9, 1), (MANY, 9, 9, 1))
    moved = SHIFT_AND_FLIP(MANY_KEYS, jnp.asarray(numbered), how, jnp.zeros(MANY, bool))
    got = np.asarray(moved)[..., 0].astype(int)
    left, middle, right = got[:, 4, 3], got[:, 4, 4], got[:, 4, 5]
    flipped = np.where(right > 0, right < middle, middle < left)
    row, column = np.divmod(middle - 1, 9)
    return flipped, row, np.where(flipped, 8 - column, column)


def test_one_image_in_two_is_flipped():
    flipped, _, _ = drawn(how())
    deviation = np.sqrt(MANY) / 2  # of the binomial distribution
    assert abs(flipped.sum() - MANY / 2) < 5 * deviation


def test_all_shifts_along_both_axes_are_equally_likely_flipped_or_not():
    """All 162 together, so that no draw may depend on another."""
    flipped, top, left = drawn(how())
    counts = np.bincount(81 * flipped + 9 * top + left, minlength=162)
    assert len(counts) == 162
    assert stats.chisquare(counts).pvalue > 1e-6


def test_smaller_shifts_are_equally_likely_too():
    flipped, top, left = drawn(how(shift=2, alternate=True))
    assert not flipped.any()
    assert top.min() == left.min() == 2
    counts = np.bincount(5 * (top - 2) + left - 2, minlength=25)
    assert len(counts) == 25
    assert stats.chisquare(counts).pvalue > 1e-6


def test_without_flips_no_image_is_flipped_at_random_or_in_its_turn():
    all_in_turn = ~NEVER
    for alternate in (False, True):
        settings = how(shift=0, flips=False, alternate=alternate)
        got = SHIFT_AND_FLIP(KEYS, GIVEN, settings, all_in_turn)
        np.testing.assert_array_equal(got, IMAGES)


def test_without_flips_the_shifts_are_those_with_flips():
    flipped, top, left = drawn(how(flips=False))
    assert not flipped.any()
    _, top_with_flips, left_with_flips = drawn(how())
    np.testing.assert_array_equal(top, top_with_flips)
    np.testing.assert_array_equal(left, left_with_flips)


def test_disabled_it_changes_nothing_in_the_same_program():
    # A function of its own, because JAX may count the programs of all who compile the same one.
    program = jax.jit(lambda *arguments: augment.shift_and_flip(*arguments))
    np.testing.assert_array_equal(program(KEYS, GIVEN, how(enabled=False), NEVER), IMAGES)
    assert not np.array_equal(program(KEYS, GIVEN, how(), NEVER), IMAGES)
    assert program._cache_size() == 1


def test_equal_keys_give_equal_images_and_other_keys_do_not():
    first = SHIFT_AND_FLIP(KEYS, GIVEN, how(), NEVER)
    np.testing.assert_array_equal(first, SHIFT_AND_FLIP(KEYS, GIVEN, how(), NEVER))
    other = SHIFT_AND_FLIP(KEYS[::-1], GIVEN, how(), NEVER)
    assert not np.array_equal(first, other)


def test_pixels_are_normalised_by_mean_and_deviation():
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.4])
    expected = (IMAGES / 255 - np.float64(mean)) / np.float64(std)
    got = augment.normalize(augment.pixels(GIVEN), mean, std)
    assert_near(got, expected, 4 * UNIT / std)  # a quotient, a difference, a quotient


def test_reflected_borders_are_numpys():
    shifts = np.random.RandomState(1).randint(0, 9, (len(IMAGES), 2))
    got = CROP(GIVEN, jnp.asarray(shifts), 4, True)
    for image, (top, left), cropped in zip(IMAGES, shifts, got, strict=True):
        padded = np.pad(image, ((4, 4), (4, 4), (0, 0)), "reflect")
        np.testing.assert_array_equal(cropped, padded[top : top + 32, left : left + 32])


def test_shifts_are_as_far_as_asked_for():
    got = np.asarray(SHIFT_AND_FLIP(KEYS, GIVEN, how(shift=1, alternate=True), NEVER))
    seen = set()
    for image, result in zip(IMAGES, got, strict=True):
        spots = [(top, left) for top in range(9) for left in range(9)]
        [spot] = [s for s in spots if np.array_equal(result, numpy_crop(image, *s))]
        seen.add(spot)
    assert seen == {(top, left) for top in (3, 4, 5) for left in (3, 4, 5)}


def test_flips_alternate():
    """Each image is seen from one side in an epoch and from the other in the next, by its place."""
    key, index = jax.random.key(1), jnp.arange(MANY)
    first, second, third = (np.asarray(augment.alternating_flips(key, index, e)) for e in range(3))
    np.testing.assert_array_equal(second, ~first)
    np.testing.assert_array_equal(third, first)
    assert abs(first.sum() - MANY / 2) < 5 * np.sqrt(MANY) / 2  # deviations of the binomial
    np.testing.assert_array_equal(augment.alternating_flips(key, index[::-1], 0), first[::-1])
    turns = first[: len(IMAGES)]
    got = np.asarray(SHIFT_AND_FLIP(KEYS, GIVEN, how(shift=0, alternate=True), jnp.asarray(turns)))
    expected = np.where(turns[:, None, None, None], IMAGES[:, :, ::-1], IMAGES)
    np.testing.assert_array_equal(got, expected)


def test_cutout_blanks_a_square():
    ones = jnp.ones((256, 32, 32, 3))
    got = np.asarray(CUT_OUT(KEYS, ones, how(cutout=8)))
    middles = set()
    for image in got:
        assert (image == image[..., :1]).all()
        blank = image[..., 0] == 0
        rows, columns = np.flatnonzero(blank.any(1)), np.flatnonzero(blank.any(0))
        np.testing.assert_array_equal(blank, np.outer(blank.any(1), blank.any(0)))
        for spots in (rows, columns):
            assert 4 <= len(spots) <= 8
            assert len(spots) == 8 or spots[0] == 0 or spots[-1] == 31
            np.testing.assert_array_equal(spots, np.arange(spots[0], spots[-1] + 1))
        middles.add((rows[0], columns[0]))
    assert len(middles) > 100
    # A pixel is covered if the middle is one of 64 places around it, of which an image's corner has
    # 5 along an axis, its middle 8.
    covered = (got[..., 0] == 0).mean(0)
    assert covered[8:-8, 8:-8].mean() == pytest.approx(64 / 32**2, rel=0.25)
    for none in (how(cutout=0), how(cutout=8, enabled=False)):
        np.testing.assert_array_equal(CUT_OUT(KEYS, ones, none), ones)


def test_smaller_images_are_those_of_pillow():
    """At half the size each pixel is a mean weighted by a triangle, as Pillow's bilinear has it."""
    for size in (16, 24):
        got = np.asarray(augment.resize(GIVEN[:8], size))
        assert got.dtype == np.uint8
        for image, smaller in zip(IMAGES[:8], got, strict=True):
            expected = Image.fromarray(image).resize((size, size), Image.Resampling.BILINEAR)
            assert np.abs(smaller.astype(int) - np.asarray(expected, int)).max() <= 1


def test_draws_of_one_image_do_not_depend_on_each_other():
    """By the same bits a place among 28 would tell one among 7: it would be that, modulo 7."""
    corner = np.zeros((256, 28, 28, 3), np.uint8)
    corner[:, 14, 14] = 1
    moved = np.asarray(
        SHIFT_AND_FLIP(KEYS, jnp.asarray(corner), how(shift=3, alternate=True), NEVER)
    )
    shifts = np.array([np.argwhere(image[..., 0])[0] for image in moved])
    ones = jnp.ones((256, 28, 28, 3))
    cut = np.asarray(CUT_OUT(KEYS, ones, how(cutout=1)))
    middles = np.array([np.argwhere(image[..., 0] == 0)[0] for image in cut])
    pairs = (middles - middles.min(0)) % 7, (17 - shifts)
    table = np.zeros((7, 7))
    np.add.at(table, tuple(np.ravel(pair) for pair in pairs), 1)
    assert stats.chi2_contingency(table).pvalue > 1e-6
    drawn = jax.random.key_data(augment.user_augmentation_key(KEYS))
    others = jax.vmap(jax.random.split)(KEYS[:1])
    assert not (jax.random.key_data(others) == drawn).all(-1).any()


def dimmed(key, images, dropout):
    """An augmentation with a setting; `dropout` stands for an option of its own."""
    return images * dropout


def test_an_augmentation_is_given_its_settings_by_name(monkeypatch, easy_dataset):
    """An image times 0 is black, whatever it shows: then two batches train alike."""
    line = Entry("training.test_augment:dimmed", "dimmed", takes=("dropout",))
    monkeypatch.setitem(KINDS["augmentation"], "dimmed", line)
    net = f"{ROOT / 'tests' / 'own' / 'net.py'}:Net"
    config = Config.create(net, dataset="shapes10", batch_size=32, augmentation="dimmed")
    program = make_program(config, 10, 128, jax.devices()[:1]).copy_for_one_device
    step = jax.jit(program.train_step)
    after = []
    for factor, images in ((0.0, IMAGES[:32]), (0.0, IMAGES[32:64]), (0.5, IMAGES[32:64])):
        hp = make_hyperparameters(
            dataclasses.replace(config, dropout=factor), easy_dataset, steps_per_epoch=4
        )
        state = program.init(hp, IMAGES)
        state = step(state, hp, images, np.zeros(32, np.int32), np.arange(32))
        after.append(np.asarray(state.params["body"]["kernel"]))
    np.testing.assert_array_equal(after[0], after[1])
    assert not np.array_equal(after[1], after[2])
