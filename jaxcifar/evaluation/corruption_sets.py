"""Evaluate on published sets of corrupted images, such as CIFAR-10-C and CIFAR-100-C.

Hendrycks and Dietterich, "Benchmarking neural network robustness to common corruptions and
perturbations", 2019. A folder has a file `KIND.npy` for each kind of corruption. The file holds the
images of five strengths one after the other. `labels.npy` has a label for each image of a file.
"""

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from jaxcifar.array_types import Int32, Shaped
from jaxcifar.data import Examples
from jaxcifar.data.arrays import convert_to_squares
from jaxcifar.data.labelled_arrays import (
    map_images,
    published_dataset_of,
    read_labels_beside,
)
from jaxcifar.errors import RunError, UsageError
from jaxcifar.evaluation.class_numbers import convert_to_run_labels
from jaxcifar.evaluation.evaluation_mistakes import Predict
from jaxcifar.evaluation.image_sets import ALL_CORRUPTIONS, STANDARD_CORRUPTIONS, ImageSet
from jaxcifar.evaluation.measure import accuracy_of, finite_logits
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.paths import expand_home, last_two_names
from jaxcifar.machine.terminal import PrintLine, pluralize
from jaxcifar.runs.evaluation_file import LEVELS, CorruptionSet


@dataclasses.dataclass(frozen=True)
class CorruptedImages:
    """The corrupted images in a folder such as `CIFAR-10-C`.

    Attributes:
      title: name of the folder, see `_title_of_folder`.
      images_by_kind: for each kind of corruption, the images of five strengths one after the
        other, as an array that is mapped into memory.
      labels: label of each image of a kind, by the class numbers of the run to evaluate.
      max_images: number of images of each kind and strength to use; None for all.
      image_size: height and width to which the images are resized.
    """

    title: str
    images_by_kind: Mapping[str, Shaped[np.ndarray, "images *of_image"]]
    labels: Int32[np.ndarray, "images"]
    max_images: int | None
    image_size: int = IMAGE_SIZE

    def examples(self, kind: str, strength: int) -> Examples:
        """Return the images (and labels) of one kind of corruption at a strength from 1 to 5.

        Raises:
          UsageError: the images have a wrong shape or dtype, or `max_images` is too small.
        """
        images_per_strength = len(self.labels) // LEVELS
        end = strength * images_per_strength
        start = end - images_per_strength
        file_name = f"{self.title}/{kind}.npy"
        original_images = self.images_by_kind[kind][start:end]
        pixels = convert_to_squares(file_name, original_images, self.image_size)
        all_examples = Examples(pixels, self.labels[start:end])
        whole_set = ImageSet(name=file_name, title=file_name, examples=all_examples)
        return whole_set.subset(self.max_images).examples


def open_corruption_set(
    folder_name: str,
    class_names: Sequence[str],
    max_images: int | None,
    print_line: PrintLine,
    image_size: int = IMAGE_SIZE,
) -> CorruptedImages:
    """Open the files of corrupted images in a folder such as `CIFAR-10-C`, and check them.

    The pixels are not read yet.

    Args:
      folder_name: path of the folder.
      class_names: names of the run's classes, by label.
      max_images: number of images of each kind and strength to use; None for all.
      print_line: prints a line about files that are ignored, and kinds that are missing.
      image_size: height and width of the images that the run's network takes.

    Raises:
      UsageError: no file has the name of a corruption, or the run lacks a class of the images.
      RunError: a file can't be read, or the files do not fit together.
    """
    paths = _find_corruption_files(folder_name, print_line)
    images_by_kind = {kind: map_images(path) for kind, path in paths.items()}
    for kind, path in paths.items():
        image_count = len(images_by_kind[kind])
        has_equal_strengths = image_count % LEVELS == 0
        if not has_equal_strengths:
            raise RunError(
                f"{path}: has {image_count:,} images, but must have equally many for each of "
                f"{LEVELS} strengths; download the file again"
            )
        # All files share the labels in `labels.npy`. Each call checks that they fit one file.
        shared_labels, set_classes = read_labels_beside(path, image_count, class_names)
    title = _title_of_folder(expand_home(folder_name))
    run_labels = convert_to_run_labels(title, shared_labels, set_classes, class_names)
    return CorruptedImages(title, images_by_kind, run_labels, max_images, image_size)


def _title_of_folder(folder: Path) -> str:
    """Return the title of a folder of corrupted images, such as "CIFAR-10-C" or "lab2/noisy".

    The published sets CIFAR-10-C and CIFAR-100-C have the same images on every machine. Folders
    with another name can be different sets, so their title begins with the name of the folder that
    contains them.
    """
    name = folder.absolute().name
    return name if published_dataset_of(name) else last_two_names(folder)


