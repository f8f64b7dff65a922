"""Images of the user in other sizes than 32x32."""

import io

import numpy as np
import pytest
from PIL import Image

from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples, binary_records, load_dataset, resizing
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.images import shrink_to_stored_size, to_square
from jaxcifar.data.resizing import Resizing, describe_resizing
from jaxcifar.data.user_data import load_user_data
from jaxcifar.errors import RunError, UsageError


def pixels(count, size, seed=0):
    rng = np.random.RandomState(seed)
    return rng.randint(0, 256, (count, size, size, 3)).astype(np.uint8)


def write_npz(path, size):
    """Write 12 training and 4 test images of two classes; return all images as byte strings."""
    train, test = pixels(12, size, 0), pixels(4, size, 1)
    np.savez(path, x_train=train, y_train=np.arange(12) % 2, x_test=test, y_test=np.arange(4) % 2)
    return {image.tobytes() for image in (*train, *test)}


def load(path, tmp_path, image_size, lines=None):
    config = Config.create("cnn", dataset=str(path), image_size=image_size, val_fraction=0.25)
    print_line = (lines if lines is not None else []).append
    return load_dataset(config, tmp_path / "data", print_line)


def as_bytes(dataset):
    splits = (dataset.train, dataset.val, dataset.test)
    return {image.tobytes() for split in splits for image in split.images}


@pytest.mark.parametrize("size", [28, 45, 64])
def test_images_of_the_right_size_stay_as_they_are(tmp_path, size):
    written, lines = write_npz(tmp_path / "x.npz", size), []
    dataset = load(tmp_path / "x.npz", tmp_path, size, lines)
    assert dataset.image_size == size
    assert as_bytes(dataset) == written
    assert not any("resized" in line for line in lines)
    # Later commands read the cache.
    lines = []
    assert load(tmp_path / "x.npz", tmp_path, size, lines).sha256 == dataset.sha256
    assert lines == []


def test_other_sizes_of_the_same_images_are_other_images(tmp_path):
    write_npz(tmp_path / "x.npz", 28)
    lines = []
    usual = load(tmp_path / "x.npz", tmp_path, 32, lines)
    assert "x.npz: images of 28x28 pixels are resized to 32x32; --image-size 28 keeps" in str(lines)
    larger = load(tmp_path / "x.npz", tmp_path, 40)
    assert (usual.image_size, larger.image_size) == (32, 40)
    assert usual.sha256 != larger.sha256
    sources = np.load(tmp_path / "x.npz")
    images = (*sources["x_train"], *sources["x_test"])
    expected = {to_square(Image.fromarray(image), 40).tobytes() for image in images}
    assert as_bytes(larger) == expected
    assert load(tmp_path / "x.npz", tmp_path, 32).sha256 == usual.sha256  # both caches stay


def test_a_folder_of_images_is_loaded_at_another_size(tmp_path):
    for label, name in enumerate(("cat", "dog")):
        folder = tmp_path / "pets" / name
        folder.mkdir(parents=True)
        for number in range(12):
            image = pixels(1, 50 + 10 * label, 100 * label + number)[0][:, :48]
            Image.fromarray(image).save(folder / f"{number}.png")
    lines = []
    dataset = load(tmp_path / "pets", tmp_path, 48, lines)
    assert len(dataset.train.labels) + len(dataset.val.labels) + len(dataset.test.labels) == 24
    assert dataset.train.images.shape[1:] == (48, 48, 3)
    assert not any("resized" in line for line in lines)  # they are only cropped
    lines = []
    load(tmp_path / "pets", tmp_path, 64, lines)
    assert "pets: images of 48x48 pixels are resized to 64x64; --image-size 48 keeps" in str(lines)


def test_parquet_files_are_loaded_at_another_size(tmp_path):
    pa = pytest.importorskip("pyarrow", reason="pyarrow is not installed")
    pq = pytest.importorskip("pyarrow.parquet", reason="pyarrow is not installed")
    images = [*pixels(12, 40), *pixels(12, 72)]
    files = []
    for image in images:
        content = io.BytesIO()
        Image.fromarray(image).save(content, "PNG")
        files.append({"bytes": content.getvalue(), "path": None})
    table = pa.table({"image": files, "label": [i % 2 for i in range(24)]})
    pq.write_table(table, tmp_path / "x.parquet")
    lines = []
    dataset = load(tmp_path / "x.parquet", tmp_path, 40, lines)
    assert as_bytes(dataset) == {
        to_square(Image.fromarray(image), 40).tobytes() for image in images
    }
    assert "images of 40 to 72 pixels, as squares, are resized to 40x40" in str(lines)


@pytest.mark.parametrize("classes", [10, 300])
@pytest.mark.parametrize("size", [28, 29, 32, 224])
def test_records_say_their_size(size, classes):
    images, labels = pixels(5, size), np.asarray([3, 1, 0, 2, classes - 1])
    records = binary_records.pack(images, labels, classes)
    label_bytes = 1 if classes == 10 else 2
    assert records.shape == (5, 3 * size * size + label_bytes)
    assert binary_records.image_size_of(records) == size
    unpacked, unpacked_labels = binary_records.unpack(records)
    np.testing.assert_array_equal(unpacked, images)
    np.testing.assert_array_equal(unpacked_labels, labels)
    channels_first = images[2].transpose(2, 0, 1)
    assert records[2, label_bytes:].tobytes() == channels_first.tobytes()


