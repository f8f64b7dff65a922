"""The files of later evaluations of a finished run: `evaluation.json` and `test_looks.jsonl`.

An evaluation does not change the files that the run wrote.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from jaxcifar.data.corruptions import STRENGTHS as LEVELS
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.reading import (
    MEGABYTE,
    Count,
    Fraction,
    Line,
    Remedy,
    read_json,
    read_json_lines,
)
from jaxcifar.runs.file_formats import Accuracy, ImageCount, Single
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import MAX_METRICS, MetricDeclaration
from jaxcifar.runs.result import MAX_MISTAKES

BINS = 15  # bins of confidence, all of one width
_MAX_SETS = 1000
_MAX_FINITE = 1.7e308  # excludes infinity
_MAX_BYTES = 16 * MEGABYTE
_EVALUATE_AGAIN = Remedy("delete it, and experiments.evaluate writes it again")
_MEND_LOOKS = Remedy("mend it, or delete it: then looks are counted anew")

Temperature = Annotated[float, Meta(gt=0, le=1000)]


class Bin(TypedDict):
    """The images whose predictions have a probability in one range: number, means, accuracy."""

    images: ImageCount
    confidence: Fraction
    accuracy: Accuracy


class Calibration(TypedDict):
    """Cross-entropy in nats, expected calibration error, and the bins of its computation."""

    loss: Single
    ece: Fraction
    bins: Annotated[list[Bin], Meta(min_length=BINS, max_length=BINS)]


class Mistake(TypedDict):
    """A wrong prediction: index of the image in its set, class names, predicted probability."""

    index: ImageCount
    label: Line
    predicted: Line
    confidence: Fraction


class Value(MetricDeclaration):
    """A metric and its value on a set of images."""

    value: Annotated[float, Meta(ge=-_MAX_FINITE, le=_MAX_FINITE)]


class Figures(TypedDict):
    """The figures of a run on one set of images.

    `interval` is the 95% confidence interval of `accuracy`. `accuracy_flip` is the accuracy with
    the mean of the logits of an image and of its mirror image. `class_accuracy` has only classes
    that are in the set. `plain` is the calibration, and `tempered` the calibration with the logits
    divided by the temperature. `metrics` has only finite values; older versions wrote none.
    """

    title: Line
    date: Line
    images: Count
    accuracy: Accuracy
    interval: Annotated[list[Fraction], Meta(min_length=2, max_length=2)]
    accuracy_flip: Accuracy
    class_accuracy: dict[Line, Accuracy]
    plain: Calibration
    tempered: NotRequired[Calibration]
    mistakes: Annotated[list[Mistake], Meta(max_length=MAX_MISTAKES)]
    metrics: NotRequired[Annotated[list[Value], Meta(max_length=MAX_METRICS)]]


class Corruptions(TypedDict):
    """Accuracy on corrupted test images by kind of corruption, the weakest strength first."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: Annotated[
        dict[Line, Annotated[list[Accuracy], Meta(min_length=LEVELS, max_length=LEVELS)]],
        Meta(min_length=1, max_length=20),
    ]


# Slips: the images are normalised differently than in training. A network has one of the two.
NOT_NORMALISED, NORMALISED = "not normalised", "normalised all the same"


class Slips(TypedDict):
    """Accuracy on test images that are prepared wrongly, by name of the mistake."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: Annotated[dict[Line, Accuracy], Meta(min_length=1, max_length=20)]


class Evaluation(TypedDict):
    """The content of `evaluation.json`.

    `temperature` is the temperature that fits the validation images best. `sets` has the figures by
    name of the set.
    """

    temperature: NotRequired[Temperature]
    sets: Annotated[dict[Line, Figures], Meta(max_length=_MAX_SETS)]
    corruptions: NotRequired[Corruptions]
    slips: NotRequired[Slips]


class Look(TypedDict):
    """A line of `test_looks.jsonl`: a later use of the test images, with its date and purpose."""

    date: Line
    purpose: Line


def read_evaluation(folder: RunFolder) -> Evaluation | None:
    """Return the content of `evaluation.json`, or None if there is no such file.

    Raises:
      RunError: the file can't be read.
    """
    path = folder.evaluation_file
    return read_json(path, Evaluation, _EVALUATE_AGAIN, _MAX_BYTES) if path.exists() else None


def read_looks(folder: RunFolder) -> list[Look]:
    """Return all uses of the test images after the end of the run.

    Raises:
      RunError: the file can't be read.
    """
    path = folder.test_looks_file
    return read_json_lines(path, Look, _MEND_LOOKS) if path.exists() else []


def save_evaluation(path: Path, new: Evaluation, look: Look | None) -> list[Look]:
    """Add an evaluation to the earlier evaluations in a run's folder.

    The new figures of a set replace the earlier ones, unless the earlier ones are of more images.
    `look` is None if the evaluation did not use the test images.

    Returns:
      all uses of the test images after the end of the run.

    Raises:
      BusyError: another process has locked the folder.
      RunError: a file in the folder can't be read.
      OSError: a file can't be written.
    """
    folder = RunFolder(path)
    with lock_folder(path, wait=False):
        looks = read_looks(folder) + ([look] if look else [])
        earlier: Mapping = read_evaluation(folder) or {"sets": {}}
        sets = {**earlier["sets"], **_with_enough_images(new["sets"], earlier["sets"])}
        merged = {**earlier, **_with_enough_images(new, earlier), "sets": sets}
        if look:
            write_text(folder.test_looks_file, "".join(json.dumps(line) + "\n" for line in looks))
        write_text(folder.evaluation_file, json.dumps(merged, indent=1) + "\n")
    return looks


def _with_enough_images(new: Mapping[str, Any], earlier: Mapping[str, Any]) -> dict[str, Any]:
    """Return the new figures that are of at least as many images as the earlier ones."""

    def count(figures: Any) -> int:
        return figures.get("images", 0) if isinstance(figures, Mapping) else 0

    return {name: value for name, value in new.items() if count(value) >= count(earlier.get(name))}
