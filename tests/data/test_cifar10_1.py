"""CIFAR-10.1 by its files and by TFDS, made up here in the published form."""

import importlib

import numpy as np
import pytest
from PIL import Image

from jaxcifar.data.cifar10_1 import load_cifar10_1
from jaxcifar.errors import RunError, UsageError


def made_up(version="v6", labels_as=np.int32):
    count = {"v6": 2000, "v4": 2021}[version]
    images = np.random.RandomState(7).randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    return images, (np.arange(count) % 10).astype(labels_as)


def write(folder, version="v6", images=None, labels=None):
    folder.mkdir(exist_ok=True)
    given = made_up(version)
    np.save(folder / f"cifar10.1_{version}_data.npy", given[0] if images is None else images)
    np.save(folder / f"cifar10.1_{version}_labels.npy", given[1] if labels is None else labels)
    return folder


@pytest.mark.parametrize("version", ["v4", "v6"])
@pytest.mark.parametrize("labels_as", [np.int32, np.int64, np.uint8])
def test_the_published_files_are_read(tmp_path, version, labels_as):
    images, labels = made_up(version, labels_as)
    got, examples = load_cifar10_1(write(tmp_path, version, labels=labels), tmp_path)
    assert got == version
    np.testing.assert_array_equal(examples.images, images)
    np.testing.assert_array_equal(examples.labels, labels)
    assert examples.labels.dtype == np.int32


def test_v6_is_taken_where_both_are(tmp_path):
    write(write(tmp_path, "v4"), "v6")
    assert load_cifar10_1(tmp_path, tmp_path)[0] == "v6"


def test_images_that_tfds_prepared_are_read(tmp_path):
    stock = importlib.import_module("tensorflow_datasets.image_classification.cifar10_1")
    images, labels = made_up()

    class Cifar101(stock.Cifar10_1, skip_registration=True):  # stock's reads files with TensorFlow
        name = "cifar10_1"

        def _split_generators(self, dl_manager):
            return {"test": self._generate_examples(None, None)}

        def _generate_examples(self, image_path, label_path):
            for i, (image, label) in enumerate(zip(images, labels, strict=True)):
                yield i, {"image": Image.fromarray(image), "label": int(label)}

    Cifar101(config="v6", data_dir=tmp_path).download_and_prepare(file_format="array_record")
    version, examples = load_cifar10_1(None, tmp_path)
    assert version == "v6"

    def ordered(images, labels):
        return sorted(zip(map(bytes, images), labels.tolist(), strict=True))

    assert ordered(*examples) == ordered(images, labels)  # TFDS shuffles


def test_missing_files_are_refused(tmp_path):
    with pytest.raises(UsageError, match=r"has neither cifar10\.1_v6_data\.npy"):
        load_cifar10_1(tmp_path, tmp_path)
    with pytest.raises(UsageError, match="TFDS has not prepared it"):
        load_cifar10_1(None, tmp_path)


@pytest.mark.parametrize(
    ("wrong", "reason"),
    [
        ({"images": np.zeros((2000, 32, 32, 3), np.float32)}, "_data.npy: .* is not uint8"),
        ({"images": np.zeros((2000, 3, 32, 32), np.uint8)}, r"_data.npy: .* of shape \[N, 32"),
        (
            {"images": np.zeros((1999, 32, 32, 3), np.uint8)},
            "v6, which has 2,000 images of 10 classes",
        ),
        ({"labels": np.zeros(2001, int)}, "v6, which has 2,000 images of 10 classes"),
        ({"labels": np.full(2000, 10)}, "v6, which has 2,000 images of 10 classes"),
        ({"labels": np.full(2000, -1)}, "v6, which has 2,000 images of 10 classes"),
        ({"labels": np.zeros((2000, 1), int)}, r"_labels.npy: .* of shape \[N\]"),
        ({"labels": np.zeros(2000)}, "_labels.npy: .* is not integer"),
        ({"labels": np.array([{}] * 2000)}, "_labels.npy: .* not a plain array"),
    ],
)
def test_other_arrays_are_refused(tmp_path, wrong, reason):
    with pytest.raises(RunError, match=rf"{reason}.*; get (the file|them) again") as error:
        load_cifar10_1(write(tmp_path, **wrong), tmp_path)
    assert "\n" not in str(error.value)


def test_damaged_files_are_refused(tmp_path):
    data = write(tmp_path) / "cifar10.1_v6_data.npy"
    whole = data.read_bytes()
    for content in (b"", whole[:50], whole[:-1], b"\x93NUMPY\x01\x00\xff\xff{", whole[1:]):
        data.write_bytes(content)
        with pytest.raises(RunError, match="is damaged"):
            load_cifar10_1(tmp_path, tmp_path)
    data.unlink()
    data.symlink_to(tmp_path / "cifar10.1_v6_labels.npy")
    with pytest.raises(RunError, match="is a link"):
        load_cifar10_1(tmp_path, tmp_path)
