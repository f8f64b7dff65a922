"""Images with a table of labels, as Kaggle hands them out and as people keep them."""

import numpy as np
import pytest
from PIL import Image

from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.data import dataset_title
from jaxcifar.data.user_data import load_user_data
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.image_sets import check_set_name, load_set
from jaxcifar.machine.paths import parse_table_name, require_image_path


def write_images(folder, names):
    """Write an image for each name; its grey value is its position in the list."""
    folder.mkdir(parents=True, exist_ok=True)
    for grey, name in enumerate(names):
        Image.fromarray(np.full((32, 32, 3), grey, np.uint8)).save(folder / name)


def load(name, tmp_path, lines=None):
    """Return grey value -> class name, for all splits together; and split -> grey values."""
    print_line = (lambda line: None) if lines is None else lines.append
    prepared = load_user_data(str(name), tmp_path / "data", print_line)
    names = prepared.manifest.class_names
    labels = {
        int(record[1]): names[record[0]]
        for records in prepared.records.values()
        for record in records
    }
    splits = {
        split: {int(record[1]) for record in records} for split, records in prepared.records.items()
    }
    return labels, splits


def animal(number):
    return "cat" if number % 3 else "dog"


def expected(count):
    return {number: animal(number) for number in range(count)}


def test_cifar10_as_kaggle_hands_it_out(tmp_path):
    """Test images have no labels, and the numbers of training images; the example is made up."""
    kaggle = tmp_path / "kaggle"
    write_images(kaggle / "train", [f"{i + 1}.png" for i in range(12)])
    write_images(kaggle / "test", [f"{i + 1}.png" for i in range(20)])
    rows = [f"{i + 1},{animal(i)}\n" for i in range(12)]
    (kaggle / "trainLabels.csv").write_text("id,label\n" + "".join(rows))
    examples = [f"{i + 1},{'cat' if i else 'dog'}\n" for i in range(20)]
    (kaggle / "sampleSubmission.csv").write_text("id,label\n" + "".join(examples))
    lines = []
    labels, splits = load(kaggle, tmp_path, lines)
    assert labels == expected(12)
    assert [len(splits["train"]), len(splits["test"])] == [10, 2]
    assert not splits["train"] & splits["test"]
    text = "\n".join(lines)
    assert "trainLabels.csv: labels from column label, file names from column id." in text
    assert "20 images without a label are left out (test/1.png)" in text
    assert "a sixth of each class (2 images) is kept for testing" in text
    for name in (kaggle / "train", kaggle / "trainLabels.csv", f"{kaggle}/trainLabels.csv:label"):
        assert load(name, tmp_path) == (labels, splits)


FORMS = {
    "header, commas": ("filename,label\n", ",", "{}.png"),
    "no header, semicolons": ("", ";", "{}.png"),
    "tabs, no suffix": ("image\tspecies\n", "\t", "{}"),
    "paths from the table": ("file,label\n", ",", "images/{}.png"),
    "paths of another machine": ("file,label\n", ",", r"C:\Users\me\pets\images\{}.png"),
    "byte order mark": ("\ufefffile,label\n", ",", "./images/{}.png"),
}


@pytest.mark.parametrize(("header", "delimiter", "name"), FORMS.values(), ids=FORMS)
@pytest.mark.parametrize("labels_first", [False, True])
def test_tables_are_read_as_people_write_them(tmp_path, header, delimiter, name, labels_first):
    write_images(tmp_path / "pets" / "images", [f"a{i:02}.png" for i in range(12)])
    rows = [(name.format(f"a{i:02}"), animal(i)) for i in range(12)]
    if header:
        mark = "\ufeff" if header.startswith("\ufeff") else ""
        rows.insert(0, tuple(header.strip("\ufeff\n").split(delimiter)))
    else:
        mark = ""
    ordered = [row[::-1] if labels_first else row for row in rows]
    text = mark + "".join(f"{delimiter.join(row)}\n" for row in ordered)
    (tmp_path / "pets" / "labels.csv").write_text(text, encoding="utf-8")
    assert load(tmp_path / "pets", tmp_path)[0] == expected(12)
    # The folder of the images alone finds the table beside it.
    assert load(tmp_path / "pets" / "images", tmp_path)[0] == expected(12)


