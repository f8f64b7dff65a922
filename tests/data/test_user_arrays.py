"""Arrays and .npz files as people have them: names, labels, channels, splits, and doubts."""

import dataclasses
import hashlib
import json
import tracemalloc

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image
from small import SMALL

import jaxcifar
from jaxcifar import api
from jaxcifar.commands import prepare
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, binary_records, load_dataset
from jaxcifar.data.array_names import recognise_arrays
from jaxcifar.data.doubts import count_copies
from jaxcifar.data.images import to_square
from jaxcifar.errors import RunError, UsageError
from jaxcifar.report.costs import fact_rows
from jaxcifar.report.run_reading import read_records

NAMES = ("ant", "bee", "cow")


def pixels(count, seed, shape=(32, 32, 3)):
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def labels(count):
    return np.arange(count) % 3


def load(path, tmp_path, lines=None, **settings):
    config = Config.create("cnn", dataset=str(path), **settings)
    return load_dataset(config, tmp_path / "data", (lines if lines is not None else []).append)


def images_by_class(examples):
    pairs = zip(examples.labels.tolist(), examples.images, strict=True)
    return sorted((label, image.tobytes()) for label, image in pairs)


def expected_by_class(images, numbers):
    return sorted((int(n), image.tobytes()) for n, image in zip(numbers, images, strict=True))


# Validation images


MEDMNIST = {
    "train_images": pixels(30, 0, (28, 28)),
    "train_labels": labels(30)[:, None].astype(np.uint8),
    "val_images": pixels(9, 1, (28, 28)),
    "val_labels": labels(9)[:, None].astype(np.uint8),
    "test_images": pixels(12, 2, (28, 28)),
    "test_labels": labels(12)[:, None].astype(np.uint8),
}


def test_medmnist_has_its_own_validation_images(tmp_path):
    np.savez(tmp_path / "med.npz", **MEDMNIST)
    lines = []
    dataset = load(tmp_path / "med.npz", tmp_path, lines)
    for split, name in (("train", "train"), ("val", "val"), ("test", "test")):
        images = [to_square(Image.fromarray(image)) for image in MEDMNIST[f"{name}_images"]]
        expected = expected_by_class(images, MEDMNIST[f"{name}_labels"][:, 0])
        assert images_by_class(getattr(dataset, split)) == expected
    assert any("its own validation images, 9" in line for line in lines)
    again = load(tmp_path / "med.npz", tmp_path, lines := [])  # from the cache
    assert not lines
    np.testing.assert_array_equal(again.val.images, dataset.val.images)
    assert set(dataset.fingerprints) == {"train", "val", "test"}
    other = {**MEDMNIST, "val_images": MEDMNIST["val_images"][::-1]}
    np.savez(tmp_path / "other.npz", **other)
    assert load(tmp_path / "other.npz", tmp_path).sha256 != dataset.sha256


def test_a_validation_fraction_beside_validation_images_is_an_error(tmp_path):
    np.savez(tmp_path / "med.npz", **MEDMNIST)
    with pytest.raises(UsageError, match=r"--val-fraction 0\.2: med\.npz has its own validation"):
        load(tmp_path / "med.npz", tmp_path, val_fraction=0.2)
    arrays = [MEDMNIST[f"{split}_{kind}"] for split in ("train", "test") for kind in KINDS]
    val = {"x_val": MEDMNIST["val_images"], "y_val": MEDMNIST["val_labels"]}
    with pytest.raises(UsageError, match="val_fraction has no effect with x_val"):
        Dataset.from_arrays(*arrays, **val, val_fraction=0.1)
    with pytest.raises(UsageError, match="x_val and y_val belong together"):
        Dataset.from_arrays(*arrays, x_val=val["x_val"])


KINDS = ("images", "labels")


def test_arrays_with_validation_images_are_the_same_as_the_file(tmp_path):
    np.savez(tmp_path / "med.npz", **MEDMNIST)
    in_file = load(tmp_path / "med.npz", tmp_path, train_examples=20)
    arrays = [MEDMNIST[f"{split}_{kind}"] for split in ("train", "test") for kind in KINDS]
    direct = Dataset.from_arrays(
        *arrays, x_val=MEDMNIST["val_images"], y_val=MEDMNIST["val_labels"], train_examples=20
    )
    assert direct.sha256 == in_file.sha256
    assert len(direct.train.labels) == 20
    np.testing.assert_array_equal(direct.train.images, in_file.train.images)
    np.testing.assert_array_equal(direct.val.images, in_file.val.images)


