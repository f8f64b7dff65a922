"""The likeliest label errors of training images, and the files that hold them."""

import dataclasses
import io
from argparse import Namespace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from rich.console import Console

from jaxcifar.commands.shared import evaluated_runs
from jaxcifar.commands.shared.evaluated import show_evaluations
from jaxcifar.commands.shared.evaluated_files import add_image_sources
from jaxcifar.commands.shared.evaluated_runs import LoadedRun
from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples
from jaxcifar.data.decode import find_file_names
from jaxcifar.data.image_folder import scan_images
from jaxcifar.evaluation.image_sets import ImageSet, load_set, uses_test_images
from jaxcifar.evaluation.label_errors import likely_label_errors
from jaxcifar.evaluation.measure import evaluate_set, evaluate_sets
from jaxcifar.runs.image_sheets import plot_label_errors

NAMES = ("a", "b", "c")
DATE = "2026-01-02T03:04:05+00:00"
RNG = np.random.RandomState(0)
IMAGES = RNG.randint(0, 256, (60, 32, 32, 3)).astype(np.uint8)
LABELS = RNG.randint(0, 3, 60).astype(np.int32)
LOGITS = (3 * RNG.randn(60, 3)).astype(np.float32)


def answers(images):
    """The logits of each image that is one of IMAGES, in any order."""
    places = [np.flatnonzero((image == IMAGES).all((1, 2, 3))) for image in images]
    return np.concatenate([LOGITS[place] if len(place) else np.zeros((1, 3)) for place in places])


def expected():
    """(index, probability of the label, answer, its probability) of each, the likeliest first."""
    odds = np.exp(np.float64(LOGITS)) / np.exp(np.float64(LOGITS)).sum(1, keepdims=True)
    found = [
        (odds[i, LABELS[i]], i, odds[i].argmax(), odds[i].max())
        for i in range(60)
        if odds[i].argmax() != LABELS[i]
    ]
    return [(i, own, answer, best) for own, i, answer, best in sorted(found)][:20]


def test_the_labels_with_the_lowest_probability_come_first():
    found = likely_label_errors(LOGITS, Examples(IMAGES, LABELS))
    assert len(found["index"]) == 20 < (LOGITS.argmax(1) != LABELS).sum()
    index, own, answer, best = (np.asarray(column) for column in zip(*expected(), strict=True))
    np.testing.assert_array_equal(found["index"], index)
    np.testing.assert_array_equal(found["label"], LABELS[index])
    np.testing.assert_array_equal(found["predicted"], answer)
    np.testing.assert_allclose(found["label_probability"], own, rtol=1e-5)
    np.testing.assert_allclose(found["confidence"], best, rtol=1e-5)
    np.testing.assert_array_equal(found["image"], IMAGES[index])


def test_logits_far_apart_are_put_in_order_too():
    """Of probabilities that float32 rounds to 0."""
    logits = np.asarray([[900, 0, 0], [2000, 0, 0], [1500, 0, 0]], np.float32)
    labels = np.ones(3, np.int32)
    found = likely_label_errors(logits, Examples(IMAGES[:3], labels))
    assert found["index"].tolist() == [1, 2, 0]


def lines_of(evaluation):
    console = Console(width=200, record=True, file=io.StringIO())
    show_evaluations(console, {"run": evaluation}, {})
    return console.export_text().splitlines()


def test_they_are_listed_for_training_images_only(tmp_path):
    examples = Examples(IMAGES, LABELS)
    sets = [ImageSet(name, f"zoo, {name}", examples) for name in ("train", "val")]
    found = evaluate_sets(
        answers, sets, predictors_with_mistakes={}, class_names=NAMES, val=None, date=DATE
    )
    assert "label_errors" not in found.evaluation["sets"]["val"]
    assert found.results["val"].label_errors is None
    listed = found.evaluation["sets"]["train"]["label_errors"]
    index, own, answer, best = expected()[0]
    assert listed[0]["index"] == index
    listed[1]["file"] = "b/17.png"
    lines = lines_of(found.evaluation)
    start = lines.index("run, zoo, train: labels most likely to be wrong")
    assert lines[start + 1] == (
        f"  image {index} is labelled {NAMES[LABELS[index]]} ({own:.2%}), classified as "
        f"{NAMES[answer]} ({best:.2%})"
    )
    assert lines[start + 2].startswith("  b/17.png is labelled ")
    assert "run, zoo, val: most confident mistakes" in lines
    errors = found.results["train"].label_errors
    plot_label_errors(NAMES, errors, "zoo", tmp_path / "errors.png")
    assert (tmp_path / "errors.png").read_bytes().startswith(b"\x89PNG")


def test_where_every_answer_is_the_label_nothing_is_listed():
    examples = Examples(IMAGES, LOGITS.argmax(1).astype(np.int32))
    figures = evaluate_set(answers, ImageSet("train", "zoo", examples), NAMES, None, DATE).figures
    assert figures["label_errors"] == []
    assert "run, zoo: every image is classified as its label, so no label looks wrong" in lines_of(
        {"sets": {"train": figures}}
    )