def test_rows_and_images_that_are_left_out_are_counted(tmp_path):
    write_images(tmp_path / "pets", [f"{i:03}.png" for i in range(14)])
    rows = [f"{i},{animal(i)}\n" for i in range(12)]  # numbers without the zeros of the files
    rows += ["90,cat\n", "91,cat\n", "12,\n"]
    (tmp_path / "pets" / "labels.csv").write_text("id,label\n" + "".join(rows))
    lines = []
    assert load(tmp_path / "pets", tmp_path, lines)[0] == expected(12)
    text = "\n".join(lines)
    assert "labels.csv: 2 rows without an image are left out (90)." in text
    assert "labels.csv: 1 row without a label is left out (12)." in text
    assert "labels.csv: 2 images without a label are left out (012.png)." in text


def test_a_split_column_is_used(tmp_path):
    write_images(tmp_path / "pets" / "images", [f"{i}.jpg.png" for i in range(12)])
    split = ["train", "Training", "train", "validation", "val", "test"]
    rows = [f"{i}.jpg.png,{animal(i)},{split[i // 2]}\n" for i in range(12)]
    (tmp_path / "pets" / "labels.csv").write_text("file,label,split\n" + "".join(rows))
    labels, splits = load(tmp_path / "pets", tmp_path)
    assert labels == expected(12)
    assert splits == {"train": set(range(6)), "val": {6, 7, 8, 9}, "test": {10, 11}}


@pytest.mark.parametrize(("train", "test"), [("train", "test"), ("training_set", "my-test")])
def test_images_in_a_test_folder_are_not_trained_on(tmp_path, train, test):
    write_images(tmp_path / "pets" / train, [f"{i}.png" for i in range(6)])
    write_images(tmp_path / "pets" / test, [f"{i}.png" for i in range(6)])
    rows = [f"{split}/{i}.png,{animal(i)}\n" for split in (train, test) for i in range(6)]
    (tmp_path / "pets" / "labels.csv").write_text("".join(rows))
    _, splits = load(tmp_path / "pets" / "labels.csv", tmp_path)
    assert splits == {"train": set(range(6)), "test": set(range(6))}


def test_folders_with_a_split_in_their_names_beside_others_are_trained_on(tmp_path):
    for folder in ("test_tube", "beaker"):
        write_images(tmp_path / "lab" / folder, [f"{folder}{i}.png" for i in range(12)])
    rows = [f"{name}{i}.png,{animal(i)}\n" for name in ("test_tube", "beaker") for i in range(12)]
    (tmp_path / "lab" / "labels.csv").write_text("".join(rows))
    lines = []
    _, splits = load(tmp_path / "lab" / "labels.csv", tmp_path, lines)
    assert any("a sixth of each class (4 images) is kept for testing" in line for line in lines)
    assert splits["train"] | splits["test"] == set(range(12))


def test_the_table_is_part_of_the_data(tmp_path):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    table = tmp_path / "pets" / "labels.csv"

    def fingerprints():
        return load_user_data(str(tmp_path / "pets"), tmp_path / "data", str).manifest.fingerprints

    rows = [f"{i}.png,{animal(i)}\n" for i in range(12)]
    table.write_text("".join(rows))
    before = fingerprints()
    table.write_text("".join(reversed(rows)))
    assert fingerprints() == before  # the same labels
    table.write_text("".join([*rows[:-1], "11.png,dog\n"]))
    assert fingerprints() != before


def test_the_column_of_labels_can_be_named(tmp_path):
    write_images(tmp_path / "skin", [f"I{i}.png" for i in range(12)])
    rows = [f"{i // 2},I{i},{animal(i)},{'mf'[i % 2]}\n" for i in range(12)]
    table = tmp_path / "skin" / "meta.csv"
    table.write_text("lesion,image,dx,sex\n" + "".join(rows))
    with pytest.raises(RunError, match=r"may be the labels \(lesion, dx, sex\).*meta.csv:lesion"):
        load(tmp_path / "skin", tmp_path)
    assert load(f"{table}:dx", tmp_path)[0] == expected(12)
    assert set(load(f"{table}:4", tmp_path)[0].values()) == {"m", "f"}
    with pytest.raises(RunError, match=r"no column 'kind'; name one of .*: lesion, image, dx"):
        load(f"{table}:kind", tmp_path)


