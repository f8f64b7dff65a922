"""Published sets of corrupted images, such as CIFAR-10-C: small files of the same form."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxcifar.commands import evaluate as evaluate_command
from jaxcifar.data.catalog import CIFAR10
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.corruption_sets import (
    evaluate_corruption_set,
    open_corruption_set,
    with_corruption_errors,
)
from jaxcifar.evaluation.image_sets import (
    EXTRA_CORRUPTIONS,
    STANDARD_CORRUPTIONS,
    is_corruption_set,
    load_set,
    uses_test_images,
)
from jaxcifar.runs.weights import read_weights, write_weights
from jaxcifar.trained.load import SHIPPED_WEIGHTS, load

DATE = "2026-01-02T03:04:05+00:00"
NAMES = CIFAR10.class_names
COUNT = 12  # images of each strength
RNG = np.random.RandomState(0)
LABELS = np.tile(np.arange(COUNT) % 10, 5)


def write_set(folder, kinds, count=5 * COUNT, labels=LABELS):
    """Write grey images, whose first pixel tells a network its answer."""
    folder.mkdir(parents=True)
    np.save(folder / "labels.npy", labels)
    for number, kind in enumerate(kinds):
        images = np.full((count, 32, 32, 3), number, np.uint8)
        answers = np.random.RandomState(number).randint(0, 10, count)
        right = np.random.RandomState(50 + number).rand(count) < 0.6
        images[:, 0, 0, 0] = np.where(right, np.resize(labels, count), answers)
        np.save(folder / f"{kind}.npy", images)
    return str(folder)


def by_first_pixel(images):
    return np.eye(10, dtype=np.float32)[images[:, 0, 0, 0]]


def always_cat(images):
    return np.tile(np.eye(10, dtype=np.float32)[3], (len(images), 1))


def evaluated(predict, path, most=None):
    corrupted = open_corruption_set(path, NAMES, most, lambda line: None)
    return evaluate_corruption_set(predict, corrupted, DATE)


def test_accuracy_by_kind_and_strength_is_that_of_the_files(tmp_path):
    path = write_set(tmp_path / "CIFAR-10-C", [*STANDARD_CORRUPTIONS, *EXTRA_CORRUPTIONS])
    found = evaluated(by_first_pixel, path)
    assert (found["title"], found["images"]) == ("CIFAR-10-C", COUNT)
    assert list(found["accuracy"]) == [*STANDARD_CORRUPTIONS, *EXTRA_CORRUPTIONS]
    expected = {}
    for kind, values in found["accuracy"].items():
        right = np.load(tmp_path / "CIFAR-10-C" / f"{kind}.npy")[:, 0, 0, 0] == LABELS
        expected[kind] = [right[COUNT * s : COUNT * (s + 1)].mean() for s in range(5)]
        assert values == pytest.approx(expected[kind])
    assert len(set(map(tuple, expected.values()))) > 10  # kinds and strengths differ
    assert found["mean"] == pytest.approx(
        np.mean([expected[kind] for kind in STANDARD_CORRUPTIONS])
    )
    assert found["mean"] != pytest.approx(np.mean(list(expected.values())))


def test_corruption_errors_follow_the_paper(tmp_path):
    path = write_set(tmp_path / "C", ["fog", "snow", "spatter"])
    found, base = evaluated(by_first_pixel, path), evaluated(always_cat, path)
    related = with_corruption_errors(found, base, "cat")
    expected = {}
    for kind in ("fog", "snow", "spatter"):
        pixels = np.load(tmp_path / "C" / f"{kind}.npy")[:, 0, 0, 0]
        expected[kind] = (pixels != LABELS).sum() / (LABELS != 3).sum()
    assert related["corruption_error"] == pytest.approx(expected)
    assert related["mean_corruption_error"] == pytest.approx(
        (expected["fog"] + expected["snow"]) / 2
    )
    assert with_corruption_errors(base, base, "cat")["mean_corruption_error"] == pytest.approx(1)
    perfect = {**base, "accuracy": {kind: [1.0] * 5 for kind in base["accuracy"]}}
    with pytest.raises(RunError, match="--base x: classifies all images of snow correctly"):
        with_corruption_errors(found, perfect, "x")


def test_labels_number_the_classes_of_the_published_set(tmp_path):
    path = write_set(tmp_path / "CIFAR-10-C", ["fog"])
    turned = NAMES[::-1]
    of_run = open_corruption_set(path, turned, None, lambda line: None).labels
    assert [turned[label] for label in of_run] == [NAMES[label] for label in LABELS]
    words = (
        "the set and the run have different classes: airplane, automobile, bird, cat, deer and 5 "
        "more are not classes of the run, which has a, b, c, d, e and 5 more; choose another set"
    )
    with pytest.raises(UsageError, match=words):
        open_corruption_set(path, tuple("abcdefghij"), None, lambda line: None)
    mine = write_set(tmp_path / "mine", ["fog"])  # not of CIFAR-10
    labels = open_corruption_set(mine, tuple("abcdefghij"), None, lambda line: None).labels
    np.testing.assert_array_equal(labels, LABELS)


def test_some_images_of_each_strength_and_lines_on_other_files(tmp_path):
    path = write_set(tmp_path / "C", ["fog", "my_noise"], 200, np.arange(200) % 10)
    lines = []
    corrupted = open_corruption_set(path, NAMES, 10, lines.append)
    for level in range(1, 6):
        images, labels = corrupted.examples("fog", level)
        assert sorted(labels) == list(range(10))
        of_level = np.load(tmp_path / "C" / "fog.npy")[40 * (level - 1) : 40 * level]
        assert {image.tobytes() for image in images} <= {image.tobytes() for image in of_level}
    assert "1 other file ignored (my_noise.npy)" in lines[0]
    assert "14 of the 15 standard corruptions are missing (gaussian_noise)" in lines[1]


@pytest.mark.parametrize(
    ("name", "array", "reason"),
    [
        ("fog", np.zeros((58, 32, 32, 3), np.uint8), "equally many for each of 5 strengths"),
        ("fog", np.zeros((55, 32, 32, 3), np.uint8), "has 60 labels, but fog.npy has 55"),
        ("fog", np.zeros((60, 32, 32, 3)), r"C/fog.npy has float64 pixels"),
        ("fog", np.zeros((60, 4, 32, 32), np.uint8), r"shape \(12, 4, 32, 32\); give"),
        ("fog", np.array(["x"], object), "pickled objects are not read"),
        ("fog", np.uint8(1), "no rows"),
        ("labels", LABELS + 1, "has the label 10, but the 10 classes have the labels 0 to 9"),
        ("labels", LABELS - 1, "has the label -1"),
        ("labels", LABELS * 1.0, r"is not integer of shape \[N\]"),
    ],
)
def test_files_of_another_form_are_refused(name, array, reason, tmp_path):
    path = write_set(tmp_path / "C", ["fog"])
    np.save(tmp_path / "C" / f"{name}.npy", array, allow_pickle=True)
    with pytest.raises((RunError, UsageError), match=reason) as error:
        evaluated(by_first_pixel, path)
    assert "\n" not in str(error.value)


def test_a_file_that_ends_too_soon_is_refused(tmp_path):
    path = write_set(tmp_path / "C", ["fog"])
    content = (tmp_path / "C" / "fog.npy").read_bytes()
    (tmp_path / "C" / "fog.npy").write_bytes(content[:-1])
    with pytest.raises(RunError, match=r"fog\.npy: is damaged \(the array ends too soon\)"):
        evaluated(by_first_pixel, path)


def test_folders_of_one_name_in_two_places_are_two_sets(tmp_path):
    """But CIFAR-10-C is the same set everywhere."""
    titles = []
    for name in ("noisy", "CIFAR-10-C"):
        for lab in ("lab1", "lab2"):
            path = write_set(tmp_path / lab / name, ["fog"])
            titles.append(open_corruption_set(path, NAMES, None, lambda line: None).title)
    assert titles == ["lab1/noisy", "lab2/noisy", "CIFAR-10-C", "CIFAR-10-C"]


def test_a_folder_without_corruptions_says_how_to_give_one_file(tmp_path):
    path = write_set(tmp_path / "C", ["mine"])
    with pytest.raises(UsageError, match=r"named after a corruption.*--on .*C/mine\.npy"):
        open_corruption_set(path, NAMES, None, lambda line: None)


def test_an_array_with_labels_beside_it_is_a_set_of_images(tmp_path):
    write_set(tmp_path / "C", ["mine", "fog"])
    grey = RNG.randint(0, 256, (60, 28, 28)).astype(np.uint8)
    np.save(tmp_path / "C" / "mine.npy", grey)
    found = load_set(str(tmp_path / "C" / "mine.npy"), None, NAMES, tmp_path, print)
    assert (found.name, found.title) == ("own:C/mine", "C/mine")
    np.testing.assert_array_equal(found.examples.labels, LABELS)
    resized = Image.fromarray(grey[7]).resize((32, 32), Image.Resampling.BICUBIC)
    np.testing.assert_array_equal(found.examples.images[7], np.stack([resized] * 3, -1))
    assert uses_test_images(str(tmp_path / "C" / "fog.npy"))
    assert not uses_test_images(str(tmp_path / "C" / "mine.npy"))
    (tmp_path / "C" / "labels.npy").unlink()
    assert not is_corruption_set(str(tmp_path / "C"))
    with pytest.raises(RunError, match=r"labels\.npy: No such file"):
        load_set(str(tmp_path / "C" / "mine.npy"), None, NAMES, tmp_path, print)


def test_the_command_shows_and_writes_what_it_finds(tmp_path, capsys, monkeypatch):
    monkeypatch.setenv("COLUMNS", "160")
    path = write_set(tmp_path / "CIFAR-10-C", ["fog", "snow", "spatter"])
    weights = tmp_path / "net.safetensors"
    shutil.copy(SHIPPED_WEIGHTS, weights)
    figures = tmp_path / "figures.json"
    evaluate_command.main(
        [str(weights), "--on", path, "--base", str(SHIPPED_WEIGHTS), "--json", str(figures),
         "--out", str(tmp_path / "out")]
    )  # fmt: skip
    [run] = json.loads(figures.read_text())["runs"]
    found = run["corruption_sets"]["CIFAR-10-C"]
    assert found["mean_corruption_error"] == pytest.approx(1)  # the base is the same network
    lines = [line.split() for line in capsys.readouterr().out.splitlines()]
    for name, kind in (("fog", ["fog"]), ("spatter", ["spatter", "(extra)"])):
        values = found["accuracy"][name]
        cells = [f"{value:.2%}" for value in (*values, np.mean(values))]
        assert [*kind, *cells, "100.0%"] in lines
    means = np.mean([found["accuracy"]["fog"], found["accuracy"]["snow"]], axis=0)
    cells = [f"{value:.2%}" for value in (*means, found["mean"])]
    assert ["mean", "of", "2", *cells, "100.0%"] in lines
    Image.open(tmp_path / "out" / "corruptions-CIFAR-10-C.png").verify()
    for words, reason in (
        ([str(weights), "--base", str(SHIPPED_WEIGHTS)], "--base: is for --on FOLDER"),
        ([str(weights), "--on", path, "--base", str(tmp_path)], "no run here"),
        ([str(weights), "--on", path, path + "/../CIFAR-10-C"], "two sets have the same name"),
    ):
        with pytest.raises(UsageError, match=reason):
            evaluate_command.main(words)


def test_the_run_and_its_base_are_not_confused_if_their_short_names_are_equal(
    tmp_path, capsys, monkeypatch
):
    """The base is the shipped network with two classes exchanged, so its accuracy is different."""
    path = write_set(tmp_path / "CIFAR-10-C", ["fog"])
    arrays, card = read_weights(SHIPPED_WEIGHTS)
    exchanged = [1, 0, *range(2, 10)]
    swapped = {
        name: array[..., exchanged] if array.shape[-1:] == (10,) else array
        for name, array in arrays.items()
    }
    weights, base = (tmp_path / study / "cnn" / "net.safetensors" for study in ("other", "here"))
    for file in (weights, base):
        file.parent.mkdir(parents=True)
    shutil.copy(SHIPPED_WEIGHTS, weights)
    write_weights(base, swapped, card)
    images = np.random.RandomState(2).randint(0, 256, (5 * COUNT, 32, 32, 3)).astype(np.uint8)
    answers = load(SHIPPED_WEIGHTS).logits(images).argmax(-1)
    labels = np.where(np.arange(5 * COUNT) % 4 == 0, (answers + 2) % 10, answers)
    np.save(tmp_path / "CIFAR-10-C" / "fog.npy", images)
    np.save(tmp_path / "CIFAR-10-C" / "labels.npy", labels)
    monkeypatch.chdir(base.parents[1])
    words = [str(weights), "--on", path, "--base", "cnn/net.safetensors", "--json", "all.json"]
    evaluate_command.main(words)
    [run] = json.loads(Path("all.json").read_text())["runs"]
    found = run["corruption_sets"]["CIFAR-10-C"]
    assert run["run"] == found["base"] == "cnn/net.safetensors"  # the short names are equal
    answers_of_base = load(base).logits(images).argmax(-1)
    assert (answers_of_base != answers).any()
    assert found["mean"] == pytest.approx((answers == labels).mean()) == pytest.approx(0.75)
    expected = (answers != labels).sum() / (answers_of_base != labels).sum()
    assert found["mean_corruption_error"] == pytest.approx(expected)