def _find_corruption_files(folder_name: str, print_line: PrintLine) -> dict[str, Path]:
    """Return the files in the folder `folder_name` by the kind of corruption of their images.

    A line is printed about other `.npy` files, and about missing standard kinds.

    Raises:
      UsageError: no file has the name of a corruption.
    """
    folder = expand_home(folder_name)
    paths_of_all_kinds = {kind: folder / f"{kind}.npy" for kind in ALL_CORRUPTIONS}
    paths = {kind: path for kind, path in paths_of_all_kinds.items() if path.exists()}
    names_in_folder = {path.stem for path in folder.glob("*.npy")}
    ignored_names = sorted(names_in_folder - {*ALL_CORRUPTIONS, "labels"})
    if not paths:
        advice = "give a folder such as CIFAR-10-C"
        if ignored_names:
            advice = f"--on {folder / ignored_names[0]}.npy evaluates on one file"
        raise UsageError(
            f"--on {folder_name}: no file is named after a corruption, such as fog.npy; {advice}"
        )
    if ignored_names:
        print_line(
            f"{folder_name}: {pluralize(len(ignored_names), 'other file')} ignored "
            f"({ignored_names[0]}.npy); give each as --on FILE.npy"
        )
    missing_kinds = [kind for kind in STANDARD_CORRUPTIONS if kind not in paths]
    if missing_kinds:
        print_line(
            f"{folder_name}: {len(missing_kinds)} of the {len(STANDARD_CORRUPTIONS)} standard "
            f"corruptions are missing ({missing_kinds[0]}); the mean is over the others"
        )
    return paths


def evaluate_corruption_set(
    predict: Predict,
    corrupted: CorruptedImages,
    date: str,
    report_step: Callable[[str], None] = lambda step: None,
) -> CorruptionSet:
    """Compute a network's accuracy on each kind and strength of corruption.

    Args:
      predict: returns the network's logits for images.
      corrupted: the images.
      date: date and time of the evaluation.
      report_step: called with a description of each step before it begins.

    Raises:
      RunError: a logit is not finite.
      UsageError: images have a wrong shape or dtype.
    """
    accuracies_of_kind: dict[str, list[float]] = {}
    image_count = 0
    for kind in corrupted.images_by_kind:
        report_step(f"{corrupted.title}: {kind}")
        accuracies_of_kind[kind] = []
        for strength in range(1, LEVELS + 1):
            images, labels = corrupted.examples(kind, strength)
            image_count = len(labels)  # the same for each kind and strength
            logits = finite_logits(predict, images, f"{kind}, strength {strength}")
            accuracies_of_kind[kind].append(accuracy_of(logits, labels))
    mean_of_kind = {
        kind: float(np.mean(accuracies)) for kind, accuracies in accuracies_of_kind.items()
    }
    return {
        "title": corrupted.title,
        "date": date,
        "images": image_count,
        "mean": _mean_over_kinds(mean_of_kind),
        "accuracy": accuracies_of_kind,
    }


def with_corruption_errors(
    results: CorruptionSet, base_results: CorruptionSet, base_name: str
) -> CorruptionSet:
    """Return a copy of a network's results, with its errors relative to a base network.

    The corruption error of a kind is the sum of the network's errors over all strengths, divided by
    the same sum of the base network. The mean over the standard kinds is known as mCE.

    Args:
      results: results of the network.
      base_results: results of the base network on the same images.
      base_name: name of the base network.

    Raises:
      RunError: the base network makes no errors on a kind.
    """
    corruption_errors = {}
    for kind, accuracies in results["accuracy"].items():
        base_error_sum = sum(1 - accuracy for accuracy in base_results["accuracy"][kind])
        if base_error_sum <= 0:
            raise RunError(
                f"--base {base_name}: classifies all images of {kind} correctly, and the "
                "corruption error would divide by its 0 errors; choose another base, or more images"
            )
        error_sum = sum(1 - accuracy for accuracy in accuracies)
        corruption_errors[kind] = error_sum / base_error_sum
    mean_error = _mean_over_kinds(corruption_errors)
    with_errors: CorruptionSet = {
        **results,
        "base": base_name,
        "corruption_error": corruption_errors,
        "mean_corruption_error": mean_error,
    }
    return with_errors


def kinds_in_mean(kinds: Iterable[str]) -> list[str]:
    """Return the kinds of corruption that count in means: those that are standard in CIFAR-10-C.

    If none of `kinds` is standard, all of them count.
    """
    all_kinds = list(kinds)
    return [kind for kind in all_kinds if kind in STANDARD_CORRUPTIONS] or all_kinds


def _mean_over_kinds(values: Mapping[str, float]) -> float:
    """Return the mean of values (kind of corruption -> value) over the kinds of `kinds_in_mean`."""
    return float(np.mean([values[kind] for kind in kinds_in_mean(values)]))
