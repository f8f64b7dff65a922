"""The files that `jaxcifar predict` writes: tables of answers, and features of images."""

import csv
import json

import numpy as np
import pytest
from PIL import Image

import jaxcifar
from jaxcifar.commands import predict
from jaxcifar.errors import RunError, UsageError
from jaxcifar.trained.load import SHIPPED_WEIGHTS

NAMES = ["10.png", "9.png", "dog, cat.png", "100.png"]


@pytest.fixture
def folder(tmp_path):
    """Images of random colours."""
    rng = np.random.RandomState(0)
    (tmp_path / "in").mkdir()
    for name in NAMES:
        pixels = rng.randint(0, 256, (4, 4, 3)).astype(np.uint8)
        Image.fromarray(pixels).resize((40, 40)).save(tmp_path / "in" / name)
    return tmp_path / "in"


def run(*arguments):
    predict.main([str(argument) for argument in arguments])


def rows_of(path):
    with path.open(newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_a_table_has_the_classifiers_answers(folder, tmp_path, capsys):
    run(folder, "--csv", tmp_path / "few.csv", "--json")
    output = json.loads(capsys.readouterr().out)
    run(folder, "--csv", tmp_path / "all.csv", "--all-classes")
    few, all_classes = rows_of(tmp_path / "few.csv"), rows_of(tmp_path / "all.csv")
    assert [list(row) for row in few] == [["file", "label", "probability"]] * 4
    for entry, row, wide in zip(output, few, all_classes, strict=True):
        assert (row["file"], row["label"]) == (entry["image"], entry["label"])
        largest = max(entry["probabilities"].values())
        assert float(row["probability"]) == pytest.approx(largest, rel=1e-5)
        assert {**row, **wide}.keys() == {*row, *entry["probabilities"]}
        for name, probability in entry["probabilities"].items():
            assert float(wide[name]) == pytest.approx(probability, rel=1e-5)


def test_a_submission_has_ids_in_the_order_of_numbers(folder, tmp_path):
    run(folder, "--submission", tmp_path / "s.csv")
    found = rows_of(tmp_path / "s.csv")
    assert (tmp_path / "s.csv").read_text().splitlines()[0] == "id,label"
    assert [row["id"] for row in found] == ["9", "10", "100", "dog, cat"]
    classifier = jaxcifar.load()
    for row in found:
        [label] = classifier.predict(folder / f"{row['id']}.png").labels
        assert row["label"] == label


def test_two_images_with_one_id_are_no_submission(folder, tmp_path):
    (folder / "deeper").mkdir()
    (folder / "deeper" / "9.png").write_bytes((folder / "9.png").read_bytes())
    for images in ([folder], [folder / "9.png", folder / "9.png"]):
        with pytest.raises(UsageError, match=r"9\.png and .*9\.png have the same id, 9"):
            run(*images, "--submission", tmp_path / "s.csv")
    assert not (tmp_path / "s.csv").exists()


def test_features_are_written_with_the_names_of_the_files(folder, tmp_path):
    (folder / "broken.png").write_text("no image")
    with pytest.raises(RunError, match="1 of 5 files were left out"):
        run(folder, "--features", tmp_path / "f.npz")
    with np.load(tmp_path / "f.npz", allow_pickle=False) as written:
        features, files = written["features"], written["files"]
    assert files.tolist() == [str(folder / name) for name in sorted(NAMES)]
    classifier = jaxcifar.load()
    assert features.dtype == np.float32
    last = classifier.variables["params"]["Dense_1"]
    logits = features @ np.asarray(last["kernel"]) + np.asarray(last["bias"])
    np.testing.assert_allclose(logits, classifier.logits(list(files)), atol=1e-4)


def test_a_network_without_features_is_refused_before_any_file_is_written(
    folder, tmp_path, monkeypatch
):
    def no_features(self, images):
        raise UsageError("CNN: has no features")

    monkeypatch.setattr("jaxcifar.trained.classifier.Classifier.features", no_features)
    with pytest.raises(UsageError, match="has no features"):
        run(folder, "--csv", tmp_path / "a.csv", "--features", tmp_path / "a.npz")
    assert [path.name for path in tmp_path.iterdir()] == ["in"]


def test_no_file_is_replaced_unless_asked(folder, tmp_path):
    old = {"--csv": "a.csv", "--submission": "b.csv", "--features": "c.npz"}
    for option, name in old.items():
        (tmp_path / name).write_text("mine")
        with pytest.raises(UsageError, match=rf"{option} .*{name}: exists already"):
            run(folder, option, tmp_path / name)
        assert (tmp_path / name).read_text() == "mine"
    run(folder, "--csv", tmp_path / "a.csv", "--overwrite")
    assert len(rows_of(tmp_path / "a.csv")) == 4


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["--csv", "nowhere/a.csv"], "--csv .*there is no folder"),
        (["--csv", "in"], "--csv .*is a folder"),
        (["--csv", "x", "--submission", "x"], "--csv, --submission would write the same file"),
        (["--all-classes"], "--all-classes: .*give --csv FILE"),
        (["--features", "a.csv"], "--features: .*must be a file that ends in .npz"),
        (
            ["--features", "a.npz", "--run", SHIPPED_WEIGHTS, SHIPPED_WEIGHTS],
            "2 runs have no features in common",
        ),
    ],
)
def test_options_that_cant_be_carried_out_are_refused(words, reason, folder, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=reason):
        run(folder, *words)
    assert [path.name for path in tmp_path.iterdir()] == ["in"]