def test_the_column_of_files_can_be_named(tmp_path):
    """Two columns name images: "copy" the wrong ones, but more of them."""
    write_images(tmp_path / "skin", [f"I{i}.png" for i in range(12)])
    rows = [f"I{i % 11},I{(i + 1) % 12},{animal(i % 11)},{'mf'[i % 2]}\n" for i in range(12)]
    table = tmp_path / "skin" / "meta.csv"
    table.write_text("image: it,copy,dx,sex\n" + "".join(rows))
    with pytest.raises(RunError, match=r"meta\.csv:dx, or the columns .*meta\.csv:FILES:LABELS"):
        load(tmp_path / "skin", tmp_path)
    right = {i: animal(i) for i in range(11)}
    assert load(f"{table}:dx", tmp_path)[0] != right
    for columns in ("image: it:dx", "1:3", "image: it:3"):
        assert load(f"{table}:{columns}", tmp_path)[0] == right
    with pytest.raises(RunError, match=r"no column 'image: it:kind'; name one .*: image: it"):
        load(f"{table}:image: it:kind", tmp_path)
    with pytest.raises(RunError, match=r"column sex names no image of its folder .one row has 'm'"):
        load(f"{table}:sex:dx", tmp_path)


def test_a_title_with_a_colon_is_one_column(tmp_path):
    write_images(tmp_path / "skin", [f"I{i}.png" for i in range(12)])
    rows = [f"I{i},{animal(i)},{'mf'[i % 2]}\n" for i in range(12)]
    table = tmp_path / "skin" / "meta.csv"
    table.write_text("1,1:dx,dx\n" + "".join(rows))
    assert load(f"{table}:1:dx", tmp_path)[0] == expected(12)
    assert set(load(f"{table}:1:3", tmp_path)[0].values()) == {"m", "f"}


@pytest.mark.parametrize("through_link", [False, True])
def test_absolute_paths_of_files_of_the_same_name(tmp_path, through_link):
    for folder, start in (("pets", 0), ("pets/a", 4), ("pets/b/a", 8)):
        (tmp_path / folder).mkdir(parents=True, exist_ok=True)
        for i in range(4):
            image = Image.fromarray(np.full((32, 32, 3), start + i, np.uint8))
            image.save(tmp_path / folder / f"{i}.png")
    folders = ("", "a/", "b/a/")
    (tmp_path / "link").symlink_to(tmp_path / "pets")
    for root in ("pets", "link"):
        rows = [f"{tmp_path}/{root}/{folders[i // 4]}{i % 4}.png,{animal(i)}\n" for i in range(12)]
        (tmp_path / "pets" / "labels.csv").write_text("".join(rows))
        if through_link or root == "pets":
            name = "link" if through_link else "pets"
            assert load(tmp_path / name / "labels.csv", tmp_path)[0] == expected(12)


def test_a_number_beside_each_class_name_is_no_second_label(tmp_path):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    rows = [f"{i}.png,{int(animal(i) == 'cat')},{animal(i)}\n" for i in range(12)]
    (tmp_path / "pets" / "labels.csv").write_text("file,number,name\n" + "".join(rows))
    assert load(tmp_path / "pets", tmp_path)[0] == expected(12)


@pytest.mark.parametrize("classes", [2, 3])
def test_one_hot_columns_are_refused(tmp_path, classes):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    hot = [
        ",".join(str(int(i % classes == column)) for column in range(classes)) for i in range(12)
    ]
    titles = ",".join(("ant", "bee", "cat")[:classes])
    rows = [f"{i}.png,{cells}\n" for i, cells in enumerate(hot)]
    (tmp_path / "pets" / "labels.csv").write_text(f"file,{titles}\n" + "".join(rows))
    shown = titles.replace(",", ", ")
    with pytest.raises(RunError, match=rf"columns {shown} hold only 0 and 1, .*\(one-hot\); write"):
        load(tmp_path / "pets", tmp_path)
    # Beside a column of class names, they are ignored.
    rows = [f"{i}.png,{cells},{animal(i)}\n" for i, cells in enumerate(hot)]
    (tmp_path / "pets" / "labels.csv").write_text(f"file,{titles},label\n" + "".join(rows))
    assert load(tmp_path / "pets", tmp_path)[0] == expected(12)


def test_labels_that_are_numbers_are_sorted_by_value(tmp_path):
    write_images(tmp_path / "digits", [f"{i}.png" for i in range(48)])
    rows = [f"{i},{i % 12}\n" for i in range(48)]
    (tmp_path / "digits" / "labels.csv").write_text("id,label\n" + "".join(rows))
    manifest = load_user_data(f"{tmp_path}/digits/labels.csv", tmp_path / "data", str).manifest
    assert manifest.class_names == tuple(str(number) for number in range(12))


