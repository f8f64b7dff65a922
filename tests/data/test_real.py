"""The real images, where they are at hand."""

import functools
import json

import numpy as np
import pytest
from commands.test_run import COMMON
from conftest import ROOT, finish, start

import jaxcifar
from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records, catalog, load_dataset, record_cache
from jaxcifar.data.archive import read_archive
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.trained.load import SHIPPED_WEIGHTS


def real_archive():
    """CIFAR-10's archive beside the project, if it is there."""
    return next(iter(sorted(ROOT.parent.glob("shared/cifar10/*.tar.gz"))), None)


@functools.cache
def real_records():
    """The sorted records of the real archive."""
    arrays = read_archive(real_archive(), catalog.CIFAR10.archive_layout)
    return {split: binary_records.sort(array) for split, array in arrays.items()}


@pytest.fixture(scope="module")
def real_data_dir(tmp_path_factory):
    """A folder with the real CIFAR-10: the user's own, or one with a cache of the archive's images.

    Writing 60,000 images as TFDS does takes a minute; tests/data/test_data.py does it with fewer.
    """
    cache = catalog.cache_folder(catalog.CIFAR10, default_data_dir())
    if record_cache.read_records(cache, catalog.CIFAR10.fingerprints) is not None:
        return default_data_dir()
    if real_archive() is None:
        pytest.skip("CIFAR-10 is neither prepared in the TFDS folder nor at hand as an archive")
    folder = tmp_path_factory.mktemp("real")
    cache = catalog.cache_folder(catalog.CIFAR10, folder)
    record_cache.write_records(cache, real_records())
    # Nothing is downloaded or prepared: the images have the catalogue's fingerprints.
    assert record_cache.read_records(cache, catalog.CIFAR10.fingerprints) is not None
    return folder


def test_the_archive_has_the_published_statistics():
    if real_archive() is None:
        pytest.skip("the real archive is not at hand")
    records = real_records()
    mean, std = binary_records.channel_statistics(records["train"])
    np.testing.assert_allclose(mean, [0.49139968, 0.48215841, 0.44653091], atol=1e-7)
    np.testing.assert_allclose(std, [0.24703223, 0.24348513, 0.26158784], atol=1e-7)
    assert np.bincount(records["train"][:, 0]).tolist() == [5000] * 10
    assert np.bincount(records["test"][:, 0]).tolist() == [1000] * 10


def test_it_loads_in_the_published_shape(real_data_dir):
    dataset = load_dataset(Config.create("cnn"), real_data_dir)
    assert dataset.train.images.shape == (45_000, 32, 32, 3)
    assert dataset.val.images.shape == (5_000, 32, 32, 3)
    assert dataset.test.images.shape == (10_000, 32, 32, 3)
    assert np.bincount(dataset.val.labels).tolist() == [500] * 10
    np.testing.assert_allclose(dataset.mean, [0.4914, 0.4822, 0.4465], atol=1e-3)


def test_a_short_run_learns_more_than_chance(real_data_dir, tmp_path):
    """It learns more than chance."""
    where = ("--data-dir", str(real_data_dir), "--run-dir", str(tmp_path))
    small = ("--arch-args", "widths=8,", "hidden=32", "--train-examples", "2048", "--epochs", "2")
    rates = ("--batch-size", "32", "--schedule", "cosine", "--learning-rate", "0.05")
    assert "NOT CIFAR-10" not in finish(start("run", *COMMON, *small, *rates, *where))
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["dataset"] == "CIFAR-10"
    assert result["test_accuracy"] > 0.2


def test_what_ships_is_as_good_as_its_card_says(real_data_dir):
    """Counted here, from logits: of test and validation images, and by both sides of them."""
    classifier = jaxcifar.load()
    dataset = load_dataset(classifier.config, real_data_dir)
    np.testing.assert_allclose(classifier.mean, dataset.mean, atol=1e-6)

    def accuracy(logits, labels):
        return (logits.argmax(-1) == labels).mean()

    card, val, test = classifier.result, dataset.val, dataset.test
    logits = classifier.logits(test.images)
    mirrored = classifier.logits(test.images[:, :, ::-1])
    # Another processor may round one image in a thousand to the other side.
    assert accuracy(logits, test.labels) == pytest.approx(card["test_accuracy"], abs=1e-3)
    both = accuracy(logits + mirrored, test.labels)
    assert both == pytest.approx(card["test_accuracy_flip"], abs=1e-3)
    found = accuracy(classifier.logits(val.images), val.labels)
    assert found == pytest.approx(card["val_accuracy"], abs=1e-3)
    text = (SHIPPED_WEIGHTS.parent / "cnn.md").read_text()
    assert f"| Test accuracy | {card['test_accuracy']:.2%} " in text
