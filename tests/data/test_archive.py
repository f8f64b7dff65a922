"""Archives in every form, whole and damaged."""

import gzip
import io
import os
import pickle
import tarfile
import tracemalloc

import numpy as np
import pytest

from jaxcifar.data import archive, binary_records
from jaxcifar.data.archive import CIFAR10_LAYOUT, read_archive
from jaxcifar.errors import RunError, UsageError


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


def assert_holds(path, records, form=CIFAR10_LAYOUT):
    read = read_archive(path, form)
    for split, expected in records.items():
        np.testing.assert_array_equal(binary_records.sort(read[split]), expected)


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz"])
def test_a_binary_archive_is_read(tmp_path, tiny_records, mode):
    assert_holds(
        write_tar(tmp_path / "a.tar", binary_members(tiny_records), mode=mode), tiny_records
    )


@pytest.mark.parametrize("protocol", [2, 3, 4])
def test_an_archive_of_pickles_is_read(tmp_path, tiny_records, protocol):
    members = python_members(tiny_records, protocol)
    assert_holds(write_tar(tmp_path / "a.tgz", members, "cifar-10-batches-py"), tiny_records)


def test_pickles_of_python_2_are_read(tmp_path, tiny_records):
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


def test_folders_of_unpacked_archives_are_read(tmp_path, tiny_records):
    binary, python = binary_members(tiny_records), python_members(tiny_records)
    assert_holds(write_folder(tmp_path / "flat", binary), tiny_records)
    assert_holds(write_folder(tmp_path / "flat-py", python), tiny_records)
    write_folder(tmp_path / "parent" / "cifar-10-batches-py", python)
    assert_holds(tmp_path / "parent", tiny_records)


def test_missing_batch_names_its_split(tmp_path, tiny_records):
    members = binary_members(tiny_records)
    del members["test_batch.bin"]
    with pytest.raises(RunError, match="test_batch of the test split is missing"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_LAYOUT)
    members = binary_members(tiny_records)
    del members["data_batch_3.bin"]
    with pytest.raises(RunError, match="data_batch_3 of the train split is missing"):
        read_archive(write_folder(tmp_path / "folder", members), CIFAR10_LAYOUT)


def test_cut_batch_names_its_split(tmp_path, tiny_records):
    members = binary_members(tiny_records)
    members["data_batch_2.bin"] = members["data_batch_2.bin"][:-7]
    path = write_tar(tmp_path / "a.tgz", members)
    with pytest.raises(RunError, match=r"a\.tgz: data_batch_2\.bin is damaged: its ") as caught:
        read_archive(path, CIFAR10_LAYOUT)
    assert str(caught.value).split("; ")[1:] == ["give a CIFAR archive, or download it again"]


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.5, 0.9, 0.99])
def test_truncated_archive_is_refused(tmp_path, tiny_records, kept):
    path = write_tar(tmp_path / "a.tgz", binary_members(tiny_records))
    content = path.read_bytes()
    path.write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(RunError, match=r"cut off.*download it again"):
        read_archive(path, CIFAR10_LAYOUT)


def test_foreign_sources_are_refused(tmp_path):
    with pytest.raises(RunError, match="data_batch_1 of the train split is missing"):
        read_archive(
            write_tar(tmp_path / "a.tgz", {"train.bin": b"x", "fine_label_names.txt": b""}),
            CIFAR10_LAYOUT,
        )
    (tmp_path / "text").write_text("no archive")
    with pytest.raises(RunError, match="not a tar archive"):
        read_archive(tmp_path / "text", CIFAR10_LAYOUT)
    with pytest.raises(UsageError, match="no such file"):
        read_archive(tmp_path / "absent", CIFAR10_LAYOUT)


@pytest.mark.parametrize("name", ["../../evil", "/tmp/evil", "a/../../evil"])
def test_members_that_would_land_outside_are_refused(tmp_path, tiny_records, name):
    members = {name: b"x"} | binary_members(tiny_records)
    with pytest.raises(RunError, match=r"a file outside of its own folder: '.*evil'; "):
        read_archive(write_tar(tmp_path / "a.tgz", members, folder=""), CIFAR10_LAYOUT)


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE]
)
@pytest.mark.parametrize("name", ["test_batch.bin", "notes.txt"])
def test_a_complete_archive_with_a_link_or_device_is_refused(tmp_path, tiny_records, kind, name):
    """Even for one that is no batch, which nobody would read."""
    path = write_tar(tmp_path / "a.tar", binary_members(tiny_records), mode="w")
    assert_holds(path, tiny_records)
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo(f"cifar-10-batches-bin/{name}")
        info.type, info.linkname = kind, "/etc/passwd"
        tar.addfile(info)
    reason = rf"a\.tar: the archive has a link or a device: 'cifar-10-batches-bin/{name}'; "
    with pytest.raises(RunError, match=reason):
        read_archive(path, CIFAR10_LAYOUT)