@pytest.mark.parametrize("missing", ["val_images", "val_labels"])
def test_half_of_a_validation_set_is_an_error(tmp_path, missing):
    np.savez(tmp_path / "a.npz", **{k: v for k, v in MEDMNIST.items() if k != missing})
    with pytest.raises(RunError, match=f"the file lacks {'xy'[missing == 'val_labels']}_val"):
        load(tmp_path / "a.npz", tmp_path)


# Names, labels and channels


def test_images_without_a_test_split_are_split_the_same_way_each_time(tmp_path):
    images, numbers = pixels(36, 0), labels(36)
    np.savez(tmp_path / "xy.npz", x=images, y=numbers)
    order = np.random.RandomState(1).permutation(36)
    np.savez(tmp_path / "shuffled.npz", data=images[order], target=numbers[order])
    lines = []
    one = load(tmp_path / "xy.npz", tmp_path, lines)
    two = load(tmp_path / "shuffled.npz", tmp_path)
    assert np.bincount(one.test.labels).tolist() == [2, 2, 2]
    assert one.sha256 == two.sha256
    assert any("a sixth of each class (6 images) is kept for testing" in line for line in lines)
    together = [e for s in (one.train, one.val, one.test) for e in images_by_class(s)]
    assert sorted(together) == expected_by_class(images, numbers)


SPELLINGS = [
    ("x_train", "y_train", "x_test", "y_test"),
    ("X_train", "Y_train", "X_test", "Y_test"),
    ("train_images", "train_labels", "test_images", "test_labels"),
    ("trainX", "trainy", "testX", "testy"),
    ("train/data", "train/target", "test/data", "test/target"),
]


@pytest.mark.parametrize("names", SPELLINGS, ids="-".join)
def test_usual_names_of_arrays_are_recognised(names):
    found = recognise_arrays([*names, "class_names", "ids"])
    assert found.arrays_of_split == {"train": names[:2], "test": names[2:]}
    assert (found.class_name_array, found.ignored_arrays) == ("class_names", ["ids"])


def test_other_names_are_recognised_if_only_one_array_has_them():
    for pair in (("x", "y"), ("images", "labels"), ("data", "target"), ("X", "y")):
        assert recognise_arrays(pair).arrays_of_split == {"train": pair}
    both = recognise_arrays(["x_train", "X_train", "y_train"])  # the usual spelling wins
    assert both.arrays_of_split == {"train": ("x_train", "y_train")}
    assert both.ignored_arrays == ["X_train"]
    with pytest.raises(UsageError, match="data, images could all be x; rename one to x"):
        recognise_arrays(["data", "images", "target"])
    with pytest.raises(UsageError, match="lacks x_train, y_train; it has pixels, and must have"):
        recognise_arrays(["pixels"])
    with pytest.raises(UsageError, match="lacks x_train, y_train"):
        recognise_arrays(["x", "y", "x_test", "y_test"])  # x may be the training images, or all


@pytest.mark.parametrize(
    "form", ["strings", "bytes", "objects", "of any length", "column", "one-hot", "floats"]
)
def test_all_usual_forms_of_labels_are_read(form):
    images, numbers = pixels(30, 0), labels(30)
    strings = np.asarray(NAMES)[numbers]
    given, names = {
        "strings": (strings, NAMES),
        "bytes": (np.char.encode(strings), NAMES),
        "objects": (strings.astype(object), NAMES),
        "of any length": (strings.astype(np.dtypes.StringDType()), NAMES),
        "column": (strings[:, None], NAMES),
        "one-hot": (np.eye(3, dtype=bool)[numbers], ("0", "1", "2")),
        "floats": (np.eye(3)[numbers], ("0", "1", "2")),
    }[form]
    dataset = Dataset.from_arrays(images, given, images[:6], given[:6])
    assert dataset.class_names == names
    assert images_by_class(dataset.test) == expected_by_class(images[:6], numbers[:6])


def test_strings_are_numbered_in_the_order_of_given_class_names(tmp_path):
    strings = np.asarray(NAMES)[labels(30)]
    arrays = {"x_train": pixels(30, 0), "y_train": strings, "x_test": pixels(3, 1)}
    order = ("cow", "ant", "bee")
    np.savez(tmp_path / "a.npz", **arrays, y_test=strings[:3], class_names=order)
    dataset = load(tmp_path / "a.npz", tmp_path)
    assert dataset.class_names == order
    assert images_by_class(dataset.test) == expected_by_class(pixels(3, 1), [1, 2, 0])


