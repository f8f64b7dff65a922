"""Evaluate on published sets of corrupted images, such as CIFAR-10-C and CIFAR-100-C.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", 2019. A folder has a file `KIND.npy` for each kind of corruption. The file holds the
images of five strengths one after the other. `labels.npy` has a label for each image of a file.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Int32, Shaped
from jaxcifar.data import Examples
from jaxcifar.data.arrays import pixels_of
from jaxcifar.data.labelled_arrays import map_images, read_labels
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.evaluation_mistakes import Predict
from jaxcifar.evaluation.image_sets import KINDS, STANDARD_KINDS, ImageSet, renumber
from jaxcifar.evaluation.measure import accuracy_of, finite_logits
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.terminal import PrintLine, pluralize
from jaxcifar.runs.evaluation_file import LEVELS, CorruptionSet


@dataclasses.dataclass(frozen=True)
class CorruptedImages:
    """The files of a folder such as `CIFAR-10-C`.

    Attributes:
      title: name of the folder.
      images: kind -> array of all images of that kind, mapped into memory.
      labels: a label for each image of a file; class numbers are those of the run.
      max_images: number of images of each kind and strength to use; None for all.
      image_size: height and width to which the images are resized.
    """

    title: str
    images: Mapping[str, Shaped[np.ndarray, "images *of_image"]]
    labels: Int32[np.ndarray, "images"]
    max_images: int | None
    image_size: int = IMAGE_SIZE

    def examples(self, kind: str, level: int) -> Examples:
        """Return the images of a kind of corruption and a strength from 1 to 5.

        Raises:
          UsageError: the images have a wrong shape or dtype, or too few images are to be used.
        """
        count = len(self.labels) // LEVELS
        rows = slice((level - 1) * count, level * count)
        name = f"{self.title}/{kind}.npy"
        pixels = pixels_of(name, self.images[kind][rows], self.image_size)
        examples = Examples(pixels, self.labels[rows])
        return ImageSet(name, name, examples).subset(self.max_images).examples


def open_corruption_set(
    name: str,
    class_names: Sequence[str],
    max_images: int | None,
    print_line: PrintLine,
    image_size: int = IMAGE_SIZE,
) -> CorruptedImages:
    """Open the files of a folder such as `CIFAR-10-C`, and check all but the pixels.

    Args:
      name: path of the folder.
      class_names: names of the run's classes, by label.
      max_images: number of images of each kind and strength to use; None for all.
      print_line: prints a line about files that are ignored, and kinds that are missing.
      image_size: height and width of the images that the run's network takes.

    Raises:
      UsageError: no file has the name of a corruption, or the run lacks a class of the images.
      RunError: a file can't be read, or the files do not fit together.
    """
    folder = expand_home(name)
    paths = {kind: folder / f"{kind}.npy" for kind in KINDS if (folder / f"{kind}.npy").exists()}
    others = sorted({path.stem for path in folder.glob("*.npy")} - {*KINDS, "labels"})
    if not paths:
        example = f"; --on {folder / others[0]}.npy evaluates on one file" if others else ""
        raise UsageError(
            f"--on {name}: no file is named after a corruption, such as fog.npy{example}"
        )
    if others:
        print_line(
            f"{name}: {pluralize(len(others), 'other file')} ignored ({others[0]}.npy); give each "
            "as --on FILE.npy"
        )
    missing = [kind for kind in STANDARD_KINDS if kind not in paths]
    if missing:
        print_line(
            f"{name}: {len(missing)} of the {len(STANDARD_KINDS)} standard corruptions are missing "
            f"({missing[0]}); the mean is over the others"
        )
    images = {kind: map_images(path) for kind, path in paths.items()}
    for kind, path in paths.items():
        count = len(images[kind])
        if count % LEVELS:
            raise RunError(
                f"{path}: has {count:,} images, which are not {LEVELS} strengths of equally many"
            )
        labels, set_classes = read_labels(path, count, class_names)
    title = folder.absolute().name
    return CorruptedImages(
        title, images, renumber(title, labels, set_classes, class_names), max_images, image_size
    )


def evaluate_corruption_set(
    predict: Predict,
    corrupted: CorruptedImages,
    date: str,
    begin: Callable[[str], None] = lambda step: None,
) -> CorruptionSet:
    """Compute the accuracy on each kind and strength of corruption.

    Args:
      predict: returns the network's logits for images.
      corrupted: the images.
      date: date and time of the evaluation.
      begin: called with a description of each step before it begins.

    Raises:
      RunError: a logit is not finite.
      UsageError: images have a wrong shape or dtype.
    """
    accuracy: dict[str, list[float]] = {}
    for kind in corrupted.images:
        begin(f"{corrupted.title}: {kind}")
        accuracy[kind] = []
        for level in range(1, LEVELS + 1):
            images, labels = corrupted.examples(kind, level)
            logits = finite_logits(predict, images, f"{kind}, strength {level}")
            accuracy[kind].append(accuracy_of(logits, labels))
    return {
        "title": corrupted.title,
        "date": date,
        "images": len(labels),
        "mean": _mean_over_standard_kinds(
            {kind: float(np.mean(values)) for kind, values in accuracy.items()}
        ),
        "accuracy": accuracy,
    }


def with_corruption_errors(found: CorruptionSet, base: CorruptionSet, name: str) -> CorruptionSet:
    """Return results with the corruption errors relative to those of a base network.

    The corruption error of a kind is the sum of the network's errors over all strengths, divided by
    that of the base network. Their mean over the standard kinds is known as mCE.

    Args:
      found: results of the network.
      base: results of the base network on the same images.
      name: name of the base network.

    Raises:
      RunError: the base network makes no errors on a kind.
    """
    errors = {}
    for kind, accuracies in found["accuracy"].items():
        base_error = sum(1 - accuracy for accuracy in base["accuracy"][kind])
        if base_error <= 0:
            raise RunError(
                f"--base {name}: makes no errors on {kind}, so that no corruption error is "
                "defined; choose another base, or more images"
            )
        errors[kind] = sum(1 - accuracy for accuracy in accuracies) / base_error
    mean = _mean_over_standard_kinds(errors)
    with_errors: CorruptionSet = {
        **found,
        "base": name,
        "corruption_error": errors,
        "mean_corruption_error": mean,
    }
    return with_errors


def _mean_over_standard_kinds(values: Mapping[str, float]) -> float:
    """Return the mean over the standard kinds; over all kinds if none of them is standard."""
    standard = [value for kind, value in values.items() if kind in STANDARD_KINDS]
    return float(np.mean(standard or list(values.values())))
