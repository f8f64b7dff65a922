"""Parquet files as Hugging Face publishes them: a user's images, and a source of CIFAR."""

import io
import json
import os
from importlib.util import find_spec

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from conftest import assert_one_line_error, obeyed
from PIL import Image
from small import entry_of

from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records, load_dataset, parquet, parquet_files
from jaxcifar.data.archive import CIFAR10_LAYOUT, CIFAR100_LAYOUT, read_archive
from jaxcifar.data.images import to_square
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import find_parquet_files
from jaxcifar.data.prepare import load_records
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.image_sets import load_set

NAMES = ["ant", "bee", "cow"]


def pixels(count, seed, shape=(32, 32, 3)):
    return np.random.RandomState(seed).randint(0, 256, (count, *shape)).astype(np.uint8)


def encoded(image, image_format="png"):
    file = io.BytesIO()
    Image.fromarray(image).save(file, image_format)
    return file.getvalue()


def image_column(images):
    rows = [{"bytes": encoded(image), "path": f"{i}.png"} for i, image in enumerate(images)]
    return pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))


def write(path, metadata=None, **columns):
    """Write a parquet file, with Hugging Face's metadata if `metadata` has class names."""
    path.parent.mkdir(parents=True, exist_ok=True)
    table = pa.table(columns)
    if metadata is not None:
        table = table.replace_schema_metadata({"huggingface": metadata})
    pq.write_table(table, path, row_group_size=20)
    return path


def features(**names):
    """Hugging Face's metadata, with the class names of columns of labels."""
    labels = {name: {"names": value, "_type": "ClassLabel"} for name, value in names.items()}
    content = {"info": {"features": {"img": {"_type": "Image"}, **labels}}}
    return json.dumps(content)


def write_cifar(folder, records, split_names=("train", "test")):
    """Write records as `uoft-cs/cifar10` has them."""
    for split, name in zip(("train", "test"), split_names, strict=True):
        images, labels = binary_records.unpack(records[split])
        order = np.random.RandomState(3).permutation(len(labels))
        write(
            folder / f"{name}-00000-of-00001.parquet",
            features(label=[f"class {i}" for i in range(10)]),
            img=image_column(images[order]),
            label=pa.array(labels[order], pa.int64()),
        )
    return folder


@pytest.fixture
def insects(tmp_path):
    """Three classes, in two training files, a test file and a validation file."""
    folder = tmp_path / "insects"
    sizes = {"train-00000-of-00002": 15, "train-00001-of-00002": 9, "test": 6, "validation": 3}
    for seed, (name, size) in enumerate(sizes.items()):
        write(
            folder / "data" / f"{name}.parquet",
            features(label=NAMES),
            image=image_column(pixels(size, seed, (40, 36, 3))),
            label=np.arange(size) % 3,
        )
    (folder / "README.md").write_text("about them")
    return folder


def load(path, tmp_path, **settings):
    config = Config.create("cnn", dataset=str(path), **settings)
    return load_dataset(config, tmp_path / "data", lambda line: None)


def assert_holds(examples, *seeds_and_sizes):
    expected = []
    for seed, size in seeds_and_sizes:
        images = pixels(size, seed, (40, 36, 3))
        resized = [to_square(Image.fromarray(image)).tobytes() for image in images]
        expected += zip((np.arange(size) % 3).tolist(), resized, strict=True)
    images = [image.tobytes() for image in examples.images]
    read = zip(examples.labels.tolist(), images, strict=True)
    assert sorted(read) == sorted(expected)


def test_a_folder_of_a_users_parquet_files(insects, tmp_path):
    for path in (insects, insects / "data"):
        dataset = load(path, tmp_path)
        assert dataset.class_names == tuple(NAMES)
        assert_holds(dataset.train, (0, 15), (1, 9))
        assert_holds(dataset.test, (2, 6))
        assert_holds(dataset.val, (3, 3))
    assert load(insects, tmp_path).name == "insects"


