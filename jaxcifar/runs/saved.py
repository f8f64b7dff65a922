"""What the files of a run hold, declared once for those who write and those who read them.

What older versions did not write yet is `NotRequired`.
"""

import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, cast

from msgspec import Meta

from jaxcifar.machine.npz import ArrayForm
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
    MOST_METRICS,
    Declared,
    tested_fields,
    validated_fields,
)

_MANY = 1e15
# A list of numbers as `json.dumps` indents it; no string holds a line's end.
_NUMBERS = re.compile(r"\[\n\s*([^\[\]{}\"]*?)\s*\n\s*\]")
_OF_TRAINING = ("selected_epoch", "selection_rule", "last_epoch", "images_per_second")
Accuracy = Annotated[float, Meta(ge=0, le=1.00001)]  # a mean of float32s
Single = Annotated[float, Meta(ge=-3.5e38, le=3.5e38)]  # a float32; a loss that is none ends a run
Amount = Annotated[float, Meta(ge=0, le=_MANY)]
Seconds = Annotated[float, Meta(gt=0, le=_MANY)]
ImageCount = Annotated[int, Meta(ge=0, le=2**40)]
Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class Validation(TypedDict):
    """What the images for validation say; nothing if there are none.

    Each other metric that was measured has a field `val_NAME` too (`metric_fields`).
    """

    val_loss: NotRequired[Single]
    val_accuracy: NotRequired[Accuracy]


class Row(TypedDict):
    """A line of `metrics.jsonl`: one epoch, from 1; without `val_*` if there is no validation.

    Each other metric that was measured has a field `val_NAME` too (`metric_fields`).
    """

    epoch: Count
    learning_rate: Single
    train_loss: Single
    train_accuracy: Accuracy
    val_loss: NotRequired[Single]
    val_accuracy: NotRequired[Accuracy]
    seconds: Amount
    images_per_second: Amount


class SplitSizes(TypedDict):
    """How many images each split has."""

    train: Annotated[int, Meta(ge=1, le=2**40)]
    val: Annotated[int, Meta(ge=0, le=2**40)]
    test: Annotated[int, Meta(ge=1, le=2**40)]


class LastEpoch(TypedDict):
    """What the weights of the last epoch come to."""

    epoch: Count
    test_accuracy: Accuracy
    test_loss: float


class Source(TypedDict):
    """The file that weights were converted from."""

    file: Line
    sha256: Digest


class FiguresOnTest(TypedDict):
    """What the test images say of the chosen weights.

    Each other metric of `metrics` has a field `test_NAME` too (`metric_fields`). Older versions
    wrote no `metrics`, and the accuracy on images that are normalised the other way
    (`test_accuracy_mismatched`).
    """

    test_accuracy: Accuracy
    test_loss: float
    test_accuracy_mismatched: NotRequired[Accuracy]
    test_accuracy_flip: NotRequired[Accuracy]
    metrics: NotRequired[Annotated[list[Declared], Meta(max_length=MOST_METRICS)]]
    class_accuracy: dict[str, Accuracy]
    confusion_matrix: list[list[ImageCount]]


class Choice(TypedDict):
    """How the epoch was chosen whose weights are kept."""

    selection_rule: NotRequired[Line]
    val_accuracy: NotRequired[Accuracy]


class TrainingFigures(Choice):
    """What a training came to; none of it where weights were `converted`."""

    selected_epoch: NotRequired[Count]
    last_epoch: NotRequired[LastEpoch]
    images_per_second: NotRequired[Amount]


class RunFigures(TypedDict):
    """What was trained, on what, and with which versions."""

    dataset: Line
    dataset_name: NotRequired[Line]
    dataset_fingerprint: NotRequired[dict[str, Digest] | None]
    class_names: NotRequired[list[Line]]
    channel_mean: NotRequired[Annotated[list[float], Meta(min_length=3, max_length=3)]]
    channel_std: NotRequired[Annotated[list[float], Meta(min_length=3, max_length=3)]]
    examples: SplitSizes
    parameters: NotRequired[int]
    flops: NotRequired[Annotated[int, Meta(ge=0)] | None]
    versions: dict[str, Line | None]
    config: NotRequired[dict[str, Any]]


