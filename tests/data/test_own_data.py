"""Data of one's own: folders, .npz files, arrays; what is hostile or odd is refused in a line."""

import dataclasses
import json
import os
import pickle
import zipfile

import numpy as np
import pytest
from conftest import assert_one_line_error, obeyed
from PIL import Image

from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, binary_records, dataset_title, load_dataset, user_data, user_npz
from jaxcifar.data.images import to_square
from jaxcifar.data.manifest import Manifest
from jaxcifar.data.user_data import load_user_data
from jaxcifar.errors import RunError, UsageError


def quiet(line):
    pass


def pixels(count, seed, shape=(32, 32, 3)):
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def write_images(folder, images, suffix="png"):
    folder.mkdir(parents=True, exist_ok=True)
    for i, image in enumerate(images):
        Image.fromarray(image).save(folder / f"{i:03}.{suffix}")


@pytest.fixture
def pets(tmp_path):
    """Two classes, 12 images of each to train and 3 to test, in three formats."""
    for i, name in enumerate(("cat", "dog")):
        write_images(tmp_path / "pets" / "train" / name, pixels(6, i), "png")
        write_images(tmp_path / "pets" / "train" / name, pixels(6, 10 + i), "bmp")
        write_images(tmp_path / "pets" / "test" / name, pixels(3, 20 + i), "tiff")
    return tmp_path / "pets"


def load(path, tmp_path, **options):
    config = Config.create("cnn", dataset=str(path), **{"val_fraction": 0.25, **options})
    return load_dataset(config, tmp_path / "data", quiet)


def by_class(examples):
    """Class -> its images as a set of byte strings."""
    sets = {}
    for image, label in zip(examples.images, examples.labels, strict=True):
        sets.setdefault(int(label), set()).add(image.tobytes())
    return sets


def test_a_folder_with_train_and_test_is_loaded(pets, tmp_path):
    dataset = load(pets, tmp_path)
    assert (dataset.name, dataset.title, dataset.is_from_catalog) == ("pets", "pets", False)
    assert dataset.class_names == ("cat", "dog")
    assert [len(s.labels) for s in (dataset.train, dataset.val, dataset.test)] == [18, 6, 6]
    for label in range(2):
        written = {x.tobytes() for seed in (label, 10 + label) for x in pixels(6, seed)}
        assert by_class(dataset.train)[label] | by_class(dataset.val)[label] == written
        assert by_class(dataset.test)[label] == {x.tobytes() for x in pixels(3, 20 + label)}


def test_a_sixth_of_each_class_is_taken_where_there_is_no_test(tmp_path):
    sizes = {"a": 6, "b": 30, "c": 14}
    for seed, (name, size) in enumerate(sizes.items()):
        write_images(tmp_path / "one" / name, pixels(size, seed))
        write_images(tmp_path / "two" / name, pixels(size, seed)[::-1])  # under other names
    one, two = load(tmp_path / "one", tmp_path), load(tmp_path / "two", tmp_path)
    assert np.bincount(one.test.labels).tolist() == [1, 5, 2]
    assert len(one.train.labels) + len(one.val.labels) == 50 - 8
    assert one.fingerprints == two.fingerprints
    assert (one.sha256, one.name) == (two.sha256, "one")
    together = by_class(one.train)[1] | by_class(one.val)[1] | by_class(one.test)[1]
    assert together == {image.tobytes() for image in pixels(30, 1)}


def test_classes_too_small_for_a_test_image_are_named(tmp_path):
    """Rounded, a sixth of 3 images is none, and a sixth of 4 images is one."""
    for seed, (name, size) in enumerate({"ant": 3, "bee": 4, "cow": 1, "dog": 12}.items()):
        write_images(tmp_path / "pets" / name, pixels(size, seed))
    lines = []
    config = Config.create("cnn", dataset=str(tmp_path / "pets"), val_fraction=0.25)
    dataset = load_dataset(config, tmp_path / "data", lines.append)
    assert np.bincount(dataset.test.labels, minlength=4).tolist() == [0, 1, 0, 2]
    [line] = [line for line in lines if "get no test image" in line]
    assert line == (
        "pets: 2 of 4 classes get no test image (ant, cow), because they have fewer than 4 images; "
        "add images of them, or test images."
    )