def test_a_complete_archive_with_a_duplicate_batch_is_refused(tmp_path, tiny_records):
    members = binary_members(tiny_records)
    path = write_tar(tmp_path / "a.tar", members, mode="w")
    with tarfile.open(path, "a") as tar:
        info = tarfile.TarInfo("cifar-10-batches-bin/test_batch.bin")
        info.size = len(members["test_batch.bin"])
        tar.addfile(info, io.BytesIO(bytes(info.size)))
    with pytest.raises(RunError, match=r"batch test_batch is in the archive twice; "):
        read_archive(path, CIFAR10_LAYOUT)


def test_a_batch_larger_than_any_is_not_read(tmp_path, tiny_records, monkeypatch):
    members = binary_members(tiny_records)
    monkeypatch.setattr(archive, "_MAX_BATCH_BYTES", len(members["test_batch.bin"]))
    assert_holds(write_tar(tmp_path / "whole.tgz", members), tiny_records)
    assert_holds(write_folder(tmp_path / "whole", members), tiny_records)
    members["test_batch.bin"] += bytes(3073)
    with pytest.raises(RunError, match=r"batch test_batch is larger than any CIFAR batch; "):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_LAYOUT)
    reason = r"test_batch\.bin is larger than any CIFAR batch; give a CIFAR archive, or"
    with pytest.raises(RunError, match=reason):
        read_archive(write_folder(tmp_path / "a", members), CIFAR10_LAYOUT)


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
    with pytest.raises(RunError, match=r"data_batch_1 is damaged: .*not allowed"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_LAYOUT)
    assert not marker.exists()
    pickle.loads(members["data_batch_1"])  # the threat is real
    assert marker.exists()


PIXELS = np.zeros((1, 3072), np.uint8)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        ([1, 2], "not a dictionary"),
        ({b"labels": [1]}, "the array 'data' is missing"),
        ({b"data": PIXELS}, "the list 'labels' is missing"),
        ({b"data": PIXELS.astype(np.float32), b"labels": [1]}, "not an array of uint8"),
        ({b"data": PIXELS.astype(object), b"labels": [1]}, "not an array of uint8"),
        ({b"data": PIXELS.reshape(3072), b"labels": [1]}, "not an array with two axes"),
        (
            {b"data": PIXELS.reshape(2, 1536), b"labels": [1, 2]},
            r"shape \(2, 1536\), but .* 2 labels",
        ),
        ({b"data": PIXELS, b"labels": [1, 2]}, r"shape \(1, 3072\), but there are 2 labels"),
        ({b"data": PIXELS, b"labels": ["x"]}, "not integers from 0 to 255"),
        ({b"data": PIXELS, b"labels": [True]}, "not integers from 0 to 255"),
        ({b"data": PIXELS, b"labels": [256]}, "not integers from 0 to 255"),
        ({b"data": PIXELS, b"labels": [-1]}, "not integers from 0 to 255"),
    ],
)
def test_pickles_of_another_shape_are_refused(tmp_path, tiny_records, content, reason):
    members = python_members(tiny_records)
    members["test_batch"] = pickle.dumps(content, protocol=2)
    with pytest.raises(RunError, match=f"test_batch is damaged: .*{reason}"):
        read_archive(write_tar(tmp_path / "a.tgz", members), CIFAR10_LAYOUT)


