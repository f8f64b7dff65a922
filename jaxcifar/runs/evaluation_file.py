"""What was found out about a finished run since: `evaluation.json`, and who looked at the test.

Nothing here changes what the run itself wrote.
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
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.metric_fields import MOST_METRICS, Declared
from jaxcifar.runs.result import MISTAKES
from jaxcifar.runs.saved import Accuracy, ImageCount, Single

BINS = 15  # of confidence, all of one width
_MOST_SETS = 1000
_LARGEST = 1.7e308  # finite numbers alone
_MOST_BYTES = 16 * MEGABYTE
AGAIN = Remedy("delete it, and experiments.evaluate writes it again")
LOOKS_AGAIN = Remedy("mend it, or delete it: then looks are counted anew")

Temperature = Annotated[float, Meta(gt=0, le=1000)]


class Bin(TypedDict):
    """Images whose prediction has a probability within a range, and what came of them."""

    images: ImageCount
    confidence: Fraction
    accuracy: Accuracy


class Calibration(TypedDict):
    """How good probabilities are: cross-entropy in nats, expected calibration error, its bins."""

    loss: Single
    ece: Fraction
    bins: Annotated[list[Bin], Meta(min_length=BINS, max_length=BINS)]


class Mistake(TypedDict):
    """A wrong answer: the image's place in its set, classes by name, the answer's probability."""

    index: ImageCount
    label: Line
    predicted: Line
    confidence: Fraction


class Value(Declared):
    """A metric and its value on a set of images."""

    value: Annotated[float, Meta(ge=-_LARGEST, le=_LARGEST)]


class Figures(TypedDict):
    """What one set of images says of a run.

    `interval` is the 95% confidence interval of `accuracy`, `accuracy_flip` that of the mean of an
    image's logits and its mirror image's; `class_accuracy` has the classes that are in the set;
    `tempered` is with the logits divided by the temperature. `metrics` has no values that are not
    finite, and older versions wrote none.
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
    mistakes: Annotated[list[Mistake], Meta(max_length=MISTAKES)]
    metrics: NotRequired[Annotated[list[Value], Meta(max_length=MOST_METRICS)]]


class Corrupted(TypedDict):
    """Accuracy on corrupted test images: by kind, the weakest of the five strengths first."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: Annotated[
        dict[Line, Annotated[list[Accuracy], Meta(min_length=LEVELS, max_length=LEVELS)]],
        Meta(min_length=1, max_length=20),
    ]


# The slips of images that are normalised otherwise than in training; a network has one of them.
NOT_NORMALISED, NORMALISED = "not normalised", "normalised all the same"


class Slipped(TypedDict):
    """Accuracy on the test images where whoever evaluates slips, by the slip's name."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: Annotated[dict[Line, Accuracy], Meta(min_length=1, max_length=20)]


class Evaluation(TypedDict):
    """`evaluation.json`: figures by set; `temperature` is what fits the validation images best."""

    temperature: NotRequired[Temperature]
    sets: Annotated[dict[Line, Figures], Meta(max_length=_MOST_SETS)]
    corruptions: NotRequired[Corrupted]
    slips: NotRequired[Slipped]


class Look(TypedDict):
    """A line of `test_looks.jsonl`: when the test images were looked at again, and what for."""

    date: Line
    purpose: Line


def read_evaluation(folder: RunFolder) -> Evaluation | None:
    """`evaluation.json`, or None if there is none.

    Raises:
      RunError: it can't be read.
    """
    path = folder.evaluation
    return read_json(path, Evaluation, AGAIN, _MOST_BYTES) if path.exists() else None


def read_looks(folder: RunFolder) -> list[Look]:
    """Who looked at the test images since the run looked at them itself, when it ended.

    Raises:
      RunError: it can't be read.
    """
    path = folder.test_looks
    return read_json_lines(path, Look, LOOKS_AGAIN) if path.exists() else []


def record(path: Path, found: Evaluation, look: Look | None) -> list[Look]:
    """Add to what is known of a run; of a set evaluated before, the newest figures stay.

    But not for those of more images: a quick look replaces nothing.

    Args:
      path: the run's folder.
      found: goes to `evaluation.json`.
      look: goes to `test_looks.jsonl`, if the test images were looked at.

    Returns:
      all looks after the run's own.

    Raises:
      BusyError: another process is at work in the folder.
      RunError: what is there can't be read.
      OSError: it can't be written.
    """
    folder = RunFolder(path)
    with lock_folder(path, wait=False):
        looks = read_looks(folder) + ([look] if look else [])
        before: Mapping = read_evaluation(folder) or {"sets": {}}
        sets = {**before["sets"], **_of_no_fewer(found["sets"], before["sets"])}
        together = {**before, **_of_no_fewer(found, before), "sets": sets}
        if look:
            write_text(folder.test_looks, "".join(json.dumps(line) + "\n" for line in looks))
        write_text(folder.evaluation, json.dumps(together, indent=1) + "\n")
    return looks


def _of_no_fewer(found: Mapping[str, Any], before: Mapping[str, Any]) -> dict[str, Any]:
    """What is found, without figures of fewer images than are known."""

    def images(figures: Any) -> int:
        return figures.get("images", 0) if isinstance(figures, Mapping) else 0

    return {name: new for name, new in found.items() if images(new) >= images(before.get(name))}