@pytest.mark.parametrize(("fraction", "kept"), [(0.25, [0, 1, 0, 3]), (0.1, [0, 0, 0, 1])])
def test_classes_without_a_validation_image_are_named_in_one_line(tmp_path, fraction, kept):
    sizes = {"ant": 2, "bee": 4, "cow": 1, "dog": 12}
    for seed, (name, size) in enumerate(sizes.items()):
        write_images(tmp_path / "pets" / "train" / name, pixels(size, seed))
        write_images(tmp_path / "pets" / "test" / name, pixels(1, 10 + seed))
    config = Config.create("cnn", dataset=str(tmp_path / "pets"), val_fraction=fraction)
    dataset = load_dataset(config, tmp_path / "data", [].append)
    assert np.bincount(dataset.val.labels, minlength=4).tolist() == kept
    absent = [name for name, count in zip(sizes, kept, strict=True) if not count]
    assert dataset.warnings == (
        f"pets: {len(absent)} of 4 classes have no validation image ({', '.join(absent)}); add "
        "images of them, because the best epoch is chosen without these classes",
    )


@pytest.mark.parametrize("fraction", [0.0, 0.5])
def test_no_line_if_no_class_or_every_class_has_validation_images(tmp_path, fraction):
    for seed, name in enumerate(["ant", "bee"]):
        write_images(tmp_path / "pets" / "train" / name, pixels(4, seed))
        write_images(tmp_path / "pets" / "test" / name, pixels(1, 10 + seed))
    config = Config.create("cnn", dataset=str(tmp_path / "pets"), val_fraction=fraction)
    assert load_dataset(config, tmp_path / "data", [].append).warnings == ()


def test_an_unchanged_folder_is_not_decoded_again(pets, tmp_path, monkeypatch):
    before = load(pets, tmp_path)
    monkeypatch.setattr(user_data, "read_splits", lambda *_: pytest.fail("decoded again"))
    assert load(pets, tmp_path).sha256 == before.sha256
    monkeypatch.undo()
    changed = pets / "train" / "dog" / "000.png"
    Image.fromarray(pixels(1, 99)[0]).save(changed)
    os.utime(changed, ns=(0, 0))
    after = load(pets, tmp_path)
    assert after.fingerprints["train"] != before.fingerprints["train"]
    assert after.fingerprints["test"] == before.fingerprints["test"]


def test_a_cache_that_is_not_as_it_was_is_made_anew(pets, tmp_path, monkeypatch):
    def stopped(*_):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:  # before the last of the files is written
        patch.setattr(Manifest, "write", stopped)
        with pytest.raises(KeyboardInterrupt):
            load(pets, tmp_path)
    expected = load(pets, tmp_path).sha256
    [manifest] = (tmp_path / "data").rglob("manifest.json")
    content = json.loads(manifest.read_text())
    for text in (
        "[" * 100_000,
        "[]",
        json.dumps(content | {"class_names": "cat"}),
        json.dumps(content | {"fingerprints": {"train": "../x", "test": "y"}}),
        json.dumps(content | {"source": "another"}),
    ):
        manifest.write_text(text)
        assert load(pets, tmp_path).sha256 == expected
    records = manifest.with_name("train.npy")
    records.write_bytes(records.read_bytes()[:-1])
    assert load(pets, tmp_path).sha256 == expected


def test_what_is_left_out_or_read_in_part_is_reported(pets, tmp_path):
    (pets / ".DS_Store").write_text("x")
    (pets / "train" / "dog" / "Thumbs.db").write_text("x")
    frames = [Image.new("L", (32, 32), grey) for grey in (7, 200)]
    frames[0].save(pets / "test" / "dog" / "a.gif", save_all=True, append_images=frames[1:])
    (pets / "test" / "cat" / "link.png").symlink_to(pets / "train" / "cat" / "000.png")
    lines = []
    records = load_user_data(str(pets), tmp_path / "data", lines.append).records
    assert len(records["test"]) == 8
    assert any("2 hidden files" in line for line in lines)
    assert any("1 files hold several frames" in line and "test/dog/a.gif" in line for line in lines)


def damaged(pets):
    for name in ("001", "002"):
        (pets / "train" / "cat" / f"{name}.png").write_bytes(b"\x89PNG\r\n\x1a\n")
    return r"train/cat/001.png: the file is not an image.*\(and 1 more\)"


def no_image(pets):
    (pets / "train" / "cat" / "notes.txt").write_text("x")
    return "train/cat/notes.txt: the file is not an image"