WRONG_LABELS = {
    "unknown string": (np.asarray(["ant", "bee", "elk"]), "y_test has the label 'elk', which is"),
    "numbers and strings": (np.arange(3), "y_train, y_test mix integers and strings"),
    "bytes": (np.asarray([b"\xff", b"a", b"b"]), "y_test has strings that are not UTF-8"),
    "several classes": (np.asarray([[1, 0], [1, 1], [0, 1]]), "y_test .* row 1 is not one-hot"),
    "probabilities": (np.asarray([[0.9, 0.1]] * 3), "row 0 is not one-hot"),
    "objects": (np.asarray([None, 1, "a"], object), "y_test has shape .* dtype object"),
    "floats": (np.zeros(3), "y_test has shape .* dtype float64; give one integer"),
    "floats in a column": (np.zeros((3, 1)), r"shape \(3, 1\) and dtype float64; give one integer"),
}


@pytest.mark.parametrize(("wrong", "words"), WRONG_LABELS.values(), ids=WRONG_LABELS)
def test_wrong_labels_are_refused_in_one_line(wrong, words):
    strings = np.asarray(NAMES)[labels(30)]
    with pytest.raises(UsageError, match=words) as caught:
        Dataset.from_arrays(pixels(30, 0), strings, pixels(3, 1), wrong)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("highest", "advice"),
    [
        (1.0, r"if they go from 0 to 1, \(x_train \* 255\)\.round\(\)\.astype\('uint8'\)"),
        (250.0, r"these go to 250: x_train\.round\(\)\.clip\(0, 255\)\.astype\('uint8'\)"),
    ],
)
def test_pixels_that_are_floats_are_refused_with_advice(highest, advice):
    images = np.linspace(0, highest, 30 * 32 * 32 * 3).reshape(30, 32, 32, 3)
    with pytest.raises(UsageError, match=rf"x_train has float64 pixels; give uint8 .*{advice}"):
        Dataset.from_arrays(images, labels(30), pixels(3, 1), labels(3))


@pytest.mark.parametrize(("lowest", "highest"), [(-1.0, 1.0), (-2.4, 2.7)])
def test_normalised_images_are_refused_without_a_formula(lowest, highest):
    """For the formulas would make wrong pixels of them."""
    images = np.linspace(lowest, highest, 30 * 32 * 32 * 3).reshape(30, 32, 32, 3)
    with pytest.raises(UsageError, match="undo their normalisation first") as caught:
        Dataset.from_arrays(images, labels(30), pixels(3, 1), labels(3))
    assert f"these go from {lowest:g} to {highest:g}" in str(caught.value)
    assert "astype" not in str(caught.value)


@pytest.mark.parametrize("class_names", [{0: "ant", 1: "bee", 2: "cow"}, "abc"])
def test_class_names_are_a_list(class_names):
    with pytest.raises(UsageError, match=r"^class_names is a (dict|str); give a list"):
        Dataset.from_arrays(pixels(30, 0), labels(30), pixels(3, 1), labels(3), class_names)


@pytest.mark.parametrize("size", ["64", 64.0, 20])
def test_an_image_size_is_a_whole_number_in_the_range(size):
    arrays = pixels(30, 0), labels(30), pixels(3, 1), labels(3)
    with pytest.raises(UsageError, match=r"^image_size .*: must be in \[28, 224\]"):
        Dataset.from_arrays(*arrays, image_size=size)


def test_numbers_of_numpy_are_numbers(tmp_path, monkeypatch):
    arrays = pixels(30, 0), labels(30), pixels(3, 1), labels(3)
    numbers = {"image_size": np.int64(40), "val_fraction": np.float64(0.25)}
    dataset = Dataset.from_arrays(*arrays, train_examples=np.int32(20), **numbers)
    assert dataset.image_size == 40
    tasks = []

    def stop(task, *_):
        tasks.append(task)
        raise InterruptedError

    monkeypatch.setattr(api, "fit", stop)
    with pytest.raises(InterruptedError):
        api.train("cnn", dataset, run_dir=tmp_path, keep_every=np.int64(2))
    [task] = tasks
    assert (task.keep_every, task.config.val_fraction) == (2, 0.25)
    assert json.loads(task.config.to_json())["train_examples"] == 20


