"""Folds of images in memory, and data sets that are only read if they are prepared."""

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
    with pytest.raises(UsageError, match=r"^fold: the images are split already"):
        api._dataset_settings(Dataset.from_arrays(*arrays(30), *arrays(6)), {"fold": "1/4"})


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
