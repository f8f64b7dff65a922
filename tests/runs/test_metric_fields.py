"""The fields of metrics in rows and results, of older versions and of strangers too."""

import itertools
import json
import math

import numpy as np
import pytest
from report.test_report import write_run

from jaxcifar.build.user_metrics import _RESERVED_NAMES
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.runs import file_formats
from jaxcifar.runs.checkpoint_metadata import Notes
from jaxcifar.runs.epoch_selection import best_epoch, best_row_index
from jaxcifar.runs.file_formats import Result, Row
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import format_value, measured_metrics
from jaxcifar.training.metrics import METRICS

OLD = {
    "epoch": 1,
    "learning_rate": 0.1,
    "train_loss": 1.5,
    "train_accuracy": 0.94009995,
    "val_loss": 1.25,
    "val_accuracy": 0.5,
    "seconds": 2.0,
    "images_per_second": 50.0,
}
DECLARED = {"name": "mine", "title": "my own", "unit": "m", "higher_is_better": False}


def notes_of(rows):
    """As a checkpoint has them."""
    texts = {"history": rows, "epoch_seconds": 0.0, "wall_seconds": 1.0}
    return Notes.read(texts, len(rows)).history


@pytest.fixture
def folder(tmp_path):
    """A run as an older version left it: its result declares no metrics."""
    config = Config.create("cnn", epochs=4)
    write_run(tmp_path / "run", config, 0.5, 0.5)
    return RunFolder(tmp_path / "run")


def rows_in(folder, rows):
    folder.metrics_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return folder.read_history()


def change(folder, **changes):
    """Write changes into its result, and read it."""
    result = json.loads(folder.result_file.read_text()) | changes
    folder.result_file.write_text(json.dumps(result))
    return folder.finished_result()


def test_rows_of_older_versions_and_with_other_metrics_are_read(folder):
    rows = [OLD, {**OLD, "epoch": 2, "val_mine": 3, "val_Top": -1e300}, {**OLD, "epoch": 3}]
    for read in (rows_in(folder, rows), notes_of(rows)):
        assert read == rows


def test_other_fields_of_rows_are_dropped(folder):
    strange = {"val_": 1, "val_mine\n": 1, "test_mine": 1, "x": {}, f"val_{'n' * 41}": 1}
    assert rows_in(folder, [{**OLD, **strange}]) == notes_of([{**OLD, **strange}]) == [OLD]


@pytest.mark.parametrize(
    "value", [math.nan, math.inf, "0.5", True, None, [1]], ids=["nan", "inf", *"tbnl"]
)
def test_a_metric_that_is_no_finite_number_is_refused(folder, value):
    row = {**OLD, "val_mine": value}
    with pytest.raises(RunError, match=r"metrics.jsonl: line 1: val_mine is not a finite number"):
        rows_in(folder, [row])
    with pytest.raises(ValueError, match="line 1: val_mine is not a finite number"):
        notes_of([row])
    with pytest.raises(RunError, match=r"result.json: test_mine is not a finite number"):
        change(folder, metrics=[DECLARED], test_mine=value)


def test_many_metrics_are_refused(folder):
    with pytest.raises(RunError, match="line 1: has more than 100 metrics"):
        rows_in(folder, [OLD | {f"val_m{i}": 1 for i in range(101)}])
    with pytest.raises(RunError, match="metrics"):
        change(folder, metrics=[DECLARED | {"name": f"m{i}"} for i in range(101)])


def test_a_result_keeps_the_metrics_that_it_declares_and_no_others(folder):
    output = json.loads(folder.result_file.read_text())
    assert "metrics" not in folder.finished_result()
    result = change(folder, metrics=[DECLARED], test_mine=2, test_strange=3, val_mine=4)
    assert result["test_mine"] == 2
    assert not {"test_strange", "val_mine"} & result.keys()
    assert result["test_accuracy_mismatched"] == output["test_accuracy_mismatched"]
    old = [line["name"] for line in measured_metrics([output])]
    assert old == ["loss", "accuracy"]
    assert measured_metrics([output, result])[2:] == [DECLARED]
    assert measured_metrics([], [{"val_loss": 1, "val_x": 2}])[1]["title"] == "x"


@pytest.mark.parametrize(
    "change_of_declaration",
    [{"name": "a b"}, {"name": "x" * 41}, {"title": "t" * 41}, {"unit": 5}, {"sha256": "abc"}],
)
def test_a_strange_declaration_is_refused(folder, change_of_declaration):
    with pytest.raises(RunError, match=r"result.json: metrics"):
        change(folder, metrics=[DECLARED | change_of_declaration])


def test_no_metric_can_take_the_name_of_another_field():
    tested = {name.removeprefix("test_") for name in Result.__annotations__ if "test_" in name[:5]}
    validated = {name.removeprefix("val_") for name in Row.__annotations__ if "val_" in name[:4]}
    assert tested | validated | {metric.name for metric in METRICS} <= _RESERVED_NAMES


@pytest.mark.parametrize("images", [40, 4999, 5000, 50_000])
def test_the_best_epoch_is_the_one_of_older_versions(images):
    """These chose by accuracies in float32, among which are many ties here."""
    rng = np.random.default_rng(images)
    for _ in range(50):
        counts = images - rng.integers(0, 4, 12)
        losses = rng.integers(1, 4, 12) / 4
        exact = rows(counts / images, losses)
        rounded = rows(counts.astype(np.float32) / np.float32(images), losses)
        expected = max(rounded, key=lambda row: (row["val_accuracy"], -row["val_loss"]))["epoch"]
        assert best_epoch(exact) == best_epoch(rounded) == expected
        # A run that an older version began: its rows are float32s, by a unit too low or too high.
        for way in (0, 2):
            shaken = rows(np.nextafter(np.float32(counts / images), np.float32(way)), losses)
            assert best_epoch(shaken[:6] + exact[6:]) == expected


def rows(accuracies, losses):
    return [
        {"epoch": epoch, "val_accuracy": float(str(accuracy)), "val_loss": float(loss)}
        for epoch, (accuracy, loss) in enumerate(zip(accuracies, losses, strict=True), start=1)
    ]


def test_the_best_of_rows_does_not_depend_on_their_epochs():
    for order in itertools.permutations(rows([0.5, 0.7, 0.7], [0.1, 0.9, 0.4])):
        assert order[best_row_index(order)]["val_loss"] == 0.4


def test_values_are_spelled_with_their_unit():
    assert [format_value(0.94014, "%"), format_value(2.30259, "nats"), format_value(3, "")] == [
        "94.01%",
        "2.303 nats",
        "3",
    ]


def test_older_results_need_no_metrics():
    optional = Result.__optional_keys__
    assert {"metrics", "test_accuracy_mismatched", "test_accuracy_flip"} <= optional
    assert file_formats.Validation.__required_keys__ == set()
