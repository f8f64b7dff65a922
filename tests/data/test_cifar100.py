"""CIFAR-100: its archives in both forms, its names, its counts."""

import dataclasses
import pickle
import sys

import numpy as np
import pytest
from data.test_archive import assert_holds, write_folder, write_tar

from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records, catalog, cifar100, load_dataset
from jaxcifar.data.archive import CIFAR100_LAYOUT, read_archive
from jaxcifar.data.prepare import load_records
from jaxcifar.errors import RunError

COUNTS = {"train": 2, "test": 1}


def quiet(line):
    pass


def some_records(each, seed):
    rng = np.random.RandomState(seed)
    records = rng.randint(0, 256, (100 * each, binary_records.RECORD_BYTES)).astype(np.uint8)
    records[:, 0] = np.arange(len(records)) % 100
    return binary_records.sort(records)


@pytest.fixture(scope="module")
def records():
    return {split: some_records(each, seed=each) for split, each in COUNTS.items()}


@pytest.fixture
def entry(monkeypatch):
    """A catalogue entry under which these records pass for CIFAR-100."""
    small = dataclasses.replace(catalog.CIFAR100, class_counts=COUNTS)
    monkeypatch.setitem(catalog.CATALOG, "cifar100", small)
    return small


def coarse(part):
    """A coarse label that tells whether it is taken for the fine one."""
    return (part[:, 0] // 5 + 1).astype(np.uint8)


def binary_members(records):
    return {"coarse_label_names.txt": b"fish\n"} | {
        f"{split}.bin": np.concatenate([coarse(part)[:, None], part], axis=1).tobytes()
        for split, part in records.items()
    }


def python_members(records):
    def batch(part):
        content = {
            b"fine_labels": part[:, 0].tolist(),
            b"coarse_labels": coarse(part).tolist(),
            b"data": part[:, 1:].copy(),
        }
        return pickle.dumps(content, protocol=2)

    return {"meta": b"no batch"} | {split: batch(part) for split, part in records.items()}


def test_archives_in_both_forms_are_read(tmp_path, records):
    binary, python = binary_members(records), python_members(records)
    tar = write_tar(tmp_path / "b.tgz", binary, "cifar-100-binary")
    assert_holds(tar, records, CIFAR100_LAYOUT)
    tar = write_tar(tmp_path / "p.tgz", python, "cifar-100-python")
    assert_holds(tar, records, CIFAR100_LAYOUT)
    write_folder(tmp_path / "unpacked" / "cifar-100-binary", binary)
    assert_holds(tmp_path / "unpacked", records, CIFAR100_LAYOUT)
    assert_holds(write_folder(tmp_path / "py", python), records, CIFAR100_LAYOUT)


def test_cut_and_foreign_archives_are_refused(tmp_path, records):
    members = binary_members(records)
    members["test.bin"] = members["test.bin"][:-1]
    with pytest.raises(RunError, match=r"test.bin is damaged: .* multiple of 3074"):
        read_archive(write_folder(tmp_path / "cut", members), CIFAR100_LAYOUT)
    members = python_members(records)
    members["train"] = pickle.dumps({b"labels": [], b"data": np.zeros((0, 3072), np.uint8)})
    with pytest.raises(RunError, match=r"train is damaged: .*fine_labels"):
        read_archive(write_folder(tmp_path / "foreign", members), CIFAR100_LAYOUT)


def test_names_and_superclasses_are_the_published_ones():
    names = catalog.CIFAR100.class_names
    assert (len(names), len(cifar100.SUPERCLASSES)) == (100, 20)
    assert [names[i] for i in (0, 1, 42, 54, 99)] == [
        "apple", "aquarium_fish", "leopard", "orchid", "worm",
    ]  # fmt: skip
    assert list(cifar100.SUPERCLASSES) == sorted(cifar100.SUPERCLASSES)
    assert cifar100.COARSE_LABELS[:10] == (4, 1, 14, 8, 0, 6, 7, 7, 18, 3)
    assert np.bincount(cifar100.COARSE_LABELS).tolist() == [5] * 20


def test_address_and_checksum_are_those_of_tfds(entry):
    from jaxcifar.data.builders import Cifar100

    url = "https://www.cs.toronto.edu/~kriz/cifar-100-binary.tar.gz"
    assert Cifar100(entry).download_url == url
    assert Cifar100.url_infos[url].size == 168_513_733
    checksum = "58a81ae192c23a4be8b1804d68e518ed807d710a4eb253b1f2a199162a40d8ec"
    assert Cifar100.url_infos[url].checksum == checksum


def test_prepared_loaded_and_held_against_what_was_prepared(tmp_path, records, entry):
    archive = write_tar(tmp_path / "b.tgz", binary_members(records), "cifar-100-binary")
    data_dir = tmp_path / "tfds"
    load_records(entry, data_dir, archive, quiet)
    archive.unlink()
    config = Config.create("cnn", dataset="cifar100", val_fraction=0.5)
    lines = []
    for _ in range(2):  # from the cache, then, it being damaged, through TFDS
        dataset = load_dataset(config, data_dir, lines.append)
        assert (dataset.title, dataset.num_classes) == ("CIFAR-100", 100)
        assert dataset.is_from_catalog
        images, labels = binary_records.unpack(records["test"])
        np.testing.assert_array_equal(dataset.test.images, images)
        np.testing.assert_array_equal(dataset.test.labels, labels)
        assert dataset.fingerprints == {
            s: binary_records.fingerprint(r) for s, r in records.items()
        }
        cache = catalog.cache_folder(entry, data_dir) / "train.npy"
        content = bytearray(cache.read_bytes())
        content[-1] ^= 1
        cache.write_bytes(content)
    assert lines == ["Decoding CIFAR-100, once."]
    assert "tensorflow" not in sys.modules


def test_stock_tfds_would_find_both_labels(tmp_path, records, entry):
    import tensorflow_datasets as tfds

    archive = write_tar(tmp_path / "b.tgz", binary_members(records), "cifar-100-binary")
    load_records(entry, tmp_path, archive, quiet)
    stock = tfds.data_source("cifar100", split="test", data_dir=tmp_path, download=False)
    for example in (stock[0], stock[57]):
        assert example["coarse_label"] == cifar100.COARSE_LABELS[example["label"]]
        at = records["test"][:, 0].tolist().index(example["label"])
        expected = records["test"][at, 1:].reshape(3, 32, 32).transpose(1, 2, 0)
        np.testing.assert_array_equal(example["image"], expected)


@pytest.mark.parametrize("label", [100, 0], ids=["out of range", "one too many"])
def test_other_counts_are_refused(tmp_path, records, entry, label):
    changed = {split: array.copy() for split, array in records.items()}
    changed["train"][-1, 0] = label
    archive = write_folder(tmp_path / "folder", binary_members(changed))
    with pytest.raises(RunError, match=r"train split \(200 images\) is not that of CIFAR-100"):
        load_records(entry, tmp_path / "tfds", archive, quiet)