@pytest.mark.parametrize(("class_names", "names"), [(None, ("1", "2", "3")), (NAMES, NAMES)])
def test_labels_from_1_are_the_classes_by_number(tmp_path, capsys, class_names, names):
    numbers = labels(30) + 1
    dataset = Dataset.from_arrays(pixels(30, 0), numbers, pixels(5, 1), numbers[:5], class_names)
    assert dataset.class_names == names
    assert images_by_class(dataset.test) == expected_by_class(pixels(5, 1), numbers[:5] - 1)
    line = (
        "The labels in y_train and y_test go from 1 to 3: "
        f"label 1 is class {names[0]!r}, label 3 is class {names[2]!r}."
    )
    assert capsys.readouterr().out == line + "\n"
    arrays = {} if class_names is None else {"class_names": class_names}
    arrays |= {"x_train": pixels(30, 0), "y_train": numbers[:, None].astype(np.uint8)}
    np.savez(tmp_path / "a.npz", **arrays, x_test=pixels(5, 1), y_test=numbers[:5])
    from_file = load(tmp_path / "a.npz", tmp_path, lines := [])
    assert line in lines
    assert from_file.sha256 == dataset.sha256


MISSING_CLASSES = {
    "gap": ([1, 3, 4], [1], None, r"class '2' \(label 2\) has no training images"),
    "gap, with names": ([1, 3], [1], NAMES, r"class 'bee' \(label 2\) has no training images"),
    "from 2": ([2, 3, 4], [2], None, r"class '0' \(label 0\) has no training images"),
    "one more name": ([1, 2, 3], [1], (*NAMES, "elk"), r"class 'ant' \(label 0\) has no training"),
    "one name less": ([1, 2, 3], [1], NAMES[:2], "has the label 3, but there are only 2 class na"),
    "last only in test": ([1, 2], [3], NAMES, r"class 'cow' \(label 3\) has no training images"),
    "test beyond": ([1, 2], [3], None, "y_test has the label 3, but .* have only 2 classes"),
    "0 only in test": ([1, 2], [0], None, r"class '0' \(label 0\) has no training images"),
}


@pytest.mark.parametrize(
    ("train", "test", "class_names", "words"), MISSING_CLASSES.values(), ids=MISSING_CLASSES
)
def test_labels_from_1_with_missing_classes_are_refused(train, test, class_names, words, capsys):
    y_train, y_test = np.tile(train, 10), np.tile(test, 3)
    with pytest.raises(UsageError, match=words) as caught:
        Dataset.from_arrays(pixels(len(y_train), 0), y_train, pixels(3, 1), y_test, class_names)
    assert "\n" not in str(caught.value)
    assert not capsys.readouterr().out


def test_a_one_hot_column_without_images_is_no_label_from_1():
    rows = np.eye(4)[labels(30) + 1]
    with pytest.raises(UsageError, match=r"class '0' \(label 0\) has no training images"):
        Dataset.from_arrays(pixels(30, 0), rows, pixels(3, 1), rows[:3])


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("side", [32, 20])
def test_images_with_channels_first_are_turned(tmp_path, channels, side):
    train, test = pixels(30, 0, (side, side, channels)), pixels(6, 1, (side, side, channels))
    arrays = {"y_train": labels(30), "y_test": labels(6)}
    last = load_saved(tmp_path / "last", x_train=train, x_test=test, **arrays)
    first = load_saved(
        tmp_path / "first",
        lines := [],
        x_train=train.transpose(0, 3, 1, 2).copy(),
        x_test=test,
        **arrays,
    )
    assert first.fingerprints == last.fingerprints
    assert any("x_train has channels first" in line for line in lines)
    assert not any("x_test has channels first" in line for line in lines)


def load_saved(folder, lines=None, **arrays):
    folder.mkdir()
    np.savez(folder / "a.npz", **arrays)
    return load(folder / "a.npz", folder, lines)


def test_ambiguous_shapes_are_channels_last():
    images = pixels(30, 0, (3, 32, 3))  # [N, H, W, 3] of height 3
    dataset = Dataset.from_arrays(images, labels(30), images[:3], labels(3))
    expected = [to_square(Image.fromarray(image)) for image in images[:3]]
    assert images_by_class(dataset.test) == expected_by_class(expected, labels(3))


# Doubts


def test_a_constant_channel_has_a_finite_standard_deviation():
    images = pixels(30, 0)
    images[..., 1] = 7
    mean, std = binary_records.channel_statistics(binary_records.pack(images, labels(30)))
    normal = (images / np.float32(255) - mean) / std
    assert np.abs(normal[..., 1]).max() < 1e-6
    plain = (images / 255).std((0, 1, 2))
    np.testing.assert_allclose(std[[0, 2]], plain[[0, 2]], rtol=1e-6)
    images[0, 0, 0, 1] = 8  # a single other pixel
    _, std = binary_records.channel_statistics(binary_records.pack(images, labels(30)))
    np.testing.assert_allclose(std[1], (images[..., 1] / 255).std(), rtol=1e-5)


