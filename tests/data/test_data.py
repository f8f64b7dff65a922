"""Preparing, caching, splitting and the embedded set."""

import dataclasses
import functools
import hashlib
import http.server
import io
import signal
import sys
import threading
import time

import numpy as np
import pyarrow.parquet as pq
import pytest
from conftest import assert_one_line_error, command, ended, finish, start
from data.test_archive import binary_members, write_tar
from PIL import Image
from small import entry_of, some_records

from jaxcifar.data import binary_records, catalog, shapes10_draw
from jaxcifar.data.prepare import load_records
from jaxcifar.data.split import train_val_indices
from jaxcifar.errors import RunError, UsageError


def quiet(line):
    pass


@pytest.fixture
def archive(tmp_path, tiny_records):
    return write_tar(tmp_path / "archive.tgz", binary_members(tiny_records))


def test_pack_and_unpack_are_inverse():
    rng = np.random.RandomState(0)
    images = rng.randint(0, 256, (5, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(5)
    records = binary_records.pack(images, labels)
    assert records[2, 0] == 2
    assert records[3, 1 + 1024 * 1 + 32 * 4 + 5] == images[3, 4, 5, 1]  # channel-major
    unpacked = binary_records.unpack(records)
    np.testing.assert_array_equal(unpacked[0], images)
    np.testing.assert_array_equal(unpacked[1], labels)


def test_canonical_order_is_that_of_byte_strings():
    records = (
        np.random.RandomState(0).randint(0, 3, (50, binary_records.RECORD_BYTES)).astype(np.uint8)
    )
    expected = sorted(bytes(record) for record in records)
    assert [bytes(record) for record in binary_records.sort(records)] == expected


def test_channel_statistics_are_those_of_numpy(tiny_records):
    images, _ = binary_records.unpack(tiny_records["train"])
    mean, std = binary_records.channel_statistics(tiny_records["train"])
    np.testing.assert_allclose(mean, (images / 255).mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, (images / 255).std((0, 1, 2)), rtol=1e-6)


def test_prepared_images_are_loaded_from_the_cache_or_through_tfds(
    tmp_path, tiny_records, tiny_entry, archive
):
    data_dir = tmp_path / "tfds"
    load_records(tiny_entry, data_dir, archive, quiet)
    assert (data_dir / "cifar10" / "3.0.2" / "dataset_info.json").exists()
    archive.unlink()
    for _ in range(2):  # from the cache, then, it being damaged, through TFDS
        loaded = load_records(tiny_entry, data_dir, print_line=quiet)
        for split, expected in tiny_records.items():
            np.testing.assert_array_equal(loaded[split], expected)
        cache = catalog.cache_folder(tiny_entry, data_dir) / "train.npy"
        content = bytearray(cache.read_bytes())
        content[-1000] ^= 1
        cache.write_bytes(content)
    assert "tensorflow" not in sys.modules


def prepare_as(file_format, tiny_entry, archive, data_dir):
    from jaxcifar.data.builders import BUILDERS

    builder = BUILDERS["cifar10"](tiny_entry, archive, data_dir=data_dir)
    builder.download_and_prepare(file_format=file_format)


@pytest.mark.parametrize("file_format", ["array_record", "parquet"])
def test_what_stock_tfds_prepared_is_used(tmp_path, tiny_records, tiny_entry, archive, file_format):
    if file_format == "array_record":
        pytest.importorskip("array_record", reason="there is no array-record for Windows")
    prepare_as(file_format, tiny_entry, archive, tmp_path)
    loaded = load_records(tiny_entry, tmp_path, print_line=quiet)
    np.testing.assert_array_equal(loaded["train"], tiny_records["train"])


def test_array_record_where_it_cannot_be_read(tmp_path, tiny_entry, archive, monkeypatch):
    pytest.importorskip("array_record")
    prepare_as("array_record", tiny_entry, archive, tmp_path)
    monkeypatch.setattr("jaxcifar.data.prepare.find_spec", lambda name: None)
    with pytest.raises(RunError, match=r"the package array-record reads; .* --data-dir"):
        load_records(tiny_entry, tmp_path, print_line=quiet)


def test_more_examples_than_tfds_writes_at_once(tmp_path):
    """Its writer of parquet takes a hundred at a time, and of an iterator not all of them."""
    records = some_records()
    archive = write_tar(tmp_path / "some.tar", binary_members(records), mode="w")
    load_records(entry_of(records), tmp_path, archive, quiet)
    [test] = tmp_path.glob("cifar10/3.0.2/*-test.parquet-00000-of-00001")
    column = pq.read_table(test)["data"]
    images = {np.asarray(Image.open(io.BytesIO(png))).tobytes() for png in map(_png, column)}
    assert images == {image.tobytes() for image in binary_records.unpack(records["test"])[0]}


def _png(example):
    """What a serialised `tf.Example` holds from the signature of a PNG on."""
    content = example.as_py()
    return content[content.index(b"\x89PNG") :]


def test_a_format_for_tensorflow_only_is_refused(tmp_path, tiny_entry, archive):
    load_records(tiny_entry, tmp_path, archive, quiet)
    info = tmp_path / "cifar10" / "3.0.2" / "dataset_info.json"
    info.write_text(info.read_text().replace("parquet", "tfrecord"))
    for file in catalog.cache_folder(tiny_entry, tmp_path).glob("*.npy"):
        file.unlink()
    for file in info.parent.glob("*parquet*"):
        file.rename(file.with_name(file.name.replace("parquet", "tfrecord")))
    with pytest.raises(RunError, match="tfrecord, which only TensorFlow reads"):
        load_records(tiny_entry, tmp_path, print_line=quiet)


def test_wrong_content_is_refused_and_leaves_nothing(tmp_path, tiny_records, tiny_entry):
    changed = {split: array.copy() for split, array in tiny_records.items()}
    changed["test"][3, 100] ^= 1
    archive = write_tar(tmp_path / "changed.tgz", binary_members(changed))
    with pytest.raises(RunError, match=r"the test split .* is not that of CIFAR-10") as caught:
        load_records(tiny_entry, tmp_path / "tfds", archive, quiet)
    assert "train split" not in str(caught.value)
    assert not any(path.is_dir() for path in (tmp_path / "tfds" / "cifar10").glob("*"))


def test_damaged_prepared_data_are_refused(tmp_path, tiny_entry, archive):
    load_records(tiny_entry, tmp_path, archive, quiet)
    other = dict.fromkeys(tiny_entry.fingerprints, "0" * 64)
    with pytest.raises(RunError, match=r"the train split .* and the test split .* is not that"):
        load_records(
            dataclasses.replace(tiny_entry, fingerprints=other), tmp_path, print_line=quiet
        )


def test_an_archive_for_what_is_prepared(tmp_path, tiny_entry, archive):
    """One that is not there is an error all the same; the other is said not to be read."""
    load_records(tiny_entry, tmp_path / "tfds", archive, quiet)
    with pytest.raises(UsageError, match=r"absent\.tgz: no such file"):
        load_records(tiny_entry, tmp_path / "tfds", tmp_path / "absent.tgz", quiet)
    lines = []
    load_records(tiny_entry, tmp_path / "tfds", archive, lines.append)
    assert lines == [f"CIFAR-10 was prepared before; {archive} is not read."]
    with pytest.raises(UsageError, match=r"absent\.tgz: no such file"):
        load_records(tiny_entry, tmp_path / "new", tmp_path / "absent.tgz", quiet)
    assert not (tmp_path / "new").exists()


def test_leftovers_of_a_killed_preparation_are_removed(tmp_path, tiny_entry, archive):
    leftover = tmp_path / "tfds" / "cifar10" / "incomplete.ABC_3.0.2"
    leftover.mkdir(parents=True)
    (leftover / "half.parquet").write_bytes(b"half")
    load_records(tiny_entry, tmp_path / "tfds", archive, quiet)
    assert not leftover.exists()


def test_read_only_folder_with_prepared_data(tmp_path, tiny_records, tiny_entry, archive):
    load_records(tiny_entry, tmp_path, archive, quiet)
    cache = catalog.cache_folder(tiny_entry, tmp_path)
    for file in cache.glob("*.npy"):
        file.unlink()
    cache.rmdir()
    cache.write_text("a file in the place of the cache's folder: it can't be made")
    lines = []
    loaded = load_records(tiny_entry, tmp_path, print_line=lines.append)
    np.testing.assert_array_equal(loaded["test"], tiny_records["test"])
    assert any("no cache written" in line for line in lines)


def test_without_network_it_says_so_within_ten_seconds(tmp_path):
    unreachable = {"https_proxy": "http://127.0.0.1:9", "HTTPS_PROXY": "http://127.0.0.1:9"}
    began = time.monotonic()
    done = command("prepare", "--data-dir", str(tmp_path / "new"), env=unreachable)
    assert time.monotonic() - began < 20  # 10 for the answer, the rest for Python's start
    assert_one_line_error(done, 1, "no network", "--archive", "--dataset shapes10")
    assert not (tmp_path / "new").exists()


@pytest.fixture
def served(archive, monkeypatch):
    """The tiny archive on a web server, where the builder thinks that CIFAR-10 is."""
    from tensorflow_datasets.core.download.checksums import UrlInfo

    from jaxcifar.data.builders import Cifar10

    handler = functools.partial(QuietHandler, directory=archive.parent)
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{server.server_port}/{archive.name}"
        content = archive.read_bytes()
        info = UrlInfo(len(content), hashlib.sha256(content).hexdigest(), archive.name)
        monkeypatch.setattr(Cifar10, "download_url", url)
        monkeypatch.setattr(Cifar10, "url_infos", {url: info})
        yield archive
        server.shutdown()


class QuietHandler(http.server.SimpleHTTPRequestHandler):
    def log_message(self, *arguments):
        pass


def test_a_downloaded_archive_is_prepared(served, tmp_path, tiny_records, tiny_entry):
    loaded = load_records(tiny_entry, tmp_path / "tfds", print_line=quiet)
    np.testing.assert_array_equal(loaded["train"], tiny_records["train"])
    assert "tensorflow" not in sys.modules


def test_a_download_with_another_checksum_is_refused(served, tmp_path, tiny_entry):
    served.write_bytes(served.read_bytes()[:-100])
    with pytest.raises(
        RunError, match=r"the download failed .*has wrong checksum.*; give .*--archive"
    ):
        load_records(tiny_entry, tmp_path / "tfds", print_line=quiet)
    assert not (tmp_path / "tfds" / "cifar10" / "3.0.2").exists()


def test_the_address_and_checksum_are_those_of_tfds(tiny_entry):
    from jaxcifar.data.builders import Cifar10

    url = "https://www.cs.toronto.edu/~kriz/cifar-10-binary.tar.gz"
    info = Cifar10.url_infos[url]
    assert info.size == 170_052_171
    assert info.checksum == "c4a38c50a1bc5f3a1c5537f2155ab9d68f9f25eb1ed8d9ddda3db29a59bca1dd"
    assert Cifar10(tiny_entry).download_url == url


@pytest.fixture(scope="module")
def some_archive(tmp_path_factory):
    """What `start("prepare")` takes for CIFAR-10."""
    path = tmp_path_factory.mktemp("archive") / "some.tar"
    return write_tar(path, binary_members(some_records()), mode="w")


def test_preparing_again_after_a_kill_succeeds(some_archive, tmp_path):
    """SIGKILL in the middle leaves nothing that passes for prepared, and the next try succeeds."""
    arguments = ("prepare", "--archive", some_archive, "--data-dir", tmp_path)
    process = start(*arguments)
    deadline = time.monotonic() + 120
    while not list(tmp_path.glob("cifar10/incomplete.*/*")) and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert list(tmp_path.glob("cifar10/incomplete.*"))
    assert not (tmp_path / "cifar10" / "3.0.2").exists()
    text = " ".join(finish(start(*arguments)).split())
    assert "4,000 train, 1,000 test images, content verified" in text
    assert not list(tmp_path.glob("cifar10/incomplete.*"))


def test_preparing_on_a_full_disk_fails_in_one_line_and_then_goes_on(some_archive, small_disk):
    disk, enlarge = small_disk
    arguments = ("prepare", "--archive", some_archive, "--data-dir", disk)
    done = ended(start(*arguments))
    assert done.returncode == 1
    assert "No space left on device" in done.stderr.splitlines()[-1]
    assert "--data-dir" in done.stderr.splitlines()[-1]
    assert "Traceback" not in done.stderr
    assert not (disk / "cifar10" / "3.0.2").exists()
    enlarge()
    finish(start(*arguments))


def test_shapes10_are_what_they_were():
    records = {}
    for seed, (split, size) in enumerate({"train": 10_000, "test": 2_000}.items()):
        images, labels = shapes10_draw.draw_images(size, seed)
        assert np.bincount(labels).tolist() == [size // 10] * 10
        records[split] = binary_records.sort(binary_records.pack(images, labels))
    catalog.require_expected_images(records, catalog.SHAPES10, "shapes10")
    assert len(np.unique(records["train"], axis=0)) == 10_000


def test_split_is_stratified_and_fixed():
    labels = np.repeat(np.arange(10), 50)
    train, val = train_val_indices(labels, 0.1)
    assert np.bincount(labels[val]).tolist() == [5] * 10
    assert sorted([*train, *val]) == list(range(500))
    again, _ = train_val_indices(labels, 0.1, train_examples=30)
    np.testing.assert_array_equal(again, train[:30])
    assert len(np.unique(labels[again])) > 5  # the fixed order is a shuffled one
    reason = r"a validation fraction of 0\.001 leaves 500 images to train on and 0 to validate on"
    with pytest.raises(UsageError, match=reason):
        train_val_indices(labels, 0.001)


def test_the_split_takes_the_first_of_each_class_in_a_fixed_random_order():
    """By its definition: never the run's seed, so that all runs share the split."""
    rng = np.random.RandomState(0)
    labels = rng.permutation(np.repeat(np.arange(4), (37, 90, 14, 59)))  # no two classes alike
    train, val = train_val_indices(labels, 0.3)
    order = np.random.RandomState(2009).permutation(200)
    expected = set()
    for label, count in enumerate((11, 27, 4, 18)):
        expected |= {*[i for i in order if labels[i] == label][:count]}
    np.testing.assert_array_equal(val, [i for i in order if i in expected])
    np.testing.assert_array_equal(train, [i for i in order if i not in expected])
    fewer, same = train_val_indices(labels, 0.3, train_examples=50)
    np.testing.assert_array_equal(fewer, train[:50])
    np.testing.assert_array_equal(same, val)  # so that runs on fewer images are judged alike
    everything, nothing = train_val_indices(labels, 0.0)
    np.testing.assert_array_equal(everything, order)
    assert len(nothing) == 0


def test_classes_of_the_catalogue_have_their_published_names():
    """In the order of their labels, as https://www.cs.toronto.edu/~kriz/cifar.html lists them."""
    published = "airplane automobile bird cat deer dog frog horse ship truck"
    assert catalog.CIFAR10.class_names == tuple(published.split())
    # The first and the last in alphabetical order, which is that of the labels.
    hundred = catalog.CIFAR100.class_names
    assert hundred == tuple(sorted(hundred)) and len(set(hundred)) == 100
    assert (hundred[0], hundred[99]) == ("apple", "worm")
    assert catalog.SHAPES10.class_names == shapes10_draw.CLASS_NAMES


def test_a_data_set_of_other_content_is_refused_by_split(tiny_records, tiny_entry):
    catalog.require_expected_images(tiny_records, tiny_entry, "here")
    swapped = {"train": tiny_records["test"], "test": tiny_records["train"]}
    with pytest.raises(
        RunError, match=r"here: the train split .*20 images.*test split .*100 images"
    ):
        catalog.require_expected_images(swapped, tiny_entry, "here")