def test_an_unchanged_folder_is_not_read_again(insects, tmp_path, monkeypatch):
    before = load(insects, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr("jaxcifar.data.user_data.read_parquet", lambda *_: pytest.fail("read again"))
        assert load(insects, tmp_path).sha256 == before.sha256
    files = insects / "data" / "train.parquet", insects / "data" / "test.parquet"
    for file in insects.glob("data/train-*"):
        file.unlink()
    write(files[0], image=image_column(pixels(6, 0)), label=np.arange(6) % 3)
    after = load(insects, tmp_path)
    assert after.sha256 != before.sha256
    assert after.class_names == ("0", "1", "2")  # no metadata


def test_a_single_file_is_divided_into_splits(insects, tmp_path):
    file = insects / "data" / "train-00000-of-00002.parquet"
    dataset = load(file, tmp_path, val_fraction=0.25)
    assert len(dataset.test.labels) == 3  # a sixth of each class, rounded
    images = load_set(str(file), lambda: None, NAMES, tmp_path)
    assert_holds(images.examples, (0, 15))
    assert images.title == f"data/{file.name}"
    test = load_set(str(insects / "data" / "test.parquet"), lambda: None, NAMES, tmp_path)
    assert_holds(test.examples, (2, 6))  # whatever split the name of the file says


def test_files_to_evaluate_need_no_training_images_and_not_every_class(tmp_path):
    columns = {"image": image_column(pixels(4, 0)), "label": [2, 0, 2, 2]}
    for split in ("test", "validation"):
        file = tmp_path / "all" / f"{split}.parquet"
        write(file, features(label=[*NAMES, "moth"]), **columns)
    found = load_set(str(tmp_path / "all"), None, NAMES, tmp_path, print)
    assert sorted(found.examples.labels) == [0, 2, 2, 2]
    assert found.split == "test"


def test_links_as_in_the_cache_of_hugging_face_are_followed(insects, tmp_path):
    blobs, snapshot = tmp_path / "blobs", tmp_path / "snapshot"
    insects.joinpath("data").rename(blobs)
    snapshot.mkdir()
    for number, file in enumerate(sorted(blobs.iterdir())):
        blob = file.rename(blobs / f"{number:064}")
        (snapshot / file.name).symlink_to(os.path.relpath(blob, snapshot))
    assert_holds(load(snapshot, tmp_path).test, (2, 6))


def test_the_split_can_be_the_name_of_a_subfolder(tmp_path):
    for split, seed in (("train", 0), ("test", 1)):
        columns = {"image": image_column(pixels(6, seed)), "label": np.arange(6) % 3}
        write(tmp_path / "all" / split / "0000.parquet", **columns)
    dataset = load(tmp_path / "all", tmp_path, val_fraction=0.5)
    assert sorted(x.tobytes() for x in dataset.test.images) == sorted(
        x.tobytes() for x in pixels(6, 1)
    )


@pytest.mark.parametrize(
    ("train", "test"), [("training", "testing"), ("my.Training-0001", "my.TESTING_0001")]
)
def test_the_words_for_splits_are_those_of_folders(tmp_path, train, test):
    files = {name: tmp_path / "all" / f"{name}.parquet" for name in (train, test)}
    for seed, file in enumerate(files.values()):
        write(file, image=image_column(pixels(6, seed)), label=np.arange(6) % 3)
    test_images = load(tmp_path / "all", tmp_path, val_fraction=0.5).test.images
    assert sorted(x.tobytes() for x in test_images) == sorted(x.tobytes() for x in pixels(6, 1))


def test_labels_from_1_are_read(tmp_path):
    for split, seed in (("test", 1), ("train", 0)):
        columns = {"image": image_column(pixels(6, seed)), "label": np.arange(6) % 3 + 1}
        write(tmp_path / "all" / f"{split}.parquet", features(label=NAMES), **columns)
    lines = []
    splits, names = read_parquet(
        tmp_path / "all", find_parquet_files(tmp_path / "all"), print_line=lines.append
    )
    assert names == tuple(NAMES)
    assert binary_records.labels(splits["train"]).tolist() == [0, 0, 1, 1, 2, 2]
    assert lines == [
        "The labels in column label (train) and column label (test) go from 1 to 3: "
        "label 1 is class 'ant', label 3 is class 'cow'."
    ]


def test_a_cache_made_with_other_splits_is_not_used(insects, tmp_path, monkeypatch):
    with monkeypatch.context() as patch:
        for module in ("parquet_files", "user_data"):
            patch.setattr(f"jaxcifar.data.{module}.split_of_file", lambda *_: "train")
        merged = load(insects, tmp_path)
        assert len(merged.train.labels) + len(merged.val.labels) == 27  # a sixth is for testing
    assert_holds(load(insects, tmp_path).test, (2, 6))


def test_files_that_name_no_split_are_training_images_and_a_line_says_so(tmp_path):
    for seed in range(5):
        name = f"part{seed}.parquet"
        write(tmp_path / "all" / name, image=image_column(pixels(6, seed)), label=np.arange(6) % 3)
    lines = []
    path = tmp_path / "all"
    splits, _ = read_parquet(path, find_parquet_files(path), print_line=lines.append)
    assert {split: len(records) for split, records in splits.items()} == {"train": 30}
    [line] = lines
    assert line.startswith(
        "all: part0.parquet, part1.parquet, part2.parquet and 2 more are all training images;"
    )
    only = path / "part0.parquet"
    read_parquet(only, [only], print_line=lines.append)  # a single file is no surprise
    assert len(lines) == 1


def test_the_columns_of_images_and_labels_are_found(tmp_path):
    """Fine labels are the classes; strings are class names; JPEG and plain bytes are images."""
    fine, coarse = np.arange(6) % 3, np.zeros(6, int)
    images = [encoded(image, "jpeg") for image in pixels(6, 0)]
    hundred = write(
        tmp_path / "a.parquet",
        features(coarse_label=["x"], fine_label=NAMES),
        img=pa.array(images),
        fine_label=fine,
        coarse_label=coarse,
    )
    splits, names = read_parquet(hundred, [hundred])
    assert names == tuple(NAMES)
    assert sorted(binary_records.labels(splits["train"])) == sorted(fine)
    texts = write(tmp_path / "b.parquet", picture=image_column(pixels(6, 0)), kind=NAMES * 2)
    splits, names = read_parquet(texts, [texts])
    assert names == tuple(NAMES)
    read = {(int(r[0]), bytes(r[1:])) for r in splits["train"]}
    expected = binary_records.pack(pixels(6, 0), fine)
    assert read == {(int(r[0]), bytes(r[1:])) for r in expected}


ODD_METADATA = ["[" * 100_000, "{}", '{"info": {"features": {"label": 3}}}', "\0", '{"info": 1}']


@pytest.mark.parametrize("metadata", ODD_METADATA, ids=range(len(ODD_METADATA)))
def test_metadata_of_other_programs_are_ignored(tmp_path, metadata):
    file = write(
        tmp_path / "a.parquet", metadata, img=image_column(pixels(6, 0)), label=np.arange(6) % 3
    )
    assert read_parquet(file, [file])[1] == ("0", "1", "2")


def good_columns():
    return {"image": image_column(pixels(6, 0)), "label": np.arange(6) % 3}


def no_image_column(folder):
    write(folder / "a.parquet", a=[1, 2], label=[0, 1])
    return "no clear column of images .* among a, label; rename the right column to img"


def no_label_column(folder):
    write(folder / "a.parquet", image=image_column(pixels(2, 0)), p=[0.5, 1.5])
    return "no clear column of labels"


def two_label_columns(folder):
    write(folder / "a.parquet", image=image_column(pixels(2, 0)), p=[0, 1], q=[0, 1])
    return "no clear column of labels .* among image, p, q"


def only_paths(folder):
    rows = [{"bytes": None, "path": "a.png"}] * 2
    column = pa.array(rows, pa.struct({"bytes": pa.binary(), "path": pa.string()}))
    write(folder / "a.parquet", image=column, label=[0, 1])
    return "column image has rows without the bytes of an image"


def damaged_image(folder):
    write(folder / "a.parquet", image=pa.array([b"\x89PNG\r\n\x1a\n", b"no"]), label=[0, 1])
    return "an image can't be read: the file is not an image"


def hidden_labels(folder):
    columns = {"image": image_column(pixels(2, 0)), "label": [-1, -1]}
    write(folder / "train.parquet", **good_columns())
    write(folder / "test.parquet", **columns)
    return (
        r"column label \(test\) has the label -1, .*images without labels can't be used, so leave"
    )


def missing_labels(folder):
    write(folder / "a.parquet", image=image_column(pixels(2, 0)), label=pa.array([0, None]))
    return "column label has rows without a label"


def long_labels(folder):
    write(folder / "a.parquet", image=image_column(pixels(2, 0)), label=["a" * 201, "b"])
    return "column label has a label of over 200 characters"


def not_parquet(folder):
    folder.mkdir()
    (folder / "a.parquet").write_bytes(b"PAR1 and nothing else PAR1")
    return r"a\.parquet can't be read"


def cut_off(folder):
    file = write(folder / "a.parquet", **good_columns())
    content = bytearray(file.read_bytes())
    content[50:4000] = bytes(3950)
    file.write_bytes(content)
    return r"a\.parquet can't be read"


def pipe(folder):
    folder.mkdir()
    os.mkfifo(folder / "a.parquet")
    return r"a\.parquet can't be read"


def no_training(folder):
    write(folder / "test.parquet", **good_columns())
    return "no parquet file of the training images"


def two_splits_in_a_name(folder):
    write(folder / "train.parquet", **good_columns())
    write(folder / "valid.test.parquet", **good_columns())
    return r"valid\.test\.parquet names no split"


def some_without_split(folder):
    write(folder / "train.parquet", **good_columns())
    write(folder / "more.parquet", **good_columns())
    return r"more\.parquet names no split"


def two_data_sets(folder):
    write(folder / "one" / "train.parquet", **good_columns())
    write(folder / "two" / "train.parquet", **good_columns())
    return "one and two have files of the same split"


SPOILERS = [
    no_image_column, no_label_column, two_label_columns, only_paths, damaged_image, hidden_labels,
    missing_labels, long_labels, not_parquet, cut_off, pipe, no_training, some_without_split,
    two_splits_in_a_name, two_data_sets,
]  # fmt: skip


@pytest.mark.parametrize("spoil", SPOILERS, ids=lambda spoil: spoil.__name__)
def test_odd_files_are_refused_in_one_line(tmp_path, spoil):
    words = spoil(tmp_path / "odd")
    with pytest.raises(RunError, match=words) as caught:
        load(tmp_path / "odd", tmp_path)
    assert "\n" not in str(caught.value)


def test_files_that_are_too_large_are_refused(insects, tmp_path, monkeypatch):
    def refused(name, value, module=parquet):
        with monkeypatch.context() as patch:
            patch.setattr(module, name, value)
            with pytest.raises(RunError) as caught:
                load(insects, tmp_path)
        return str(caught.value)

    assert "has more than 14 images" in refused("MAX_IMAGES", 14)
    assert "has more than 3 parquet files" in refused("_MAX_FILES", 3, parquet_files)
    assert "unpacks to" in refused("_MAX_UNPACKED_BYTES", 1000)
    assert "an image has more than 0 MiB" in refused("_MAX_IMAGE_BYTES", 1000)
    with monkeypatch.context() as patch:
        patch.setattr(parquet, "_ALWAYS_PLAUSIBLE_BYTES", 0)
        patch.setattr(parquet, "_MAX_UNPACKING_RATIO", 0.1)
        with pytest.raises(RunError, match="unlike images"):
            load(insects, tmp_path)


def test_without_pyarrow_a_line_says_how_to_install_it(insects, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow.parquet", None)
    with pytest.raises(RunError, match="parquet files need pyarrow; pip install pyarrow"):
        read_parquet(insects, find_parquet_files(insects))
    assert find_spec("pyarrow")  # it is installed with TFDS


def test_a_folder_of_images_has_no_parquet_files(tmp_path):
    for name in ("train/cat/a.png", "train/dog/b.png"):
        file = tmp_path / "pets" / name
        file.parent.mkdir(parents=True)
        file.write_bytes(encoded(pixels(1, 0)[0]))
    assert find_parquet_files(tmp_path / "pets") == []
    assert find_parquet_files(tmp_path / "nowhere") == []


@pytest.mark.parametrize("file", ["x.parquet", "more/x.parquet"])
@pytest.mark.parametrize("classes", [("cat", "dog"), ("train/cat", "train/dog", "test/cat")])
def test_class_folders_beside_a_parquet_file_are_refused(tmp_path, classes, file):
    for name in classes:
        image = tmp_path / "pets" / name / "a.png"
        image.parent.mkdir(parents=True)
        image.write_bytes(encoded(pixels(1, 0)[0]))
    write(tmp_path / "pets" / file, **good_columns())
    words = rf"holds class folders \(.*\) and parquet files \({file}\); give .*pets/{file}, or move"
    with pytest.raises(RunError, match=words):
        load(tmp_path / "pets", tmp_path)
    with pytest.raises(RunError, match=words):
        load_set(str(tmp_path / "pets"), None, NAMES, tmp_path)
    assert load_set(str(tmp_path / "pets" / file), None, ("0", "1", "2"), tmp_path).examples


def test_pictures_of_a_readme_beside_parquet_files(insects, tmp_path):
    (insects / "assets").mkdir()
    for name in ("logo.png", "assets/a.png", "assets/b.png"):
        (insects / name).write_bytes(encoded(pixels(1, 0)[0]))
    assert_holds(load(insects, tmp_path).test, (2, 6))


def test_cifar10_is_read_from_hugging_faces_files(tmp_path, tiny_records, tiny_entry):
    folder = write_cifar(tmp_path / "cifar10" / "plain_text", tiny_records)
    for path in (folder, folder.parent):
        read = read_archive(path, CIFAR10_LAYOUT)
        for split, expected in tiny_records.items():
            np.testing.assert_array_equal(binary_records.sort(read[split]), expected)
    prepared = load_records(tiny_entry, tmp_path / "data", folder, lambda line: None)
    for split, expected in tiny_records.items():
        np.testing.assert_array_equal(prepared[split], expected)


def test_other_parquet_files_are_not_cifar10(tmp_path, tiny_records, tiny_entry, insects):
    folder = write_cifar(tmp_path / "hf", tiny_records)
    with pytest.raises(RunError, match="give the folder that has both"):
        read_archive(folder / "train-00000-of-00001.parquet", CIFAR10_LAYOUT)
    with pytest.raises(RunError, match="give the folder that has both"):  # a validation split
        read_archive(insects, CIFAR10_LAYOUT)
    other = {**tiny_records, "test": tiny_records["test"][::-1].copy()}
    other["test"][:, 5] ^= 1
    with pytest.raises(RunError, match=r"the test split \(20 images\) is not that of CIFAR-10"):
        load_records(
            entry_of(tiny_records),
            tmp_path / "data",
            write_cifar(tmp_path / "other", other),
            lambda line: None,
        )


def test_cifar100_has_fine_labels(tmp_path):
    labels = np.repeat(np.arange(100), 2)
    images = pixels(200, 0)
    for split in ("train", "test"):
        write(
            tmp_path / "hf" / f"{split}-00000-of-00001.parquet",
            features(fine_label=[f"fine {i}" for i in range(100)], coarse_label=["a", "b"]),
            img=image_column(images),
            fine_label=labels,
            coarse_label=labels % 2,
        )
    read = read_archive(tmp_path / "hf", CIFAR100_LAYOUT)
    np.testing.assert_array_equal(
        read["train"], binary_records.sort(binary_records.pack(images, labels))
    )


def test_the_commands_refuse_missing_files_in_one_line(tmp_path):
    missing = obeyed("prepare", "--dataset", "no.parquet", "--data-dir", str(tmp_path))
    assert_one_line_error(missing, 2, "no such folder or file", "or parquet files")
    with pytest.raises(UsageError, match="no such folder or file"):
        load(tmp_path / "no.parquet", tmp_path)