# Each would take gigabytes or hours if it was believed.
DATA = pickle.dumps({b"data": np.zeros((1, 3072), np.uint8)}, protocol=2)[:-1]
LISTS = b"".join(
    b"](" + bytes([ord("h"), k]) * 10 + b"eq" + bytes([k + 1]) for k in range(100, 110)
)
TUPLES = b"".join(b"h\x64h\x64\x86q\x64" for _ in range(100))
TEXT = b"X" + (10**6).to_bytes(4, "little") + b"a" * 10**6 + b"q\x00"
ENCODED = b"c_codecs\nencode\nh\x00X\x06\x00\x00\x00latin1\x86R"
BOMBS = {
    "labels of 10**11 elements": (DATA + b"U\x06labels(](K\x01eq\x64" + LISTS + b"ls.", "shape"),
    "a list in itself": (DATA + b"U\x06labels]q\x00h\x00as.", "not integers"),
    "a key of 2**100 leaves": (b"\x80\x02}(K\x01q\x64" + TUPLES + b"K\x01d.", "not strings"),
    "a call of 2**100 leaves": (b"\x80\x02K\x01q\x64" + TUPLES + b")R.", "not callable"),
    "ten million lists": (b"\x80\x02(" + b"]" * 10**7 + b".", "operations"),
    "ten thousand copies": (b"\x80\x02" + TEXT + ENCODED * 10_000 + b".", "often"),
    "memory for 4 billion": (b"\x80\x02Nr\xff\xff\xff\xff.", "not a dictionary"),
    "lists in lists": (b"\x80\x02" + b"]" * 10**5 + b"a" * (10**5 - 1) + b".", "not a dictionary"),
    "a number of many digits": (b"L" + b"9" * 10**7 + b"L\n.", "4300"),
    "a text of escapes": (
        b"\x80\x02c\x1b[32m\nready\n)R.",
        r"\\x1b\[32m.ready, which is not allowed",
    ),
}


def peak_of_refusing(path, reason):
    tracemalloc.start()
    try:
        with pytest.raises(RunError, match=reason):
            read_archive(path, CIFAR10_LAYOUT)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("name", BOMBS)
def test_pickles_that_would_take_memory_or_time(tmp_path, name):
    content, reason = BOMBS[name]
    path = write_tar(tmp_path / "a.tgz", {"data_batch_1": content}, "cifar-10-batches-py")
    assert peak_of_refusing(path, reason) < 2**28


def header(name="x", size=0, kind=tarfile.REGTYPE):
    info = tarfile.TarInfo(name)
    info.size, info.type = size, kind
    return info.tobuf(tarfile.GNU_FORMAT)


def test_tar_files_that_would_take_memory_or_time(tmp_path):
    long_name = header("././@LongLink", 2**32, tarfile.GNUTYPE_LONGNAME)
    names = header("././@LongLink", 2**20, tarfile.GNUTYPE_LONGNAME) + bytes(2**20)
    huge = header("cifar-10-batches-bin/data_batch_1.bin", 2**40)
    for content, reason in (
        (gzip.compress(long_name + b"a" * 2**26), "name of 4,294,967,296 bytes"),
        (gzip.compress(names * 10), "name of 1,048,576 bytes"),
        (gzip.compress(header() * 50_000), "more than 1,000 members"),
        (gzip.compress(b"") * 50_000, "cut off"),
        (huge, "larger than any CIFAR batch"),
        (gzip.compress(header("y", 2**27) + bytes(2**27)) * 3, "256 MiB"),
        (header("data_batch_1.bin", 3073) + bytes(3584), "cut off"),
        (
            header("data_batch_1.bin", 3073) + bytes(3584) + header("data_batch_1"),
            "in the archive twice",
        ),
    ):
        path = tmp_path / "a.tar"
        path.write_bytes(content)
        assert peak_of_refusing(path, reason) < 2**26


def test_a_batch_that_is_a_pipe_is_not_waited_for(tmp_path, tiny_records):
    folder = write_folder(tmp_path / "folder", binary_members(tiny_records))
    (folder / "test_batch.bin").unlink()
    os.mkfifo(folder / "test_batch.bin")
    with pytest.raises(RunError, match="test_batch of the test split is missing"):
        read_archive(folder, CIFAR10_LAYOUT)
    with pytest.raises(RunError, match="neither a file nor a folder"):
        read_archive(folder / "test_batch.bin", CIFAR10_LAYOUT)


def test_a_batch_in_fortran_order_is_the_same(tmp_path, tiny_records):
    members = python_members(tiny_records)
    part = batches_of(tiny_records)["test_batch"]
    content = {b"labels": part[:, 0].tolist(), b"data": np.asfortranarray(part[:, 1:])}
    members["test_batch"] = pickle.dumps(content, protocol=2)
    assert_holds(write_folder(tmp_path / "a", members), tiny_records)
