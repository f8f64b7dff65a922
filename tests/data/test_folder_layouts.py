"""Folders of images as people keep them: splits, wrappers, links, and names from a Mac."""

import shutil
import unicodedata

import numpy as np
import pytest
from PIL import Image

from jaxcifar.data.folder_listing import FolderListing
from jaxcifar.data.user_data import load_user_data
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.image_sets import load_set

NFC, NFD = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def write_images(folder, count, grey):
    """Write images of one shade of grey each, from `grey` on, so that a pixel tells the image."""
    folder.mkdir(parents=True, exist_ok=True)
    for number in range(count):
        image = np.full((32, 32, 3), grey + number, np.uint8)
        Image.fromarray(image).save(folder / f"{number:02}.png")


def load(path, tmp_path, lines=None):
    """Return split -> sorted pairs of label and grey value; and the class names."""
    print_line = (lambda line: None) if lines is None else lines.append
    prepared = load_user_data(str(path), tmp_path / "data", print_line)
    pairs = {
        split: sorted((int(record[0]), int(record[1])) for record in records)
        for split, records in prepared.records.items()
    }
    return pairs, prepared.manifest.class_names


def pairs(label, count, grey):
    return [(label, grey + number) for number in range(count)]


@pytest.mark.parametrize(
    ("train", "val", "test"),
    [
        ("train", "val", "test"),
        ("Training", "Validation", "Testing"),
        ("TRAIN", "valid", "Test"),
        ("training_set", "validation_set", "test_set"),
        ("train", "my.valid", "Test-Set"),
        ("seg_train/seg_train", "seg_val/seg_val", "seg_test/seg_test"),
    ],
)
def test_the_names_of_the_splits(tmp_path, train, val, test):
    for split, count, grey in ((train, 6, 0), (val, 2, 50), (test, 3, 100)):
        write_images(tmp_path / "pets" / split / "cat", count, grey)
        write_images(tmp_path / "pets" / split / "dog", count, grey + 20)
    found, class_names = load(tmp_path / "pets", tmp_path)
    assert class_names == ("cat", "dog")
    assert found == {
        "train": pairs(0, 6, 0) + pairs(1, 6, 20),
        "val": pairs(0, 2, 50) + pairs(1, 2, 70),
        "test": pairs(0, 3, 100) + pairs(1, 3, 120),
    }
    assert load(tmp_path / "pets", tmp_path)[0] == found  # from the cache


@pytest.mark.parametrize("name", ["test_tube", "bullet-train", "x.val"])
def test_a_class_may_have_a_split_in_its_name(tmp_path, name):
    write_images(tmp_path / "lab" / name, 6, 0)
    write_images(tmp_path / "lab" / "beaker" / "small", 6, 20)
    assert load(tmp_path / "lab", tmp_path)[1] == tuple(sorted(("beaker", name)))
    write_images(tmp_path / "lab" / name / "tall", 6, 40)  # folders in it change nothing
    assert load(tmp_path / "lab", tmp_path)[1] == tuple(sorted(("beaker", name)))


def test_classes_with_different_splits_in_their_names(tmp_path):
    for grey, name in enumerate(("bullet_train", "crash_test", "car")):
        write_images(tmp_path / "things" / name, 6, 20 * grey)
    write_images(tmp_path / "things" / "bullet_train" / "japan", 6, 100)
    assert load(tmp_path / "things", tmp_path)[1] == ("bullet_train", "car", "crash_test")


def test_folders_of_the_same_names_inside_classes(tmp_path):
    for name in ("cat", "dog"):  # one folder in each, or a class without: no splits
        write_images(tmp_path / "one" / name / "images", 6, 0)
        write_images(tmp_path / "three" / name / "a", 6, 0)
        write_images(tmp_path / "three" / name / "b", 6, 0)
    write_images(tmp_path / "three" / "fox", 6, 0)
    assert load(tmp_path / "one", tmp_path)[1] == ("cat", "dog")
    assert load(tmp_path / "three", tmp_path)[1] == ("cat", "dog", "fox")
    # Within a folder called "train", these are classes.
    shutil.copytree(tmp_path / "three", tmp_path / "named" / "train")
    shutil.rmtree(tmp_path / "named" / "train" / "fox")
    assert load(tmp_path / "named", tmp_path)[1] == ("cat", "dog")