def test_a_constant_channel_is_named():
    train, test = pixels(30, 0), pixels(6, 1)
    train[..., 1] = 7
    dataset = Dataset.from_arrays(train, labels(30), test, labels(6), name="cells")
    [line] = dataset.warnings
    assert line.startswith(
        "cells: these channels have the same value in all training images: green (7);"
    )


def test_fractions_cast_to_integers_are_named():
    train, test = pixels(30, 0) // 255, pixels(6, 1)
    dataset = Dataset.from_arrays(train, labels(30), test, labels(6), val_fraction=0)
    assert any("only 0 and 1, like fractions" in line for line in dataset.warnings)
    darker = Dataset.from_arrays(train * 2, labels(30), test, labels(6), val_fraction=0)
    assert not any("fractions" in line for line in darker.warnings)


@pytest.mark.parametrize(("brightest", "is_dark"), [(16, True), (64, True), (65, False)])
def test_images_of_a_camera_with_fewer_than_16_bits_are_named(brightest, is_dark):
    images = pixels(30, 0)
    train = (images.astype(int) * brightest // images.max()).astype(np.uint8)
    dataset = Dataset.from_arrays(train, labels(30), pixels(6, 1), labels(6), val_fraction=0)
    words = f"the brightest pixel of the training images is {brightest} of 255"
    assert any(words in line for line in dataset.warnings) is is_dark


def test_copies_are_counted():
    train, val, test = pixels(40, 0), pixels(20, 1), pixels(30, 2)
    assert count_copies(train, val, test) == {"val": 0, "test": 0}
    val[:3] = train[5]  # three copies of one image
    test[:2], test[9] = train[7:9], val[19]
    test[10] = train[0]
    test[10, 31, 31, 2] ^= 128  # differs in one bit
    assert count_copies(train, val, test) == {"val": 3, "test": 3}
    assert count_copies(train, val[:0], test) == {"val": 0, "test": 2}
    assert count_copies(train, val, test[:0]) == {"val": 3, "test": 0}


@pytest.mark.parametrize("size", [29, 32])
def test_copies_are_counted_in_blocks(monkeypatch, size):
    """A row of 29x29 images is no multiple of eight bytes, so that it is padded, in a copy."""
    train, test = pixels(600, 0, (size, size, 3)), pixels(50, 1, (size, size, 3))
    test[49] = train[599]
    monkeypatch.setattr("jaxcifar.data.doubts._MAX_BLOCK_BYTES", 7 * size * size * 3)
    tracemalloc.start()
    try:
        copies = count_copies(train, train[:0], test)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert copies == {"val": 0, "test": 1}
    assert peak < train.nbytes / 4


def test_equal_checksums_of_different_images_are_not_copies(monkeypatch):
    monkeypatch.setattr(
        "jaxcifar.data.doubts._image_checksums", lambda images: np.zeros(len(images), np.uint64)
    )
    train, test = pixels(10, 0), pixels(10, 1)
    test[4] = train[2]
    assert count_copies(train, train[:0], test) == {"val": 0, "test": 1}


def test_copies_are_reported_and_images_of_the_catalogue_are_not_compared(
    easy_dataset, monkeypatch
):
    train, test = pixels(30, 0), pixels(6, 1)
    test[:2] = train[:2]
    dataset = Dataset.from_arrays(train, labels(30), test, labels(6), name="cells")
    assert dataset.copy_counts == {"val": 0, "test": 2}
    [line] = dataset.warnings
    assert line.startswith("cells: 2 of the 6 test images are also training or validation images")
    clean = Dataset.from_arrays(train, labels(30), pixels(6, 1), labels(6))
    assert (clean.copy_counts, clean.warnings) == ({}, ())
    known = dataclasses.replace(dataset, name="cifar10")
    object.__setattr__(known, "_known_fingerprints", {"train": "0" * 64, "test": "1" * 64})
    monkeypatch.setattr("jaxcifar.data.dataset.count_copies", lambda *_: pytest.fail("compared"))
    assert (known.copy_counts, known.warnings) == ({}, ())


def plain_statistics(images):
    """Mean and standard deviation of each channel, by NumPy alone."""
    channels = images.reshape(-1, 3) / 255
    return np.float32(channels.mean(0)), np.float32(channels.std(0))


def test_a_replaced_mean_or_std_changes_the_checksum_and_nothing_else_does():
    dataset = Dataset.from_arrays(pixels(30, 0), labels(30), pixels(6, 1), labels(6), name="cells")
    by_hand = dataclasses.replace(dataset, title="the same images")
    mean, std = plain_statistics(dataset.train.images)
    same_statistics = dataclasses.replace(dataset, mean=mean, std=std)
    assert same_statistics.sha256 == by_hand.sha256 == checksum_of_images_alone(by_hand)
    halves, quarters = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
    other_mean = dataclasses.replace(dataset, mean=halves)
    other_std = dataclasses.replace(dataset, std=quarters)
    slightly_other_mean = dataclasses.replace(dataset, mean=mean + np.float32([0, 0, 1e-4]))
    both = dataclasses.replace(dataset, mean=halves, std=quarters)
    checksums = [d.sha256 for d in (by_hand, other_mean, other_std, slightly_other_mean, both)]
    assert len(set(checksums)) == 5
    assert dataclasses.replace(other_mean, title="renamed").sha256 == other_mean.sha256


def checksum_of_images_alone(dataset):
    """The checksum as version 0.1.0 defined it first: classes, and the images of each split."""

    def of_rows(*splits):
        rows = []
        for images, split_labels in splits:
            pixels_of_images = images.transpose(0, 3, 1, 2).reshape(len(images), -1)
            rows += [
                bytes([label, *row])
                for label, row in zip(split_labels, pixels_of_images.tolist(), strict=True)
            ]
        return hashlib.sha256(b"".join(sorted(rows))).hexdigest()

    content = {
        "class_names": dataset.class_names,
        "fingerprints": {
            "train": of_rows(dataset.train, dataset.val),
            "test": of_rows(dataset.test),
        },
        "val": of_rows(dataset.val),
    }
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()


@pytest.mark.parametrize("count", [30, 4])  # 4 are too few for validation images
def test_prepare_tells_the_doubts_that_run_tells(tmp_path, capsys, count):
    train = pixels(count, 0)
    train[..., 2] = 7
    y_train = np.arange(count) % 2
    np.savez(tmp_path / "a.npz", x_train=train, y_train=y_train, x_test=train[:2], y_test=[0, 1])
    prepare.main(["--dataset", str(tmp_path / "a.npz"), "--data-dir", str(tmp_path / "data")])
    screen = " ".join(capsys.readouterr().out.split())
    assert "a.npz: these channels have the same value in all training images: blue (7)" in screen
    assert "a.npz: 2 of the 2 test images are also training or validation images" in screen
    assert f"{count} train, 2 test images, 2 classes." in screen


# A run


def test_a_run_on_such_images(tmp_path, capsys, monkeypatch):
    """A constant channel, its own validation images, copies, and a class without test images."""
    monkeypatch.setattr(Figure, "savefig", lambda figure, file, **options: None)  # saves time
    train, val = pixels(30, 0), pixels(9, 1)
    train[..., 2], val[..., 2] = 7, 7
    val_labels = labels(9)
    test, test_labels = train[[0, 1, 3, 4]], [0, 1, 0, 1]
    dataset = Dataset.from_arrays(
        train, labels(30), test, test_labels, NAMES, x_val=val, y_val=val_labels, name="cells"
    )
    settings = {"arch_args": SMALL, "epochs": 1, "batch_size": 10, "augment": False}
    classifier = jaxcifar.train("cnn", dataset, run_dir=tmp_path / "run", **settings)
    screen = " ".join(capsys.readouterr().out.split())
    assert "cells: these channels have the same value in all training images: blue (7)" in screen
    assert "cells: 4 of the 4 test images are also training or validation images" in screen
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert result["examples"] == {"train": 30, "val": 9, "test": 4}
    assert result["copied_examples"] == {"val": 0, "test": 4}
    assert set(result["dataset_fingerprint"]) == {"train", "val", "test"}
    assert list(result["class_accuracy"]) == ["ant", "bee"]
    assert result["class_names"] == list(NAMES)
    assert np.isfinite(result["test_loss"])
    assert result["channel_std"][2] == 1
    assert classifier.result["val_accuracy"] == result["val_accuracy"]
    [facts_line] = [v for k, v in fact_rows(read_records(tmp_path)) if "copies" in k]
    assert facts_line == "0 / 4"