WRONG = {
    "two labels": ("0.png,cat\n" * 3 + "0.png,dog\n", "0.png has two labels, cat and dog"),
    "one class": ("0.png,cat\n1.png,cat\n", r"column 2 has 1 label of images; give images of 2"),
    "no names": ("a,cat\nb,dog\n", r"no column names images .*\(one row begins with 'b'\)"),
    "one column": ("0.png\n1.png\n", "needs two columns or more, separated by commas"),
    "ragged": ("0.png,cat\n1.png,dog,x\n", "line 2 has 3 cells, but the earlier lines have 2"),
    "unknown split": ("f,label,split\n0.png,a,one\n1.png,b,two\n", "has the value 'one'; write"),
    "empty": ("", "needs two columns or more"),
    "long line": ("x" * 70_000, "line 1 of the table has more than 65,536 characters"),
    "ugly label": ("0.png,a\x1b\n1.png,b\n", "can't be printed"),
    "no header below": ("file,label\n", "no column names images"),
}


@pytest.mark.parametrize(("text", "words"), WRONG.values(), ids=WRONG)
def test_wrong_tables_are_refused_in_one_line(tmp_path, text, words):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(4)])
    (tmp_path / "pets" / "labels.csv").write_text(text)
    with pytest.raises(RunError, match=words) as caught:
        load(tmp_path / "pets", tmp_path)
    assert "labels.csv" in str(caught.value) and "\n" not in str(caught.value)


UNUSABLE = {
    "ambiguous": (
        "".join(f"{i}.png,{'ab'[i % 2]},{'xyz'[i % 3]}\n" for i in range(6)),
        r"several columns may be the labels \(2, 3\); name the right one, such as --dataset ",
    ),
    "ragged": (
        "0.png,cat\n1.png,dog,x\n",
        "line 2 has 3 cells, but the earlier lines have 2; give each line",
    ),
    "no names": ("a,cat\nb,dog\n", r"no column names images of its folder \(one row begins with"),
}


@pytest.mark.parametrize(("text", "reason"), UNUSABLE.values(), ids=UNUSABLE)
def test_a_table_beside_the_folder_that_is_unusable_is_named(tmp_path, text, reason):
    images = tmp_path / "pets" / "images"
    write_images(images, [f"{i}.png" for i in range(6)])
    (tmp_path / "pets" / "another.csv").write_text("file,label\nzebra.png,x\nlion.png,y\n")
    (tmp_path / "pets" / "labels.csv").write_text(text)
    expected_name = "another" if reason.startswith("no column") else "labels"
    words = rf"has 6 images, .*; {expected_name}\.csv beside it can't be used: {reason}"
    with pytest.raises(RunError, match=words) as caught:
        load(images, tmp_path)
    assert "\n" not in str(caught.value)


def test_the_first_unusable_table_beside_the_folder_is_named(tmp_path):
    write_images(tmp_path / "pets" / "images", [f"{i}.png" for i in range(6)])
    for name in ("first", "second"):
        (tmp_path / "pets" / f"{name}.csv").write_text("0.png,cat\n1.png,dog,x\n")
    with pytest.raises(RunError, match=r"first\.csv beside it can't be used: line 2 has 3 cells"):
        load(tmp_path / "pets" / "images", tmp_path)


def test_files_that_are_no_tables(tmp_path, monkeypatch):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(4)])
    table = tmp_path / "pets" / "labels.csv"
    table.write_bytes(b"0.png,M\xfcller\n1.png,b\n")
    with pytest.raises(RunError, match="is not UTF-8 text; save it as UTF-8"):
        load(tmp_path / "pets", tmp_path)
    table.write_text("0.png,a\n1.png,b\n")
    with monkeypatch.context() as patch:
        patch.setattr("jaxcifar.data.label_table.MAX_TABLE_BYTES", 10)
        with pytest.raises(RunError, match="is larger than 0 MiB"):
            load(tmp_path / "pets", tmp_path)
    (tmp_path / "pets" / "more.csv").write_text("0.png,b\n1.png,a\n")
    with pytest.raises(RunError, match=r"several tables of labels \(labels.csv, more.csv\)"):
        load(tmp_path / "pets", tmp_path)
    with pytest.raises(UsageError, match="no such folder or file"):
        require_image_path(str(tmp_path / "none.csv"))