class Circumstances(TypedDict):
    """What a network was computed with."""

    compiler_settings: NotRequired[dict[str, Line]]  # those that a person has set
    device: Line
    compute_dtype: Line


class Measured(FiguresOnTest, TrainingFigures, RunFigures, Circumstances):
    """What is known of a run when its test images have been looked at."""

    at_once: Count
    compile_seconds: NotRequired[Amount]  # of the program that trained last, which runs may share


class Result(Measured):
    """`result.json`: what a finished run has to say (`result.py`).

    What only a training has is missing where weights were `converted`
    (`exchange/from_pytorch.py`).
    """

    converted: NotRequired[Source]
    wall_seconds: Seconds
    git_commit: NotRequired[Line | None]
    weights_sha256: NotRequired[Digest]


# `mistakes.npz`: arrays of one length; `index` and `label` are of the test images.
MISTAKES = {
    "index": ArrayForm("int32"),
    "label": ArrayForm("int32"),
    "predicted": ArrayForm("int32"),
    "confidence": ArrayForm("float32"),
    "image": ArrayForm("uint8", (32, 32, 3)),
}
MOST_MISTAKES_BYTES = 2 * MEGABYTE
MOST_CONFIG_BYTES = MEGABYTE
MOST_FAILURE_BYTES = MEGABYTE // 16

ANEW = Remedy("start anew with --overwrite (in a study: --force ROW), or choose another folder")
RESULT_AGAIN = Remedy("delete it, and the run's command writes it again")
BOTH_AGAIN = Remedy("delete it and result.json, and the run's command writes both again")
WEIGHTS_AGAIN = Remedy("get that file again from where the run was made, or train the run anew")
TRY_AGAIN = Remedy("delete it to have the run tried again")


def rows_of(said: Sequence[dict[str, Any]]) -> list[Row]:
    """The rows of `metrics.jsonl` that a file says, those of the epochs from 1 on.

    Raises:
      ValueError: it says something else.
    """
    history: list[Row] = []
    for epoch, values in enumerate(said, start=1):
        try:
            known = convert_checked(values, Row)
            others = validated_fields(values, Row.__annotations__)
        except ValueError as error:
            raise ValueError(f"line {epoch}: {error}") from error
        if known["epoch"] != epoch:
            raise ValueError(f"line {epoch} is not epoch {epoch}")
        history.append(cast(Row, {**known, **others}))
    return history


def read_result(path: Path) -> Result:
    """A `result.json`; by a link too, as the processes beside the first of a run have it.

    Raises:
      RunError: it can't be read, or does not fit itself.
    """
    said = read_json(path, dict[str, Any], RESULT_AGAIN, follow=True)
    with report_errors(path, RESULT_AGAIN):
        known = convert_checked(said, Result)
        others = tested_fields(said, known.get("metrics", []), Result.__annotations__)
        result = cast(Result, {**known, **others})
        classes = class_names(result)
        matrix = result["confusion_matrix"]
        for name in _OF_TRAINING:
            if (name in result) == ("converted" in result):
                raise ValueError(f"{name} must be there if, and only if, `converted` is not")
        if {len(matrix), *map(len, matrix)} != {len(classes)} or not any(map(any, matrix)):
            raise ValueError(f"confusion_matrix does not count {len(classes)} classes' images")
    return result


def as_text(result: Result) -> str:
    """A `result.json`: JSON with a line for a list of numbers, as for a confusion matrix's row."""
    text = json.dumps(result, indent=2)
    return _NUMBERS.sub(lambda match: f"[{' '.join(match[1].split())}]", text) + "\n"


def number(figures: Mapping[str, Any], name: str) -> float:
    """Return a number of a result or of an epoch's row, where its name is a variable."""
    return figures[name]


def class_names(result: Result) -> list[str]:
    """By label; results of older versions have them as keys only."""
    return list(result.get("class_names") or result["class_accuracy"])
