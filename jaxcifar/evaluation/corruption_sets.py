"""Evaluate on published sets of corrupted images, such as CIFAR-10-C and CIFAR-100-C.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", 2019. A folder has a file `KIND.npy` for each kind of corruption. The file holds the
images of five strengths one after the other. `labels.npy` has a label for each image of a file.
"""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Int32, Shaped
from jaxcifar.data import Examples
from jaxcifar.data.arrays import convert_to_squares
from jaxcifar.data.labelled_arrays import map_images, read_labels_beside
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.class_numbers import renumber
from jaxcifar.evaluation.evaluation_mistakes import Predict
from jaxcifar.evaluation.image_sets import KINDS, STANDARD_KINDS, ImageSet
from jaxcifar.evaluation.measure import accuracy_of, finite_logits
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.terminal import PrintLine, pluralize
from jaxcifar.runs.evaluation_file import LEVELS, CorruptionSet


@dataclasses.dataclass(frozen=True)
class CorruptedImages:
    """The corrupted images in a folder such as `CIFAR-10-C`.

    Attributes:
      title: name of the folder.
      images: for each kind of corruption, the images of five strengths one after the other, as an
        array that is mapped into memory.
      labels: label of each image of a kind, by the class numbers of the run to evaluate.
      max_images: number of images of each kind and strength to use; None for all.
      image_size: height and width to which the images are resized.
    """

    title: str
    images: Mapping[str, Shaped[np.ndarray, "images *of_image"]]
    labels: Int32[np.ndarray, "images"]
    max_images: int | None
    image_size: int = IMAGE_SIZE

    def examples(self, kind: str, level: int) -> Examples:
        """Return the images (and labels) of one kind of corruption at a strength from 1 to 5.

        Raises:
          UsageError: the images have a wrong shape or dtype, or `max_images` is too small.
        """
        count = len(self.labels) // LEVELS
        of_level = slice((level - 1) * count, level * count)
        name = f"{self.title}/{kind}.npy"
        pixels = convert_to_squares(name, self.images[kind][of_level], self.image_size)
        image_set = ImageSet(name, name, Examples(pixels, self.labels[of_level]))
        return image_set.subset(self.max_images).examples


def open_corruption_set(
    name: str,
    class_names: Sequence[str],
    max_images: int | None,
    print_line: PrintLine,
    image_size: int = IMAGE_SIZE,
) -> CorruptedImages:
    """Open the files of corrupted images in a folder such as `CIFAR-10-C`, and check them.

    The pixels are not read yet.

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
    paths = _corruption_files(name, print_line)
    images = {kind: map_images(path) for kind, path in paths.items()}
    for kind, path in paths.items():
        count = len(images[kind])
        if count % LEVELS:
            raise RunError(
                f"{path}: has {count:,} images, which are not {LEVELS} strengths of equally many"
            )
        labels, set_classes = read_labels_beside(path, count, class_names)
    title = expand_home(name).absolute().name
    run_labels = renumber(title, labels, set_classes, class_names)
    return CorruptedImages(title, images, run_labels, max_images, image_size)


def _corruption_files(name: str, print_line: PrintLine) -> dict[str, Path]:
    """Return the file of each kind of corruption in the folder `name`.

    A line is printed about other `.npy` files, and about missing standard kinds.

    Raises:
      UsageError: no file has the name of a corruption.
    """
    folder = expand_home(name)
    paths = {kind: folder / f"{kind}.npy" for kind in KINDS if (folder / f"{kind}.npy").exists()}
    other_names = sorted({path.stem for path in folder.glob("*.npy")} - {*KINDS, "labels"})
    if not paths:
        example = ""
        if other_names:
            example = f"; --on {folder / other_names[0]}.npy evaluates on one file"
        raise UsageError(
            f"--on {name}: no file is named after a corruption, such as fog.npy{example}"
        )
    if other_names:
        print_line(
            f"{name}: {pluralize(len(other_names), 'other file')} ignored ({other_names[0]}.npy); "
            "give each as --on FILE.npy"
        )
    missing = [kind for kind in STANDARD_KINDS if kind not in paths]
    if missing:
        print_line(
            f"{name}: {len(missing)} of the {len(STANDARD_KINDS)} standard corruptions are missing "
            f"({missing[0]}); the mean is over the others"
        )
    return paths


def evaluate_corruption_set(
    predict: Predict,
    corrupted: CorruptedImages,
    date: str,
    begin: Callable[[str], None] = lambda step: None,
) -> CorruptionSet:
    """Compute a network's accuracy on each kind and strength of corruption.

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
    mean_of_kind = {kind: float(np.mean(values)) for kind, values in accuracy.items()}
    return {
        "title": corrupted.title,
        "date": date,
        "images": len(labels),
        "mean": _mean_over_standard_kinds(mean_of_kind),
        "accuracy": accuracy,
    }


def with_corruption_errors(results: CorruptionSet, base: CorruptionSet, name: str) -> CorruptionSet:
    """Return a copy of a network's results, with its errors relative to a base network.

    The corruption error of a kind is the sum of the network's errors over all strengths, divided by
    the same sum of the base network. The mean over the standard kinds is known as mCE.

    Args:
      results: results of the network.
      base: results of the base network on the same images.
      name: name of the base network.

    Raises:
      RunError: the base network makes no errors on a kind.
    """
    errors = {}
    for kind, accuracies in results["accuracy"].items():
        base_error = sum(1 - accuracy for accuracy in base["accuracy"][kind])
        if base_error <= 0:
            raise RunError(
                f"--base {name}: makes no errors on {kind}, so that no corruption error is "
                "defined; choose another base, or more images"
            )
        errors[kind] = sum(1 - accuracy for accuracy in accuracies) / base_error
    mean = _mean_over_standard_kinds(errors)
    with_errors: CorruptionSet = {
        **results,
        "base": name,
        "corruption_error": errors,
        "mean_corruption_error": mean,
    }
    return with_errors


def _mean_over_standard_kinds(values: Mapping[str, float]) -> float:
    """Return the mean of the values of CIFAR-10-C's standard kinds of corruption.

    If none of the kinds is standard, return the mean of all values.
    """
    standard_values = [value for kind, value in values.items() if kind in STANDARD_KINDS]
    return float(np.mean(standard_values or list(values.values())))