def test_chosen_records_are_unpacked_in_blocks(monkeypatch):
    images, labels = pixels(7, 30), np.arange(7)
    records, chosen = binary_records.pack(images, labels), np.asarray([5, 0, 6, 2])
    monkeypatch.setattr(binary_records, "_MAX_BLOCK_BYTES", 2 * records.shape[1])  # two at a time
    got_images, got_labels = binary_records.unpack(records, chosen)
    np.testing.assert_array_equal(got_images, images[chosen])
    np.testing.assert_array_equal(got_labels, chosen)
    mean, std = binary_records.channel_statistics(records, chosen)
    scaled = images[chosen].astype(np.float64) / 255
    np.testing.assert_allclose(mean, scaled.mean((0, 1, 2)), rtol=1e-6)
    np.testing.assert_allclose(std, scaled.std((0, 1, 2)), rtol=1e-6)


def test_copies_of_images_of_an_odd_size():
    train, test = pixels(6, 29, 0), pixels(4, 29, 1)
    test[1] = train[4]
    almost = test[2:3].copy()
    almost[0, -1, -1, -1] ^= 1  # the last byte counts too
    assert count_copies(train, test[:0], test) == {"val": 0, "test": 1}
    assert count_copies(train, almost, test) == {"val": 0, "test": 1}


def test_images_that_need_too_much_memory_are_refused_before_they_are_read(tmp_path, monkeypatch):
    monkeypatch.setattr(resizing, "_ANNOUNCED_BYTES", 1)
    monkeypatch.setattr(resizing, "available_memory", lambda: 10**6)
    write_npz(tmp_path / "x.npz", 32)
    lines = []
    load(tmp_path / "x.npz", tmp_path, 32, lines)
    assert "16 images of 32x32 pixels take 1 MB of memory while they are prepared" in str(lines)
    load(tmp_path / "x.npz", tmp_path, 32)  # from the cache
    monkeypatch.setattr(resizing, "available_memory", lambda: 16 * 3073 - 1)
    expected = r"x\.npz: 16 images of 32x32 pixels take 1 MB of memory, and .*are free"
    with pytest.raises(RunError, match=expected):
        load(tmp_path / "x.npz", tmp_path, 32)
    monkeypatch.setattr(resizing, "available_memory", lambda: 16 * 3073)
    assert len(load(tmp_path / "x.npz", tmp_path, 32).test.labels) == 4
    monkeypatch.setattr(resizing, "available_memory", lambda: 10**6)
    expected = r"16 images of 224x224 pixels take .*are free; choose a smaller --image-size"
    with pytest.raises(RunError, match=expected):
        load(tmp_path / "x.npz", tmp_path, 224)


def test_a_damaged_cache_of_another_size_is_not_used(tmp_path):
    write_npz(tmp_path / "x.npz", 40)
    first = load_user_data(str(tmp_path / "x.npz"), tmp_path / "data", str, 40)
    [folder] = (tmp_path / "data" / "own").iterdir()
    folder.rename(folder.with_name(folder.name.removesuffix("-40")))
    again = load_user_data(str(tmp_path / "x.npz"), tmp_path / "data", str, 32)
    assert binary_records.image_size_of(first.records["train"]) == 40
    assert binary_records.image_size_of(again.records["train"]) == 32


def test_arrays_in_memory_must_have_the_image_size():
    images, labels = pixels(12, 28), np.arange(12) % 2
    data = Dataset.from_arrays(images, labels, images, labels, image_size=28, val_fraction=0.25)
    assert as_bytes(data) == {image.tobytes() for image in images}
    with pytest.raises(UsageError, match=r"image_size 27: must be in \[28, 224\]"):
        Dataset.from_arrays(images, labels, images, labels, image_size=27)
    with pytest.raises(UsageError, match=r"val has images of shape \[32, 32, 3\]; give squares"):
        Dataset(
            name="mixed",
            title="mixed",
            class_names=("a", "b"),
            train=data.train,
            val=Examples(pixels(2, 32), np.zeros(2, np.int32)),
            test=data.test,
            mean=data.mean,
            std=data.std,
        )


@pytest.mark.parametrize(
    ("sizes", "size", "line"),
    [
        ({32}, 32, ""),
        ({28}, 32, "images of 28x28 pixels are resized to 32x32; --image-size 28 keeps their size"),
        ({500}, 32, "images of 500x500 pixels are resized to 32x32"),
        (
            {20, 500, 64},
            64,
            "images of 20 to 500 pixels, as squares, are resized to 64x64; --image-size chooses "
            "28 to 224",
        ),
    ],
)
def test_the_line_about_resizing_names_the_sizes(sizes, size, line):
    assert Resizing(size, sizes).describe() == line
    assert describe_resizing(sizes, size) == line.partition(";")[0]


def test_thumbnails_are_means_of_the_pixels_that_they_replace():
    images = pixels(6, 128).reshape(2, 3, 128, 128, 3)
    small = shrink_to_stored_size(images)
    assert small.shape == (2, 3, 64, 64, 3)
    means = images.reshape(2, 3, 64, 2, 64, 2, 3).astype(float).mean((3, 5))
    assert np.abs(small - means).max() <= 1
    assert shrink_to_stored_size(small) is small
    assert shrink_to_stored_size(np.zeros((0, 224, 224, 3), np.uint8)).shape == (0, 64, 64, 3)
