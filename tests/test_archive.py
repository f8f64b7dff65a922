"""Archives in every form, whole and damaged."""

import io
import os
import pickle
import tarfile

import numpy as np
import pytest

from jaxcifar.data import records as rec
from jaxcifar.data.archive import CIFAR10_FORM, read_archive
from jaxcifar.errors import RunError


def batches_of(records):
    """Batch name -> records, as the archives deal them out."""
    names = [f"data_batch_{i}" for i in range(1, 6)]
    parts = dict(zip(names, np.split(records["train"], 5), strict=True))
    return parts | {"test_batch": records["test"]}


def binary_members(records):
    members = {f"{name}.bin": part.tobytes() for name, part in batches_of(records).items()}
    return {"batches.meta.txt": b"airplane\n"} | members


def python_members(records, protocol=2):
    def batch(part):
        content = {
            b"batch_label": b"training batch",
            b"labels": [int(label) for label in part[:, 0]],
            b"data": part[:, 1:].copy(),
            b"filenames": [b"x.png"] * len(part),
        }
        return pickle.dumps(content, protocol=protocol)

    return {name: batch(part) for name, part in batches_of(records).items()}


def write_tar(path, members, folder="cifar-10-batches-bin", mode="w:gz"):
    with tarfile.open(path, mode) as tar:
        for name, content in members.items():
            info = tarfile.TarInfo(f"{folder}/{name}" if folder else name)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
    return path


def write_folder(path, members):
    path.mkdir(parents=True)
    for name, content in members.items():
        (path / name).write_bytes(content)
    return path


def assert_holds(path, records, form=CIFAR10_FORM):
    read = read_archive(path, form)
    for split, expected in records.items():
        np.testing.assert_array_equal(rec.sort(read[split]), expected)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_binary_archive(tmp_path, tiny_records, mode):
    assert_holds(
        write_tar(tmp_path / "a.tar", binary_members(tiny_records), mode=mode), tiny_records
    )


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_python_archive(tmp_path, tiny_records, protocol):
    members = python_members(tiny_records, protocol)
    assert_holds(write_tar(tmp_path / "a.tgz", members, "cifar-10-batches-py"), tiny_records)


def test_python_2_pickle(tmp_path, tiny_records):
    """The original batches were written by Python 2, with text keys and old module names."""
    members = python_members(tiny_records)
    part = batches_of(tiny_records)["test_batch"]
    data = part[:, 1:].tobytes()
    shape = b"(I%d\nI3072\nt" % len(part)
    labels = b"(lp0\n" + b"".join(b"I%d\na" % label for label in part[:, 0])
    dtype = b"cnumpy\ndtype\n(S'u1'\nI0\nI1\ntR(I3\nS'|'\nNNNI-1\nI-1\nI0\ntb"
    array = (
        b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\n(I0\ntS'b'\ntR(I1\n"
        + shape + dtype + b"I00\nT" + len(data).to_bytes(4, "little") + data + b"tb"
    )  # fmt: skip
    members["test_batch"] = b"(dS'labels'\n" + labels + b"sS'data'\n" + array + b"s."
    assert_holds(write_tar(tmp_path / "a.tgz", members, "cifar-10-batches-py"), tiny_records)


def test_folders(tmp_path, tiny_records):
    binary, python = binary_members(tiny_records), python_members(tiny_records)
    assert_holds(write_folder(tmp_path / "flat", binary), tiny_records)
    assert_holds(write_folder(tmp_path / "flat-py", python), tiny_records)
    write_folder(tmp_path / "parent" / "cifar-10-batches-py", python)
    assert_holds(tmp_path / "parent", tiny_records)


def test_missing_batch_names_its_split(tmp_path, tiny_records):
    members = binary_members(tiny_records)
    del members["test_batch.bin"]
    with pytest.raises(RunError, match="test split is wrong: test_batch is missing"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_FORM)
    members = binary_members(tiny_records)
    del members["data_batch_3.bin"]
    with pytest.raises(RunError, match="train split is wrong: data_batch_3 is missing"):
        read_archive(write_folder(tmp_path / "folder", members), CIFAR10_FORM)


def test_cut_batch_names_its_split(tmp_path, tiny_records):
    members = binary_members(tiny_records)
    members["data_batch_2.bin"] = members["data_batch_2.bin"][:-7]
    with pytest.raises(RunError, match=r"train split is wrong: data_batch_2.bin is damaged"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_FORM)


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_archive_is_refused(tmp_path, tiny_records, kept):
    path = write_tar(tmp_path / "a.tgz", binary_members(tiny_records))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(RunError, match=r"splits? (is|are) wrong"):
        read_archive(path, CIFAR10_FORM)


def test_foreign_sources_are_refused(tmp_path):
    with pytest.raises(RunError, match="train and test splits are wrong"):
        read_archive(
            write_tar(tmp_path / "a.tgz", {"train.bin": b"x", "fine_label_names.txt": b""}),
            CIFAR10_FORM,
        )
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(RunError, match="no tar file"):
        read_archive(tmp_path / "text", CIFAR10_FORM)
    with pytest.raises(RunError, match="no such file"):
        read_archive(tmp_path / "absent", CIFAR10_FORM)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../evil"])
def test_members_that_would_land_outside_are_refused(tmp_path, tiny_records, name):
    members = {name: b"x"} | binary_members(tiny_records)
    with pytest.raises(RunError, match="outside"):
        read_archive(write_tar(tmp_path / "a.tgz", members, folder=""), CIFAR10_FORM)


def test_links_are_refused(tmp_path):
    with tarfile.open(tmp_path / "a.tar", "w") as tar:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.type, info.linkname = tarfile.SYMTYPE, "/etc/passwd"
        tar.addfile(info)
    with pytest.raises(RunError, match="link"):
        read_archive(tmp_path / "a.tar", CIFAR10_FORM)


class Evil:
    """Runs a command when it is unpickled by the standard unpickler."""

    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_hostile_pickle_runs_nothing(tmp_path, tiny_records):
    marker = tmp_path / "ran"
    members = python_members(tiny_records)
    members["data_batch_1"] = pickle.dumps({b"data": Evil(marker), b"labels": []})
    with pytest.raises(RunError, match=r"train split is wrong: data_batch_1 .*not admitted"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_FORM)
    assert not marker.exists()
    pickle.loads(members["data_batch_1"])  # the threat is real
    assert marker.exists()


@pytest.mark.parametrize(
    "content",
    [
        [1, 2],
        {b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.float32), b"labels": [1]},
        {b"data": np.zeros((1, 3072), object), b"labels": [1]},
        {b"data": np.zeros((2, 3072), np.uint8), b"labels": [1]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": ["x"]},
        {b"data": np.zeros((1, 3072), np.uint8), b"labels": [300]},
    ],
)
def test_pickles_of_another_shape_are_refused(tmp_path, tiny_records, content):
    members = python_members(tiny_records)
    members["test_batch"] = pickle.dumps(content, protocol=2)
    with pytest.raises(RunError, match="test split is wrong"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_FORM)
