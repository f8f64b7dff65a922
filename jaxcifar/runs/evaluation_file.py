"""The files of later evaluations of a finished run: `evaluation.json` and `test_looks.jsonl`.

An evaluation does not change the files that the run wrote.
"""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict

from msgspec import Meta

from jaxcifar.data.corruptions import STRENGTHS as LEVELS
from jaxcifar.machine.command_line import shell_command
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
from jaxcifar.runs.mistakes import MAX_MISTAKES

BINS = 15  # number of bins of confidence, all of the same width
_MAX_SETS = 1000
_MAX_FINITE = 1.7e308  # excludes infinity
_MAX_BYTES = 16 * MEGABYTE
_EVALUATE_AGAIN = Remedy(f"delete it, and {shell_command('evaluate')} writes it again")
_RESTORE_LOOKS = Remedy("restore a copy, or delete it: uses of the test images are counted anew")

Temperature = Annotated[float, Meta(gt=0, le=1000)]


class Bin(TypedDict):
    """Number, mean predicted probability and accuracy of images with similar probabilities."""

    images: ImageCount
    confidence: Fraction
    accuracy: Accuracy


class Calibration(TypedDict):
    """Calibration on a set of images: cross-entropy (nats), expected calibration error, bins."""

    loss: Single
    ece: Fraction
    bins: Annotated[list[Bin], Meta(min_length=BINS, max_length=BINS)]


class Mistake(TypedDict):
    """A wrong prediction: image index, class names, predicted probability, and a user's file."""

    index: ImageCount
    label: Line
    predicted: Line
    confidence: Fraction
    file: NotRequired[Line]


class LabelError(Mistake):
    """A training image whose label may be wrong, because the network predicts another class.

    `label_probability` is the predicted probability of the label.
    """

    label_probability: Fraction


class Value(MetricDeclaration):
    """A metric's name, title and unit (its declaration), and its value on one set of images."""

    value: Annotated[float, Meta(ge=-_MAX_FINITE, le=_MAX_FINITE)]


class Figures(TypedDict):
    """The results of a run on one set of images, such as the test images.

    `interval` is the 95% confidence interval of `accuracy`. `accuracy_flip` is the accuracy with
    the mean of the logits of an image and of its mirror image. `class_accuracy` has only classes
    of these images. `plain` is the calibration, `tempered` with the logits divided by a
    temperature. `metrics` has only finite values; older versions wrote none. Only training images
    have `label_errors`. Indices count in `split`, if there are several. `place`: a user's path.
    """

    title: Line
    split: NotRequired[Line]
    place: NotRequired[Line]
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
    label_errors: NotRequired[Annotated[list[LabelError], Meta(max_length=MAX_MISTAKES)]]


# The accuracies at each strength, from weak to strong, by the kind of corruption.
AccuracyByStrength = Annotated[
    dict[Line, Annotated[list[Accuracy], Meta(min_length=LEVELS, max_length=LEVELS)]],
    Meta(min_length=1, max_length=20),
]