def test_without_test_images_a_sixth_of_the_training_images_is_kept(tmp_path):
    """The layout of many tutorials: train and val. The validation images stay as they are."""
    for split, grey in (("train", 0), ("val", 100)):
        write_images(tmp_path / "insects" / split / "ant", 12, grey)
        write_images(tmp_path / "insects" / split / "bee", 12, grey + 50)
    lines = []
    found, _ = load(tmp_path / "insects", tmp_path, lines)
    assert found["val"] == pairs(0, 12, 100) + pairs(1, 12, 150)
    assert sorted(found["train"] + found["test"]) == pairs(0, 12, 0) + pairs(1, 12, 50)
    assert [label for label, _ in found["test"]] == [0, 0, 1, 1]
    assert any("no test images; a sixth of each class" in line for line in lines)


def test_folders_around_and_inside_class_folders(tmp_path):
    inner = tmp_path / "download" / "archive" / "pets"
    write_images(inner / "train" / "images" / "cat" / "persian", 3, 0)
    write_images(inner / "train" / "images" / "cat" / "more" / "siamese", 3, 10)
    write_images(inner / "train" / "images" / "dog", 3, 20)
    write_images(inner / "test" / "cat", 2, 100)
    write_images(inner / "test" / "dog" / "2024", 2, 120)
    found, class_names = load(tmp_path / "download", tmp_path)
    assert class_names == ("cat", "dog")
    assert found["train"] == pairs(0, 3, 0) + pairs(0, 3, 10) + pairs(1, 3, 20)
    assert found["test"] == pairs(0, 2, 100) + pairs(1, 2, 120)


def test_links_to_class_folders_are_followed(tmp_path):
    write_images(tmp_path / "elsewhere" / "cats", 6, 0)
    write_images(tmp_path / "pets" / "dog", 6, 20)
    (tmp_path / "pets" / "cat").symlink_to(tmp_path / "elsewhere" / "cats")
    found, _ = load(tmp_path / "pets", tmp_path)
    assert sorted(found["train"] + found["test"]) == pairs(0, 6, 0) + pairs(1, 6, 20)


@pytest.mark.parametrize("target", [".", "..", "../..", "../../.."])
def test_a_link_to_a_folder_around_it_is_refused(tmp_path, target):
    write_images(tmp_path / "pets" / "cat", 6, 0)
    write_images(tmp_path / "pets" / "dog", 6, 20)
    (tmp_path / "pets" / "cat" / "loop").symlink_to(target)
    with pytest.raises(RunError, match="cat/loop is a link to a folder that contains it"):
        load(tmp_path / "pets", tmp_path)


def test_links_that_lead_to_each_other_end(tmp_path):
    one, two = tmp_path / "one", tmp_path / "two"
    write_images(one, 1, 0)
    write_images(two, 1, 5)
    (one / "to-two").symlink_to(two)
    (two / "to-one").symlink_to(one)
    listing = FolderListing(one)
    found = listing.files_below(listing.root_folder)
    assert [file.relative_path for file in found] == ["00.png", "to-two/00.png"]
    assert listing.problems == ["to-two/to-one is a link to a folder that contains it"]


def test_folders_are_bounded(tmp_path, monkeypatch):
    write_images(tmp_path / "pets" / "cat" / "/".join("abcdef"), 6, 0)
    write_images(tmp_path / "pets" / "dog", 6, 20)
    with monkeypatch.context() as patch:
        patch.setattr("jaxcifar.data.folder_listing._MAX_DEPTH", 5)
        with pytest.raises(RunError, match="cat/a/b/c/d/e lies more than 5 folders deep"):
            load(tmp_path / "pets", tmp_path)
    monkeypatch.setattr("jaxcifar.data.folder_listing._MAX_FOLDERS", 6)
    with pytest.raises(RunError, match="more than 6 folders"):
        load(tmp_path / "pets", tmp_path)


def two_training_folders(pets):
    shutil.copytree(pets / "train", pets / "Training")
    return "Training and train both look like the train folder; keep one"


def splits_in_classes(pets):
    write_images(pets / "train" / "cat" / "train", 1, 0)
    write_images(pets / "train" / "cat" / "val", 1, 0)
    return "train/cat is divided into train and test itself"


