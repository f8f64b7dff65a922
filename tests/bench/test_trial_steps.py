"""The estimate of a run's time, by hand, and the images that stand for those that are not there."""

import numpy as np
import pytest

from jaxcifar.bench.trial_steps import Trial, random_dataset_like
from jaxcifar.config.experiment import Config


def test_the_estimate_counts_steps_of_runs_together_and_images_of_each():
    trial = Trial((900, 100, 50), 9, 4, 0.5, 0.001, 8.0, 2, None, None, "float32")
    # Three runs in two rounds of 5 epochs of 9 steps; each evaluates 5 x 100 + 3 x 50 images.
    assert trial.seconds(epochs=5, runs=3) == pytest.approx(2 * 5 * 9 * 0.5 + 3 * 650 * 0.001)
    assert trial.seconds(epochs=1) == pytest.approx(9 * 0.5 + 250 * 0.001)


def test_noise_has_the_numbers_and_classes_of_the_images():
    config = Config.create("cnn", dataset="cifar10", fold="1/5", train_examples=30)
    named, dataset = random_dataset_like(config)
    assert (named.dataset, named.fold) == ("noise", "1/5")
    assert not dataset.is_from_catalog
    assert [len(split.labels) for split in (dataset.train, dataset.val, dataset.test)] == [
        *(30, 10_000, 10_000)
    ]
    assert np.bincount(dataset.val.labels).tolist() == [1000] * 10
    assert dataset.class_names[3] == "cat"
