"""Augmentation and normalisation against NumPy."""

import jax
import numpy as np

from jaxcifar.training import augment

KEYS = jax.random.split(jax.random.key(0), 256)
IMAGES = np.random.RandomState(0).randint(0, 256, (256, 32, 32, 3)).astype(np.uint8)


def numpy_crop(image, top, left):
    padded = np.zeros((40, 40, 3), np.uint8)
    padded[4:36, 4:36] = image
    return padded[top : top + 32, left : left + 32]


def test_crop_against_numpy():
    shifts = np.random.RandomState(1).randint(0, 9, (len(IMAGES), 2))
    got = augment.crop(IMAGES, shifts)
    assert got.dtype == np.uint8
    for image, (top, left), cropped in zip(IMAGES, shifts, got, strict=True):
        np.testing.assert_array_equal(cropped, numpy_crop(image, top, left))


def test_every_image_is_one_of_its_shifts_and_flips():
    got = np.asarray(jax.jit(augment.shift_and_flip)(KEYS, IMAGES, True))
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
    flips = sum(flip for flip, _, _ in seen)
    assert 0.3 < flips / len(seen) < 0.7
    assert {top for _, top, _ in seen} == set(range(9))
    assert {left for _, _, left in seen} == set(range(9))


def test_disabled_it_changes_nothing_in_the_same_program():
    program = jax.jit(augment.shift_and_flip)
    np.testing.assert_array_equal(program(KEYS, IMAGES, False), IMAGES)
    assert not np.array_equal(program(KEYS, IMAGES, True), IMAGES)
    assert program._cache_size() == 1


def test_keys_decide():
    first = augment.shift_and_flip(KEYS, IMAGES, True)
    np.testing.assert_array_equal(first, augment.shift_and_flip(KEYS, IMAGES, True))
    other = augment.shift_and_flip(KEYS[::-1], IMAGES, True)
    assert not np.array_equal(first, other)


def test_normalisation():
    mean, std = np.float32([0.5, 0.4, 0.3]), np.float32([0.2, 0.3, 0.4])
    expected = (IMAGES / 255 - mean) / std
    np.testing.assert_allclose(
        augment.normalize(augment.pixels(IMAGES), mean, std), expected, atol=1e-5
    )