def stray(pets):
    (pets / "README").write_text("x")
    return "README is not in the folder of a class"


def fifo(pets):
    os.mkfifo(pets / "train" / "cat" / "a.png")
    return "train/cat/a.png is not a regular file"


def device(pets):
    (pets / "train" / "cat" / "a.png").symlink_to("/dev/zero")
    return "train/cat/a.png is a link to outside"


def link_outside(pets):
    Image.new("RGB", (32, 32)).save(pets.parent / "a.png")
    (pets / "train" / "cat" / "a.png").symlink_to(pets.parent / "a.png")
    return (
        "train/cat/a.png is a link to outside the folder; copy the file in place of the link, or "
        "link the whole class folder$"
    )


def dead_link(pets):
    (pets / "train" / "cat" / "a.png").symlink_to(pets / "nowhere")
    return "train/cat/a.png is a broken link: .*nowhere does not exist"


def empty_class(pets):
    (pets / "train" / "ant").mkdir()
    return "class 'ant' has no training images"


def untrained_class(pets):
    write_images(pets / "test" / "fox", pixels(1, 0))
    return "test/fox is a class without training images"


def no_train(pets):
    (pets / "train").rename(pets.parent / "away")
    return "has a test folder with subfolders .test. but no train folder"


def extra_folder(pets):
    (pets / "more").mkdir()
    return "more is an extra folder beside train and test; move the folder out of .*pets$"


def bad_name(pets):
    (pets / "train" / "cat").rename(pets / "train" / "ca\nt")
    (pets / "test" / "cat").rename(pets / "test" / "ca\nt")
    return "can't be printed"


@pytest.mark.parametrize(
    "spoil",
    [
        damaged, no_image, stray, fifo, device, link_outside, dead_link, empty_class,
        untrained_class, no_train, extra_folder, bad_name,
    ],
    ids=lambda spoil: spoil.__name__,
)  # fmt: skip
def test_odd_folders_are_refused_in_one_line(pets, tmp_path, spoil):
    words = spoil(pets)
    with pytest.raises(RunError, match=words) as caught:
        load(pets, tmp_path)
    assert "\n" not in str(caught.value)


def test_missing_too_large_and_misplaced_images_are_refused(pets, tmp_path, monkeypatch):
    with pytest.raises(UsageError, match="no such folder or file"):
        load(tmp_path / "nowhere", tmp_path)
    (tmp_path / "a.txt").write_text("x")
    with pytest.raises(UsageError, match="neither a folder nor an"):
        load(tmp_path / "a.txt", tmp_path)
    with pytest.raises(UsageError, match=r"--data-dir .*: lies in the folder of the images"):
        load(pets, pets)
    monkeypatch.setattr("jaxcifar.data.folder_listing.MAX_IMAGES", 29)
    with pytest.raises(RunError, match="more than 29 files"):
        load(pets, tmp_path)
    assert not (tmp_path / "data").exists()


