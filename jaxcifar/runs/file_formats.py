"""The formats of a run's files: their fields, and functions that check files when they are read.

Fields that older versions did not write are `NotRequired`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, cast

from msgspec import Meta

from jaxcifar.machine.reading import (
    MEGABYTE,
    Count,
    Line,
    Remedy,
    convert_checked,
    read_json,
    report_errors,
)
from jaxcifar.runs.metric_fields import (
    MAX_METRICS,
    MetricDeclaration,
    check_test_fields,
    check_validation_fields,
)

_MAX_AMOUNT = 1e15
# A list of numbers that `json.dumps` split over lines; no JSON string contains a line end.
_INDENTED_NUMBERS_PATTERN = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\s*\n\s*\]")
_TRAINING_FIELDS = ("selected_epoch", "selection_rule", "last_epoch", "images_per_second")
Accuracy = Annotated[float, Meta(ge=0, le=1.00001)]  # a mean of float32s may be slightly above 1
Single = Annotated[float, Meta(ge=-3.5e38, le=3.5e38)]  # a finite float32
Amount = Annotated[float, Meta(ge=0, le=_MAX_AMOUNT)]
Seconds = Annotated[float, Meta(gt=0, le=_MAX_AMOUNT)]
ImageCount = Annotated[int, Meta(ge=0, le=2**40)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Validation(TypedDict):
    """The validation metrics of an epoch, a field `val_NAME` each; empty without such images."""

    val_loss: NotRequired[Single]
    val_accuracy: NotRequired[Accuracy]


class Row(Validation):
    """The results of one epoch, a line of `metrics.jsonl`; `epoch` is counted from 1.

    `runs_together` is the number of runs that were trained together when the epoch ended, at least
    1: with `--at-once`, other runs may have ended. Older versions did not write it.
    """

    epoch: Count
    learning_rate: Single
    train_loss: Single
    train_accuracy: Accuracy
    seconds: Amount
    images_per_second: Amount
    runs_together: NotRequired[Count]


class SplitSizes(TypedDict):
    """The number of training, validation and test images."""

    train: Annotated[int, Meta(ge=1, le=2**40)]
    val: Annotated[int, Meta(ge=0, le=2**40)]
    test: Annotated[int, Meta(ge=1, le=2**40)]


class LastEpoch(TypedDict):
    """The number of the last epoch, and the test accuracy and loss (nats) of its weights."""

    epoch: Count
    test_accuracy: Accuracy
    test_loss: float


class Source(TypedDict):
    """The file from which weights were converted, such as a PyTorch file."""

    file: Line
    sha256: Digest


class TestFigures(TypedDict):
    """The results of the best epoch's weights on the test images.

    Each other metric NAME in `metrics` has a field `test_NAME`, too. Older versions wrote no
    `metrics`. They wrote `test_accuracy_mismatched`: the accuracy if the test images are normalised
    and the training images were not, or the other way round.
    `class_accuracy` has only classes with test images; older versions wrote 0.0 for the others.
    """

    test_accuracy: Accuracy
    test_loss: float
    test_accuracy_mismatched: NotRequired[Accuracy]
    test_accuracy_flip: NotRequired[Accuracy]
    metrics: NotRequired[Annotated[list[MetricDeclaration], Meta(max_length=MAX_METRICS)]]
    class_accuracy: dict[str, Accuracy]
    confusion_matrix: list[list[ImageCount]]


class TrainingFigures(TypedDict):
    """The results of training; weights converted from another format have none of the fields."""

    selected_epoch: NotRequired[Count]
    selection_rule: NotRequired[Line]
    val_accuracy: NotRequired[Accuracy]
    last_epoch: NotRequired[LastEpoch]
    images_per_second: NotRequired[Amount]
    planned_epochs: NotRequired[Count]  # only if training ended early (`--patience`)


class RunDescription(TypedDict):
    """The images, the network, the package versions and the config of a run."""

    dataset: Line
    dataset_name: NotRequired[Line]
    dataset_fingerprint: NotRequired[dict[str, Digest] | None]
    class_names: NotRequired[list[Line]]
    channel_mean: NotRequired[Annotated[list[float], Meta(min_length=3, max_length=3)]]
    channel_std: NotRequired[Annotated[list[float], Meta(min_length=3, max_length=3)]]
    examples: SplitSizes
    copied_examples: NotRequired[dict[str, ImageCount]]  # "val", "test"; missing if there are none
    parameters: NotRequired[int]
    flops: NotRequired[Annotated[int, Meta(ge=0)] | None]
    versions: dict[str, Line | None]
    config: NotRequired[dict[str, Any]]


class Environment(TypedDict):
    """The device, the dtype and the compiler settings with which a network was tested."""

    compiler_settings: NotRequired[dict[str, Line]]  # only settings that are not the default
    device: Line
    compute_dtype: Line


class Measured(TestFigures, TrainingFigures, RunDescription, Environment):
    """The fields of `result.json` that are known as soon as the network has been tested."""

    at_once: Count
    compile_seconds: NotRequired[Amount]  # of the last training program; runs may share a program


class Result(Measured):
    """The content of `result.json`: the results and the description of a finished run."""

    converted: NotRequired[Source]
    wall_seconds: Seconds
    git_commit: NotRequired[Line | None]
    weights_sha256: NotRequired[Digest]


MAX_FAILURE_BYTES = MEGABYTE // 16

START_AGAIN = Remedy(
    "start anew with --overwrite (in a study: --force ROW), or choose another folder"
)
DELETE_RESULT = Remedy("delete it, and the run's command writes it again")
DELETE_IT_AND_RESULT = Remedy("delete it and result.json, and the run's command writes both again")
DELETE_IMAGES = Remedy("delete it: only a picture in the report needs it")
GET_WEIGHTS_AGAIN = Remedy("get that file again from where the run was made, or train the run anew")
DELETE_FAILURE = Remedy("delete it to have the run tried again")


def check_rows(values: Sequence[dict[str, Any]]) -> list[Row]:
    """Check the lines of `metrics.jsonl` (parsed from JSON), and return a row for each epoch.

    Raises:
      ValueError: a value is not a valid row, or the epochs are not 1, 2, 3 and so on.
    """
    history: list[Row] = []
    for epoch, value in enumerate(values, start=1):
        try:
            known_fields = convert_checked(value, Row)
            other_fields = check_validation_fields(value, Row.__annotations__)
        except ValueError as error:
            raise ValueError(f"line {epoch}: {error}") from error
        if known_fields["epoch"] != epoch:
            raise ValueError(f"line {epoch} is not epoch {epoch}")
        history.append(cast(Row, {**known_fields, **other_fields}))
    return history


def read_result(path: Path) -> Result:
    """Return the content of a `result.json`.

    Symbolic links are followed: if several processes train a run, all but the first have a link.

    Raises:
      RunError: the file can't be read, or its fields contradict each other.
    """
    values = read_json(path, dict[str, Any], DELETE_RESULT, follow_links=True)
    with report_errors(path, DELETE_RESULT):
        known_fields = convert_checked(values, Result)
        metrics = known_fields.get("metrics", [])
        other_fields = check_test_fields(values, metrics, Result.__annotations__)
        result = cast(Result, {**known_fields, **other_fields})
        was_trained_by_jaxcifar = "converted" not in result
        for field in _TRAINING_FIELDS:
            has_field = field in result
            if has_field != was_trained_by_jaxcifar:
                raise ValueError(f"the file must have either the field {field} or converted")
        class_count = len(class_names(result))
        matrix = result["confusion_matrix"]
        is_square = len(matrix) == class_count and all(len(row) == class_count for row in matrix)
        has_images = any(any(row) for row in matrix)
        if not is_square or not has_images:
            raise ValueError(f"confusion_matrix must have image counts for {class_count} classes")
    return result


def result_to_json(result: Result) -> str:
    """Return the text of `result.json`, with each row of the confusion matrix on one line."""

    def on_one_line(indented_numbers: re.Match[str]) -> str:
        return f"[{' '.join(indented_numbers[1].split())}]"

    text = json.dumps(result, indent=2)
    return _INDENTED_NUMBERS_PATTERN.sub(on_one_line, text) + "\n"


def get_number(row_or_result: Mapping[str, Any], field: str) -> float:
    """Return the number in a field of a run's result or of an epoch's row, such as `val_loss`."""
    return row_or_result[field]


def class_names(result: Result) -> list[str]:
    """Return the names of a run's classes, by label; the result may be from an older version."""
    return list(result.get("class_names") or result["class_accuracy"])