def splits_by_other_names(pets):
    (pets / "train").rename(pets / "learn")
    (pets / "test").rename(pets / "check")
    return (
        "check and learn both hold the folders cat, dog: they look like splits; "
        "rename them to train and test"
    )


def five_folds(pets):
    (pets / "train").rename(pets / "fold1")
    (pets / "test").rename(pets / "fold2")
    for fold in (3, 4, 5):
        shutil.copytree(pets / "fold1", pets / f"fold{fold}")
    return r"fold1 and fold2 \(and 3 other folders\) both hold the folders cat, dog"


def flat_test_images(pets):
    (pets / "train").rename(pets / "train_set")
    shutil.rmtree(pets / "test")
    write_images(pets / "test_set", 2, 0)
    return "test_set/00.png is not in the folder of a class"


def more_than_splits(pets):
    for split in ("train", "test"):
        (pets / split).rename(pets / f"{split}_set")
    write_images(pets / "single_prediction", 2, 0)
    return "single_prediction is an extra folder beside train and test"


def splits_in_all_classes(pets):
    for split in ("train", "test"):
        shutil.rmtree(pets / split)
        for name in ("cat", "dog"):
            write_images(pets / name / f"{split}_set", 3, 0)
    return "cat is divided into train and test itself"


def empty_val(pets):
    (pets / "val" / "cat").mkdir(parents=True)
    return "val holds no images"


def only_images(pets):
    for name in ("train", "test"):
        shutil.rmtree(pets / name)
    write_images(pets, 5, 0)
    return r"no folder for each class, .* it has 5 images, no folder and no table: move the images"


def one_class(pets):
    for name in ("train", "test"):
        shutil.rmtree(pets / name)
    write_images(pets / "cats", 5, 0)
    return "it has one class, cats, with 5 images: move"


def one_class_to_train_on(pets):
    for split in ("train", "test"):
        shutil.rmtree(pets / split / "dog")
    return "it has one class, train/cat, with 3 images: move"


@pytest.mark.parametrize(
    "spoil",
    [
        two_training_folders,
        splits_in_classes,
        splits_by_other_names,
        five_folds,
        flat_test_images,
        more_than_splits,
        splits_in_all_classes,
        empty_val,
        only_images,
        one_class,
        one_class_to_train_on,
    ],
    ids=lambda spoil: spoil.__name__,
)
def test_unclear_folders_are_refused_in_one_line(tmp_path, spoil):
    for split in ("train", "test"):
        write_images(tmp_path / "pets" / split / "cat", 3, 0)
        write_images(tmp_path / "pets" / split / "dog", 3, 20)
    words = spoil(tmp_path / "pets")
    with pytest.raises(RunError, match=words) as caught:
        load(tmp_path / "pets", tmp_path)
    assert "\n" not in str(caught.value)


def test_names_from_a_mac_are_the_same_classes(tmp_path):
    """macOS may write an accent as a character of its own (NFD), Linux writes one letter (NFC)."""
    assert NFC != NFD
    for split, name in (("train", NFD), ("test", NFC)):
        write_images(tmp_path / "shops" / split / name, 3, 0)
        write_images(tmp_path / "shops" / split / "zoo", 3, 20)
    found, class_names = load(tmp_path / "shops", tmp_path)
    assert class_names == (NFC, "zoo")
    assert found["train"] == found["test"] == pairs(0, 3, 0) + pairs(1, 3, 20)
    # A run whose class names are in the other form is evaluated on the same folder.
    of_run = ("zoo", NFD)
    examples = load_set(str(tmp_path / "shops"), None, of_run, tmp_path, print).examples
    assert sorted(zip(examples.labels, examples.images[:, 0, 0, 0], strict=True)) == [
        *pairs(0, 3, 20), *pairs(1, 3, 0),
    ]  # fmt: skip
    with pytest.raises(UsageError, match="is not a class of the run"):
        load_set(str(tmp_path / "shops"), None, ("cafe", "zoo"), tmp_path, print)


def test_two_forms_of_one_name_are_refused(tmp_path):
    for name in (NFC, NFD, "zoo"):
        write_images(tmp_path / "shops" / name, 3, 0)
    if len(list((tmp_path / "shops").iterdir())) < 3:
        pytest.skip("this file system takes the two forms for one name")
    with pytest.raises(RunError, match=r"caf\\xe9.* the same name, café, in two forms of Unicode"):
        load(tmp_path / "shops", tmp_path)