def test_an_ambiguous_file_name_is_refused(tmp_path):
    for folder in ("a", "b"):
        write_images(tmp_path / "pets" / "images" / folder, ["0.png", "1.png"])
    table = tmp_path / "pets" / "labels.csv"
    table.write_text("0.png,cat\n1.png,dog\n")
    with pytest.raises(
        RunError, match=r"such as images/a/0\.png and images/b/0\.png; write the folder"
    ):
        load(table, tmp_path)


def test_a_table_beside_class_folders_is_named_in_the_message(tmp_path):
    for name in ("cat", "dog"):
        write_images(tmp_path / "pets" / name, [f"{name}{i}.png" for i in range(6)])
    table = tmp_path / "pets" / "labels.csv"
    table.write_text("cat0.png,dog\n")
    with pytest.raises(RunError, match=f"to read labels from it, give --dataset {table}"):
        load(tmp_path / "pets", tmp_path)


def test_the_name_of_a_table_may_name_a_column(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert registry.is_path("labels.csv:dx") and registry.is_path("Labels.TSV")
    assert parse_table_name("a/labels.csv:dx: y").column == "dx: y"
    assert parse_table_name("a/labels.csv").column is None
    assert parse_table_name("digits.npz") is None
    assert dataset_title("skin/meta.csv:dx") == "skin"
    config = Config.create("cnn", dataset="skin/meta.csv:dx")
    assert config.run_name().startswith("cnn_skin_")


def test_a_run_is_evaluated_on_a_table(tmp_path):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    rows = [f"{i}.png,{animal(i)}\n" for i in range(12)]
    (tmp_path / "pets" / "labels.csv").write_text("".join(rows))
    run_classes = ("dog", "bird", "cat")
    for name in ("pets", "pets/labels.csv", "pets/labels.csv:2"):
        path = f"{tmp_path}/{name}"
        check_set_name(path)
        examples = load_set(path, None, run_classes, tmp_path, str).examples
        found = zip(examples.images[:, 0, 0, 0].tolist(), examples.labels.tolist(), strict=True)
        assert {grey: run_classes[label] for grey, label in found} == expected(12)


OTHER_COLUMNS = {"data_split": ("plate 1", "plate 2"), "split": ("train", "test")}


@pytest.mark.parametrize(("title", "others"), OTHER_COLUMNS.items(), ids=OTHER_COLUMNS)
def test_a_column_of_splits_is_used_whatever_its_title(tmp_path, title, others):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    split = ["train", "train", "train", "val", "test", "test"]
    rows = [f"{i}.png,{animal(i)},{others[i % 2]},{split[i // 2]}\n" for i in range(12)]
    table = tmp_path / "pets" / "labels.csv"
    table.write_text(f"file,label,other,{title}\n" + "".join(rows))
    lines = []
    labels, splits = load(tmp_path / "pets", tmp_path, lines)
    assert labels == expected(12)
    assert splits == {"train": set(range(6)), "val": {6, 7}, "test": {8, 9, 10, 11}}
    assert f", splits from column {title}." in "\n".join(lines)


UNCLEAR_SPLITS = {
    "unknown word": (["train", "train", "dev", "test"], "column subset has the value 'dev'; write"),
    "empty cell": (["train", "train", "", "test"], "column subset has the value ''; write"),
    "two splits": (["train", "train", "val", "test"], "0.png is in two splits, train and val"),
}


@pytest.mark.parametrize(("splits", "words"), UNCLEAR_SPLITS.values(), ids=UNCLEAR_SPLITS)
def test_test_images_are_not_trained_on_if_a_split_is_unclear(tmp_path, splits, words):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(4)])
    rows = [f"{i}.png,{'ab'[i % 2]},{split}\n" for i, split in enumerate(splits)]
    rows.append(f"0.png,a,{splits[2]}\n")
    (tmp_path / "pets" / "labels.csv").write_text("file,label,subset\n" + "".join(rows))
    with pytest.raises(RunError, match=words):
        load(tmp_path / "pets", tmp_path)


def test_a_class_named_like_a_missing_value_is_announced(tmp_path):
    write_images(tmp_path / "pets", [f"{i}.png" for i in range(12)])
    rows = [f"{i}.png,{['NA', 'cat', 'dog'][i % 3]}\n" for i in range(12)]
    (tmp_path / "pets" / "labels.csv").write_text("file,label\n" + "".join(rows))
    lines = []
    load(tmp_path / "pets", tmp_path, lines)
    assert "labels.csv: 'NA' is one of the classes; if it means" in "\n".join(lines)