def test_some_of_the_images_keep_their_places_in_the_whole_set():
    part = ImageSet("train", "zoo", Examples(IMAGES, LABELS)).subset(30)
    figures = evaluate_set(answers, part, NAMES, None, DATE).figures
    assert {error["index"] for error in figures["label_errors"]} <= set(part.indices.tolist())
    for error in figures["label_errors"]:
        assert NAMES[LABELS[error["index"]]] == error["label"]


def test_the_training_images_are_the_runs(easy_dataset, tmp_path):
    found = load_set("train", lambda: easy_dataset, easy_dataset.class_names, tmp_path)
    assert (found.name, found.title) == ("train", f"{easy_dataset.title}, training")
    assert found.examples is easy_dataset.train
    assert not uses_test_images("train")


def write_folder(folder):
    """Write all images as files by class; their numbers are their names."""
    for i, (image, label) in enumerate(zip(IMAGES, LABELS, strict=True)):
        (folder / NAMES[label]).mkdir(parents=True, exist_ok=True)
        Image.fromarray(image).save(folder / NAMES[label] / f"{i}.png")


def test_a_folders_files_are_found_by_their_pixels(tmp_path):
    write_folder(tmp_path / "zoo")
    folder = scan_images(str(tmp_path / "zoo"))
    some = [41, 3, 17]
    expected = [f"{NAMES[LABELS[i]]}/{i}.png" for i in some]
    assert find_file_names(folder, IMAGES[some], LABELS[some]) == expected
    one_file = {"train": folder.files_of_split["train"][:1]}
    others = dataclasses.replace(folder, files_of_split=one_file)
    assert "" in find_file_names(others, IMAGES[some], LABELS[some])


@pytest.mark.parametrize("max_images", [None, 18])
def test_mistakes_have_the_names_of_their_files_for_every_split(tmp_path, max_images):
    parts = {"train": range(30), "val": range(30, 45), "test": range(45, 60)}
    for split, numbers in parts.items():
        for i in numbers:
            folder = tmp_path / "zoo" / split / NAMES[LABELS[i]]
            folder.mkdir(parents=True, exist_ok=True)
            Image.fromarray(IMAGES[i]).save(folder / f"{i}.png")
    path = str(tmp_path / "zoo")
    examples = {
        split: Examples(IMAGES[list(numbers)], LABELS[list(numbers)])
        for split, numbers in parts.items()
    }
    sets = [ImageSet(split, split, examples[split]).subset(max_images) for split in parts]
    own = load_set(path, None, NAMES, tmp_path, print).subset(max_images)
    classifier = SimpleNamespace(config=SimpleNamespace(dataset=path), class_names=NAMES)
    run = LoadedRun("run", None, classifier, [*sets, own], [], None)
    found = evaluate_sets(
        answers, run.sets, predictors_with_mistakes={}, class_names=NAMES, val=None, date=DATE
    )
    add_image_sources(run, found)
    named = 0
    for name, figures in found.evaluation["sets"].items():
        split = "test" if name == f"own:{tmp_path.name}/zoo" else name
        assert figures["split"] == split
        for mistake in [*figures["mistakes"], *figures.get("label_errors", [])]:
            class_name, file_name = Path(mistake["file"]).parts[-2:]
            i = int(Path(file_name).stem)
            assert i in parts[split]
            assert class_name == mistake["label"] == NAMES[LABELS[i]]
            assert NAMES[LOGITS[i].argmax()] == mistake["predicted"]
            named += 1
    assert named > 20
    assert found.evaluation["sets"].keys() == {"train", "val", "test", f"own:{tmp_path.name}/zoo"}


def test_images_without_files_have_their_position_in_the_split():
    examples = Examples(IMAGES, LABELS)
    sets = [ImageSet(name, name, examples) for name in ("test", "val", "own:C/mine")]
    classifier = SimpleNamespace(config=SimpleNamespace(dataset="shapes10"), class_names=NAMES)
    run = LoadedRun("run", None, classifier, sets, [], None)
    found = evaluate_sets(
        answers, sets, predictors_with_mistakes={}, class_names=NAMES, val=None, date=DATE
    )
    add_image_sources(run, found)
    lines = lines_of(found.evaluation)
    index = found.evaluation["sets"]["test"]["mistakes"][0]["index"]
    for words in ("test image", "validation image", "image"):
        assert any(line.startswith(f"  {words} {index} is ") for line in lines)


@pytest.mark.parametrize(("noise", "addition"), [(0.5, " with true labels"), (0.0, "")])
def test_of_a_run_with_noisy_labels_the_title_says_that_labels_are_true(
    easy_dataset, tmp_path, monkeypatch, noise, addition
):
    classifier = SimpleNamespace(
        config=Config.create("cnn", label_noise=noise),
        class_names=easy_dataset.class_names,
        image_size=32,
    )
    monkeypatch.setattr(evaluated_runs, "load", lambda path, data_dir: classifier)
    monkeypatch.setattr(evaluated_runs, "load_run_dataset", lambda *arguments: easy_dataset)
    options = Namespace(data_dir=tmp_path, on=["train", "val"], images=None)
    run = evaluated_runs.load_run(tmp_path, "run", options, lambda line: None)
    assert [images.title for images in run.sets] == [
        f"{easy_dataset.title}, training{addition}",
        f"{easy_dataset.title}, validation",
    ]