def test_the_title_is_the_name_of_the_folder_or_file(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert dataset_title("cifar100") == "CIFAR-100"
    assert dataset_title("some/where/my flowers/") == "my flowers"
    assert dataset_title("digits.npz") == "digits.npz"
    assert user_data.user_data_name("some/my flowers") == "my-flowers"
    # What is called as a set of the catalogue must not pass for it.
    assert dataset_title("./CIFAR-10") == "CIFAR-10 (own images)"
    assert user_data.user_data_name("./cifar10") == "cifar10-own-images"
    with pytest.raises(UsageError, match=r"did you mean cifar10\?"):
        dataset_title("cifar-10")
    with pytest.raises(UsageError, match="choose one of cifar10, cifar100, shapes10, or"):
        dataset_title("mnist")


def some_arrays():
    return {
        "x_train": pixels(40, 0, (28, 28)),
        "y_train": np.arange(40)[:, None] % 4,
        "x_test": pixels(8, 1, (28, 28)),
        "y_test": np.arange(8)[:, None].astype(np.uint8) % 4,
    }


@pytest.mark.parametrize("compressed", [False, True])
def test_an_npz_as_keras_has_it(tmp_path, compressed, monkeypatch):
    monkeypatch.setattr("jaxcifar.data.arrays.BLOCK_BYTES", 7 * 28 * 28)
    arrays = some_arrays()
    save = np.savez_compressed if compressed else np.savez
    save(tmp_path / "digits.npz", **arrays, class_names=["zero", "one", "two", "three"])
    dataset = load(tmp_path / "digits.npz", tmp_path)
    assert (dataset.name, dataset.title) == ("digits", "digits.npz")
    assert dataset.class_names == ("zero", "one", "two", "three")
    for label in range(4):
        written = {
            to_square(Image.fromarray(image)).tobytes() for image in arrays["x_test"][label::4]
        }
        assert by_class(dataset.test)[label] == written
    direct = Dataset.from_arrays(*arrays.values(), dataset.class_names, val_fraction=0.25)
    assert direct.sha256 == dataset.sha256
    np.testing.assert_array_equal(direct.train.images, dataset.train.images)
    assert Dataset.from_arrays(*arrays.values()).sha256 != dataset.sha256  # other class names
    np.savez(tmp_path / "digits.npz", **arrays | {"y_train": arrays["y_train"][::-1]})
    assert load(tmp_path / "digits.npz", tmp_path).sha256 != dataset.sha256


def test_class_names_as_bytes_are_read_as_utf8(tmp_path):
    names = ("Käse", "Öl", "日本", "salt")
    encoded_names = np.array([name.encode() for name in names])
    np.savez(tmp_path / "food.npz", **some_arrays(), class_names=encoded_names)
    assert load(tmp_path / "food.npz", tmp_path).class_names == names


def labels_corrected(arrays):
    """Of the same length in bytes, as a person leaves it who saves the file again."""
    return arrays | {"y_train": (arrays["y_train"] + 1) % 4}


def images_added(arrays):
    more = {name: arrays[name].repeat(2, 0) for name in ("x_train", "y_train")}
    return arrays | more


@pytest.mark.parametrize("source", ["file", "folder"])
@pytest.mark.parametrize(
    ("change", "seconds"),
    [(labels_corrected, 1), (images_added, 0), (images_added, 1)],
)
def test_data_saved_again_are_read_again(tmp_path, source, change, seconds):
    """A change is told by the size or by the time, each alone."""
    path = tmp_path / ("a.npz" if source == "file" else "a")
    began = 1_000_000_000  # some time long ago

    def write(arrays, time):
        if source == "file":
            np.savez(path, **arrays)
            os.utime(path, (time, time))
            return
        for split in ("train", "test"):
            labels = arrays[f"y_{split}"][:, 0]
            for number, image in enumerate(arrays[f"x_{split}"]):
                file = path / split / "abcd"[labels[number]] / f"{number // 4:03}.bmp"
                file.parent.mkdir(parents=True, exist_ok=True)
                Image.fromarray(image).save(file)  # each takes as many bytes
                os.utime(file, (time, time))

    write(some_arrays(), began)
    before = load_user_data(str(path), tmp_path / "data", quiet).records
    write(change(some_arrays()), began + seconds)
    after = load_user_data(str(path), tmp_path / "data", quiet).records
    anew = load_user_data(str(path), tmp_path / "empty", quiet).records
    np.testing.assert_array_equal(after["train"], anew["train"])
    assert not np.array_equal(after["train"], before["train"])


@pytest.mark.parametrize("channels", [(), (1,), (3,)])
def test_arrays_of_32x32_stay_as_they_are(channels):
    images, labels = pixels(12, 0, (32, 32, *channels)), np.arange(12) % 2
    dataset = Dataset.from_arrays(images, labels, images, labels, name="mine", val_fraction=0.5)
    assert (dataset.name, dataset.title, dataset.class_names) == ("mine", "mine", ("0", "1"))
    expected = np.broadcast_to(images.reshape(12, 32, 32, -1), (12, 32, 32, 3))
    for label in range(2):
        assert by_class(dataset.test)[label] == {x.tobytes() for x in expected[label::2]}


def test_more_classes_than_a_byte_counts():
    labels = np.repeat(np.arange(300), 2)
    images = pixels(600, 0)
    images[:, 0, 0, 0], images[:, 0, 0, 1] = labels >> 8, labels & 255
    dataset = Dataset.from_arrays(images, labels, images, labels, val_fraction=0.5)
    assert dataset.num_classes == 300
    for examples in (dataset.train, dataset.val, dataset.test):
        channels = examples.images[:, 0, 0].astype(int)
        np.testing.assert_array_equal(examples.labels, channels[:, 0] * 256 + channels[:, 1])
    np.testing.assert_array_equal(dataset.test.labels, labels)  # canonical order is by class


WRONG = {
    "float pixels": ({"x_train": np.zeros((40, 28, 28))}, "x_train has float64 pixels; give uint8"),
    "wide pixels": ({"x_test": np.zeros((8, 28, 28), int)}, "x_test has int64 pixels; give uint8"),
    "two channels": ({"x_test": pixels(8, 0, (2, 28, 28))}, r"x_test has shape \(8, 2, 28, 28\)"),
    "no images": ({"x_test": pixels(0, 0), "y_test": []}, "x_test has 0 images"),
    "no pixels": ({"x_test": pixels(8, 0, (0, 5))}, "x_test: the image has 5x0 pixels"),
    "other number": ({"y_test": np.arange(7) % 4}, r"y_test has shape \(7,\).* 8 images"),
    "many-hot": ({"y_test": np.ones((8, 4), int)}, r"y_test has shape \(8, 4\), but row 0 is"),
    "float labels": ({"y_train": np.zeros(40)}, "y_train has shape .* dtype float64"),
    "negative": (
        {"y_train": np.arange(40) % 4 - 1},
        "y_train has the label -1, .* so leave them .* out",
    ),
    "more negative": ({"y_train": np.arange(40) % 4 - 2}, "y_train has the label -2, which is out"),
    "too large": ({"y_train": np.arange(40) + 65_500}, "y_train has the label 65539, which is"),
    "untrained": ({"y_test": np.arange(8)}, "y_test has the label 7, .* have only 4 classes"),
    "gap": ({"y_train": np.arange(40) % 4 * 2}, r"class '1' \(label 1\) has no training images"),
    "few names": (
        {"class_names": ["a", "b"]},
        "label 3, but there are only 2 class names",
    ),
    "many names": ({"class_names": list("abcde")}, r"class 'e' \(label 4\) has no training"),
    "same names": ({"class_names": list("abca")}, "'a' is given twice"),
    "one class": (
        {"y_train": np.zeros(40, int), "y_test": np.zeros(8, int)},
        "classes is 1, but",
    ),
}


@pytest.mark.parametrize(("change", "words"), WRONG.values(), ids=WRONG)
def test_wrong_arrays_are_refused_in_one_line(tmp_path, change, words):
    arrays = some_arrays() | change
    with pytest.raises(UsageError, match=words) as caught:
        Dataset.from_arrays(**arrays)
    np.savez(tmp_path / "a.npz", **arrays)
    with pytest.raises(RunError, match=words) as caught_in_file:
        load(tmp_path / "a.npz", tmp_path)
    assert "\n" not in f"{caught.value}{caught_in_file.value}"


def test_from_arrays_takes_no_name_of_the_catalogue():
    with pytest.raises(UsageError, match="choose another"):
        Dataset.from_arrays(*some_arrays().values(), name="CIFAR-10")


def write_npz(path, **contents):
    """An .npz of arrays and, for hostile members, bytes."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in contents.items():
            with archive.open(f"{name}.npy", "w") as file:
                if isinstance(content, bytes):
                    file.write(content)
                else:
                    np.lib.format.write_array(file, content)
    return path


def npy_header(shape, dtype="|u1"):
    text = repr({"descr": dtype, "fortran_order": False, "shape": shape}).encode()
    return b"\x93NUMPY\x01\x00" + len(text).to_bytes(2, "little") + text


class Evil:
    def __init__(self, marker):
        self.marker = marker

    def __reduce__(self):
        return os.mkdir, (str(self.marker),)


def test_a_hostile_npz_file_is_refused_and_runs_nothing(tmp_path, monkeypatch):
    marker, path = tmp_path / "ran", tmp_path / "a.npz"
    evil = npy_header((40,), "|O") + pickle.dumps(Evil(marker))
    members = {
        "pickled objects": {"y_train": evil},
        "agree with its size": {"x_train": npy_header((10**12, 32, 32)) + b"few"},
        "damaged: its shape": {"x_train": npy_header((-1, -1)) + b"x"},
        "version 1.0": {"x_test": b"\x93NUMPY\x02\x00\xff\xff\xff\xff"},
        "can't be read": {"x_test": b"no array"},
        r"not in C order .save np.ascontiguousarray": {
            "x_test": np.asfortranarray(pixels(8, 0, (28, 28)))
        },
        "list of strings": {"class_names": np.arange(4)},
    }
    for words, member in members.items():
        write_npz(path, **some_arrays() | member)
        with pytest.raises(RunError, match=words) as caught:
            load(path, tmp_path)
        assert "\n" not in str(caught.value)
    assert not marker.exists()
    np.savez(path, **{name: array for name, array in some_arrays().items() if name != "y_test"})
    with pytest.raises(RunError, match="the file lacks y_test"):
        load(path, tmp_path)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_BZIP2) as archive:
        for name, array in some_arrays().items():
            with archive.open(f"{name}.npy", "w") as file:
                np.lib.format.write_array(file, array)
    with pytest.raises(RunError, match=r"x_train\.npy has another compression than np\.savez"):
        load(path, tmp_path)
    np.savez(path, **some_arrays())
    with monkeypatch.context() as patch:
        patch.setattr(user_npz, "_MAX_SMALL_BYTES", 40 * 8 - 1)
        with pytest.raises(RunError, match=r"y_train\.npy has 320 bytes, far too many"):
            load(path, tmp_path)
    np.savez_compressed(path, **some_arrays() | {"x_train": np.zeros((40, 500, 500), np.uint8)})
    with monkeypatch.context() as patch:
        patch.setattr(user_npz, "_MAX_UNPACKED_BYTES", 5_000_000)  # it packs 10 MB into a few kB
        with pytest.raises(RunError, match="unpacks to more than"):
            load(path, tmp_path)
        patch.setattr(user_npz, "_MAX_UNPACKED_BYTES", 2**34)
        patch.setattr(user_npz, "_ALWAYS_PLAUSIBLE_BYTES", 5_000_000)
        with pytest.raises(RunError, match="more than 100 times its size"):
            load(path, tmp_path)
    write_npz(tmp_path / "many.npz", **{f"a member of some name {i}": b"" for i in range(20_000)})
    with pytest.raises(RunError, match="has too many arrays"):
        load(tmp_path / "many.npz", tmp_path)
    path.write_bytes(path.read_bytes()[:-50])
    with pytest.raises(RunError, match="can't be read"):
        load(path, tmp_path)


def test_labels_out_of_range_never_reach_training(easy_dataset):
    with pytest.raises(UsageError, match="train has labels from 0 to 9, but there are 5 classes"):
        dataclasses.replace(easy_dataset, class_names=tuple("abcde"))


def test_the_commands_prepare_and_train_on_images_of_the_user(pets, tmp_path):
    """Prepare, train, and the result says what it was trained on."""
    where = ("--dataset", str(pets), "--data-dir", str(tmp_path / "data"))
    prepared = obeyed("prepare", *where)
    assert prepared.returncode == 0, prepared.stderr
    assert "pets is ready" in prepared.stdout
    options = ("--arch", "cnn", "--arch-args", "widths=4,", "hidden=8", "--epochs", "1")
    images = ("--batch-size", "6", "--val-fraction", "0.25")
    done = obeyed("run", *options, *images, *where, "--run-dir", str(tmp_path / "run"))
    assert done.returncode == 0, done.stderr
    assert " on pets, in" in done.stdout
    assert "NOT CIFAR-10" not in done.stdout
    result = json.loads((tmp_path / "run" / "result.json").read_text())
    assert (result["dataset"], result["dataset_name"]) == ("pets", "pets")
    assert result["class_names"] == ["cat", "dog"]
    assert np.sum(result["confusion_matrix"], axis=1).tolist() == [3, 3]
    [train] = (tmp_path / "data").rglob("train.npy")
    assert result["dataset_fingerprint"]["train"] == binary_records.fingerprint(np.load(train))
    assert list(result["class_accuracy"]) == ["cat", "dog"]


def test_the_commands_refuse_missing_images_in_one_line(tmp_path):
    done = obeyed("prepare", "--dataset", "cifar11", "--data-dir", str(tmp_path / "no"))
    assert_one_line_error(done, 2, "did you mean cifar10?")
    done = obeyed("run", "--dataset", str(tmp_path / "no"), "--data-dir", str(tmp_path),
                   "--run-dir", str(tmp_path / "run"))  # fmt: skip
    assert_one_line_error(done, 2, "no such folder")
    assert not (tmp_path / "no").exists()
    done = obeyed("run", "--dataset", "shapes10", "--data-dir", str(tmp_path / "d"))
    assert_one_line_error(done, 2, "there is no such folder", "--dataset shapes10 --data-dir")
    assert not (tmp_path / "d").exists()
