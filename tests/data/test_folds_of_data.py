"""Folds of images in memory, and data sets that are only read if they are prepared."""

import dataclasses

import numpy as np
import pytest

from jaxcifar import api
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, NotPreparedError, load_dataset
from jaxcifar.errors import UsageError


def arrays(count):
    """Images of which each has a brightness of its own, and labels of three classes in turn."""
    images = np.repeat(np.arange(count, dtype=np.uint8), 32 * 32 * 3).reshape(count, 32, 32, 3)
    return images, np.arange(count) % 3


def brightness(examples):
    return examples.images[:, 0, 0, 0].tolist()


def test_the_folds_of_arrays_share_their_images_out():
    data = [Dataset.from_arrays(*arrays(30), *arrays(6), fold=f"{i}/4") for i in (1, 2, 3, 4)]
    assert sorted(image for each in data for image in brightness(each.val)) == list(range(30))
    for each in data:
        assert sorted(brightness(each.val) + brightness(each.train)) == list(range(30))
        assert sorted(brightness(each.test)) == list(range(6))
    assert [each.fold for each in data] == ["1/4", "2/4", "3/4", "4/4"]


def test_a_run_on_arrays_has_their_fold_in_its_config():
    """Or the run of a second fold would be taken for that of the first."""
    settings = [
        api._dataset_settings(Dataset.from_arrays(*arrays(30), *arrays(6), fold=fold), {})
        for fold in ("1/4", "2/4")
    ]
    first, second = (Config.create("cnn", **each) for each in settings)
    assert (first.fold, second.fold) == ("1/4", "2/4")
    assert first.data_sha256 == second.data_sha256
    assert first.val_fraction == second.val_fraction == 0.1
    with pytest.raises(UsageError, match=r"^fold: these images are split already"):
        api._dataset_settings(Dataset.from_arrays(*arrays(30), *arrays(6)), {"fold": "1/4"})


@pytest.mark.parametrize(
    "split",
    [
        {},
        {"val_fraction": 0.5},
        {"val_fraction": 0.0},
        {"train_examples": 9},
        {"train_examples": np.int64(6), "fold": "1/3"},
    ],
)
def test_a_run_on_arrays_has_their_split_in_its_config(split):
    """Or another split of the same images would be taken for the earlier run."""
    data = Dataset.from_arrays(*arrays(30), *arrays(6), **split)
    config = Config.create("cnn", **api._dataset_settings(data, {}))
    expected = {"val_fraction": 0.1, "train_examples": None, "fold": "", **split}
    assert {name: getattr(config, name) for name in expected} == expected


def test_a_run_on_a_loaded_part_of_a_data_set_has_that_part_in_its_config(shapes_dir):
    config = Config.create("cnn", dataset="shapes10", train_examples=100, val_fraction=0.5)
    data = load_dataset(config, shapes_dir)
    again = Config.create("cnn", **api._dataset_settings(data, {}))
    assert again == config
    with pytest.raises(UsageError, match=r"^val_fraction: .* the config for load_dataset instead"):
        api._dataset_settings(data, {"val_fraction": 0.5})


def test_other_images_than_were_loaded_are_identified_by_their_own_checksum():
    data = Dataset.from_arrays(*arrays(30), *arrays(6), val_fraction=0.5)
    fewer = data.train._replace(images=data.train.images[:3], labels=data.train.labels[:3])
    changed = dataclasses.replace(data, train=fewer)
    settings = api._dataset_settings(changed, {})
    assert settings["data_sha256"] == changed.sha256 != data.sha256
    assert "val_fraction" not in settings  # it did not choose these images


def test_a_changed_built_in_data_set_needs_a_name_of_its_own(shapes_dir):
    data = load_dataset(Config.create("cnn", dataset="shapes10"), shapes_dir)
    changed = dataclasses.replace(data, train=data.val)
    with pytest.raises(UsageError, match=r"^the name 'shapes10' is that of a built-in .*replace"):
        api._dataset_settings(changed, {})
    own = dataclasses.replace(changed, name="mine", title="mine")
    assert api._dataset_settings(own, {})["dataset"] == "mine"


WRONG_NUMBERS = {
    "val_fraction": (1.0, -0.1, "0.1"),
    "train_examples": (0, -1, 5.0),
    "fold": (1, (1, 5), None),
}


@pytest.mark.parametrize("name", WRONG_NUMBERS)
def test_a_number_that_splits_no_arrays_is_refused(name):
    for number in WRONG_NUMBERS[name]:
        with pytest.raises(UsageError, match=rf"^{name} .*: must be "):
            Dataset.from_arrays(*arrays(30), *arrays(6), **{name: number})


def test_a_fold_beside_validation_images_or_a_fraction_is_refused():
    val = {"x_val": arrays(6)[0], "y_val": arrays(6)[1]}
    with pytest.raises(UsageError, match=r"^--fold 1/4: .* has its own validation images"):
        Dataset.from_arrays(*arrays(30), *arrays(6), **val, fold="1/4")
    with pytest.raises(UsageError, match=r"^val_fraction has no effect with fold"):
        Dataset.from_arrays(*arrays(30), *arrays(6), val_fraction=0.5, fold="1/4")


def test_without_preparing_nothing_is_written(tmp_path):
    images, labels = arrays(30)
    file, data_dir = tmp_path / "mine.npz", tmp_path / "data"
    np.savez(file, x_train=images, y_train=labels, x_test=images, y_test=labels)
    data_dir.mkdir()
    for name in ("shapes10", str(file)):
        config = Config.create("cnn", dataset=name, fold="2/5")
        with pytest.raises(NotPreparedError, match="is not prepared in"):
            load_dataset(config, data_dir, may_prepare=False)
        assert list(data_dir.iterdir()) == []
    prepared = load_dataset(config, data_dir, lambda line: None)
    again = load_dataset(config, data_dir, may_prepare=False)
    assert len(again.val.labels) == 6
    assert brightness(again.val) == brightness(prepared.val)
