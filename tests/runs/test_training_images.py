"""The training images that a run stores to look at: as they are, and as the network sees them."""

import dataclasses
from types import SimpleNamespace

import numpy as np
import pytest

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.config.experiment import Config
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.training_images import (
    choose_and_augment_images,
    choose_image_indices,
    write_training_images,
)
from jaxcifar.training.augment import keep_unchanged

MEAN, STD = (0.5, 0.4, 0.3), (0.2, 0.25, 0.3)
RNG = np.random.RandomState(0)
IMAGES = RNG.randint(1, 256, (40, 32, 32, 3)).astype(np.uint8)  # no pixel is 0
LABELS = np.arange(40, dtype=np.int32) % 10


def sample(augmentation=keep_unchanged, images=IMAGES, labels=LABELS, **settings):
    config = dataclasses.replace(Config.create("cnn", epochs=2), **settings)
    statistics = SimpleNamespace(mean=np.asarray(MEAN), std=np.asarray(STD))
    return choose_and_augment_images(
        augmentation, make_hyperparameters(config, statistics, 3), images, labels
    )


def shifted(image, down, right):
    """The image moved by some pixels; what comes in at the border is 0."""
    padded = np.pad(image, ((40, 40), (40, 40), (0, 0)))
    return padded[40 - down : 72 - down, 40 - right : 72 - right]


@pytest.mark.parametrize("normalize", [True, False])
def test_without_augmentation_the_network_sees_the_stored_images(normalize):
    got = sample(augment=False, normalize=normalize)
    np.testing.assert_array_equal(got["index"], np.arange(8))
    np.testing.assert_array_equal(got["label"], LABELS[:8])
    np.testing.assert_array_equal(got["image"], IMAGES[:8])
    assert got["augmented"].shape == (8, 3, 32, 32, 3)
    np.testing.assert_array_equal(got["augmented"], np.repeat(IMAGES[:8, None], 3, axis=1))


def test_an_augmented_image_is_a_shifted_and_perhaps_flipped_stored_one():
    got = sample(shift=2, border="zeros", flip="random", cutout=0)
    moves = []
    for image, versions in zip(got["image"], got["augmented"], strict=True):
        for version in versions:
            fits = [
                (down, right, side)
                for down in range(-2, 3)
                for right in range(-2, 3)
                for side in (1, -1)
                if np.array_equal(version, shifted(image[:, ::side], down, right))
            ]
            assert len(fits) == 1
            moves += fits
    assert len(set(moves)) > 8
    assert {side for _, _, side in moves} == {1, -1}


def test_flips_that_alternate_change_from_version_to_version():
    got = sample(shift=0, flip="alternate", cutout=0)
    for image, versions in zip(got["image"], got["augmented"], strict=True):
        is_flipped = [np.array_equal(version, image[:, ::-1]) for version in versions]
        assert is_flipped in ([True, False, True], [False, True, False])


def test_digits_may_be_shifted_without_being_flipped():
    got = sample(shift=0, flip="none", cutout=0)
    for image, versions in zip(got["image"], got["augmented"], strict=True):
        assert all(np.array_equal(version, image) for version in versions)


def test_a_cut_out_square_has_the_mean_colour():
    got = sample(shift=0, flip="alternate", cutout=8)
    mean_colour = np.round(255 * np.asarray(MEAN))
    is_blank = (got["augmented"] == mean_colour).all(-1)
    areas = is_blank.sum((2, 3))
    assert areas.max() == 64 and areas.min() >= 16


def test_the_images_follow_from_the_seed():
    first, same, other = sample(seed=1), sample(seed=1), sample(seed=2)
    np.testing.assert_array_equal(first["augmented"], same["augmented"])
    assert (first["augmented"] != other["augmented"]).any()


def negative(key, images):
    return 1 - images


def too_bright(key, images):
    return images * 4 - 1


def test_a_users_augmentation_is_shown():
    got = sample(negative, augment=False)
    np.testing.assert_array_equal(got["augmented"][:, 2], 255 - got["image"])
    bright = sample(too_bright, augment=False)["augmented"]
    expected = np.clip(4.0 * IMAGES[:8] - 255, 0, 255)
    np.testing.assert_array_equal(bright[:, 0], expected)


def test_images_of_different_classes_come_first():
    labels = np.asarray([3, 3, 3, 0, 3, 0, 3, 3, 3, 3])
    assert choose_image_indices(labels).tolist() == [3, 0, 1, 2, 4, 5, 6, 7]
    assert choose_image_indices(labels[:3]).tolist() == [0, 1, 2]
    assert choose_image_indices(np.arange(100)[::-1]).tolist() == list(range(99, 91, -1))


def setup_with(augmentation):
    train = SimpleNamespace(images=IMAGES, labels=LABELS)
    dataset, program = SimpleNamespace(train=train), SimpleNamespace(augmentation=augmentation)
    return SimpleNamespace(dataset=dataset, program=program)


def hyperparameters():
    statistics = SimpleNamespace(mean=np.asarray(MEAN), std=np.asarray(STD))
    return make_hyperparameters(Config.create("cnn", epochs=2), statistics, 3)


def test_a_resumed_run_keeps_the_images(tmp_path):
    folder, lines = RunFolder(tmp_path), []
    write_training_images(folder, setup_with(keep_unchanged), hyperparameters(), lines.append)
    stored = folder.training_images_file.read_bytes()
    assert folder.read_training_images(10)["image"].shape == (8, 32, 32, 3)
    write_training_images(folder, setup_with(negative), hyperparameters(), lines.append)
    assert folder.training_images_file.read_bytes() == stored
    assert lines == []


def failing(key, images):
    raise ValueError("only batches of 128\nimages")


def test_an_augmentation_that_fails_on_few_images_ends_no_run(tmp_path):
    folder, lines = RunFolder(tmp_path), []
    write_training_images(folder, setup_with(failing), hyperparameters(), lines.append)
    assert lines == [
        "no training images can be shown augmented (only batches of 128); the run goes on"
    ]
    assert not folder.training_images_file.exists()