class Corruptions(TypedDict):
    """Accuracy on clean test images, and at each strength of corruption from weak to strong."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: AccuracyByStrength


CorruptionError = Annotated[float, Meta(ge=0, le=_MAX_FINITE)]


class CorruptionSet(TypedDict):
    """Results on a published set of corrupted images, such as CIFAR-10-C.

    `accuracy` has the values at each strength, from weak to strong, by kind of corruption. `images`
    is the number of images per strength, and `mean` the mean accuracy over the standard kinds.
    `corruption_error` is the sum of errors of each kind, divided by the sum of errors of another
    network, `base`; `mean_corruption_error` is its mean over the standard kinds.
    """

    title: Line
    date: Line
    images: Count
    mean: Accuracy
    accuracy: AccuracyByStrength
    base: NotRequired[Line]
    corruption_error: NotRequired[Annotated[dict[Line, CorruptionError], Meta(max_length=20)]]
    mean_corruption_error: NotRequired[CorruptionError]


AnyCorruptions = Corruptions | CorruptionSet

# Names of two mistakes in evaluation code. Only one of them is possible for a network.
NOT_NORMALISED, NORMALISED = "not normalised", "normalised all the same"


class MistakeResults(TypedDict):
    """Test accuracy of correct evaluation code (`clean`), and of code with each common mistake."""

    date: Line
    images: Count
    clean: Accuracy
    accuracy: Annotated[dict[Line, Accuracy], Meta(min_length=1, max_length=20)]


class Evaluation(TypedDict):
    """The content of `evaluation.json`.

    `temperature` is the divisor of the logits that fits the validation images best. `sets` has the
    results by name of the set, `corruption_sets` those on corrupted images in files, by title.
    `corruptions` and `slips` have the results on corrupted test images, and with mistakes.
    """

    temperature: NotRequired[Temperature]
    sets: Annotated[dict[Line, Figures], Meta(max_length=_MAX_SETS)]
    corruptions: NotRequired[Corruptions]
    corruption_sets: NotRequired[Annotated[dict[Line, CorruptionSet], Meta(max_length=_MAX_SETS)]]
    slips: NotRequired[MistakeResults]


class Look(TypedDict):
    """A use of the test images after the end of a run: its date and its purpose."""

    date: Line
    purpose: Line


def read_evaluation(folder: RunFolder) -> Evaluation | None:
    """Return the content of a run's `evaluation.json`, or None if there is no such file.

    Raises:
      RunError: the file can't be read.
    """
    path = folder.evaluation_file
    return read_json(path, Evaluation, _EVALUATE_AGAIN, _MAX_BYTES) if path.exists() else None


def read_looks(folder: RunFolder) -> list[Look]:
    """Return all uses of a run's test images since its end, from `test_looks.jsonl`.

    Raises:
      RunError: the file can't be read.
    """
    path = folder.uses_of_test_images_file
    return read_json_lines(path, Look, _RESTORE_LOOKS) if path.exists() else []


def save_evaluation(
    path: Path, new_results: Evaluation, use: Look | None, *, always_replace: bool = False
) -> list[Look]:
    """Add new results to `evaluation.json`, and a use of the test images to `test_looks.jsonl`.

    `path` is the folder of the run. `use` is None if the test images were not used. A new result
    replaces an earlier result only if it is from as many images or more. If `always_replace` is
    True, it replaces every earlier result: the user may have removed images from a set.

    Returns:
      all uses of the test images since the end of the run.

    Raises:
      BusyError: another process has locked the folder.
      RunError: a file in the folder can't be read.
      OSError: a file can't be written.
    """
    folder = RunFolder(path)
    with lock_folder(path, wait=False):
        uses_of_test_images = read_looks(folder)
        earlier_results: Mapping = read_evaluation(folder) or {"sets": {}}
        all_results = _merge_results(earlier_results, new_results, always_replace)
        for field in ("sets", "corruption_sets"):
            earlier_sets: Mapping = earlier_results.get(field, {})
            new_sets: Any = new_results.get(field, {})
            if earlier_sets or new_sets:
                all_results[field] = _merge_results(earlier_sets, new_sets, always_replace)
        if use:
            uses_of_test_images.append(use)
            lines = [json.dumps(recorded_use) + "\n" for recorded_use in uses_of_test_images]
            write_text(folder.uses_of_test_images_file, "".join(lines))
        write_text(folder.evaluation_file, json.dumps(all_results, indent=1) + "\n")
    return uses_of_test_images


def _merge_results(earlier: Mapping, new: Mapping, always_replace: bool) -> dict[str, Any]:
    """Return all results by name; a new result replaces an earlier one unless it has fewer images.

    If `always_replace` is True, the number of images does not matter.
    """
    merged = dict(earlier)
    for name, result in new.items():
        if always_replace or _image_count(result) >= _image_count(earlier.get(name)):
            merged[name] = result
    return merged


def _image_count(result: Any) -> int:
    return result.get("images", 0) if isinstance(result, Mapping) else 0
