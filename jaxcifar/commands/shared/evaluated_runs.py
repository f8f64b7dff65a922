"""Load the runs that `jaxcifar evaluate` evaluates, with their images."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.config.registry import KINDS
from jaxcifar.config.weights_file import WEIGHTS
from jaxcifar.data import Dataset, Examples
from jaxcifar.data.decode import find_file_names
from jaxcifar.data.folder_listing import normal_form
from jaxcifar.data.image_folder import ImageFolder, scan_images
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.evaluation.corruption_sets import CorruptedImages, open_corruption_set
from jaxcifar.evaluation.image_sets import (
    SETS_OF_RUN,
    TRAIN_SET,
    ImageSet,
    is_corruption_set,
    load_run_dataset,
    load_set,
)
from jaxcifar.evaluation.measure import EvaluationResult
from jaxcifar.evaluation.user_images import contains_test_images, describe_training_copies
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import Mistake, read_evaluation, read_looks
from jaxcifar.runs.folder import RunFolder
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.load import load

_MAX_FILE_NAME_LENGTH = 1000  # in evaluation.json
_NO_LABEL = -1  # for classes that the user's folder does not have


class LoadedRun(NamedTuple):
    """A finished run to evaluate, with its network and the images.

    Attributes:
      name: name of the run in tables.
      folder: folder of the run; None for a file of weights outside of a run.
      classifier: the trained network.
      sets: the sets of images to evaluate the network on.
      corrupted_sets: the sets of corrupted images in files to evaluate the network on.
      val: the run's validation images; None if they can't be loaded.
      has_test_copies: True if a set of the user's images has copies of the run's test images.
    """

    name: str
    folder: Path | None
    classifier: Classifier
    sets: list[ImageSet]
    corrupted_sets: list[CorruptedImages]
    val: Examples | None
    has_test_copies: bool = False


def load_run(path: Path, name: str, options: Namespace, print_line: PrintLine) -> LoadedRun:
    """Load the network of a run or of a file of weights, and the images that `--on` names.

    Raises:
      UsageError: the run or a set of images can't be used.
      RunError: a file can't be read.
    """
    classifier = load(path, data_dir=options.data_dir)
    folder = path if path.is_dir() else None
    if path.name == WEIGHTS and (path.parent / "result.json").exists():
        folder = path.parent
    if folder:
        _require_readable_evaluation(RunFolder(folder))  # before the evaluation, which takes long
    corrupted_sets = open_corruption_sets(classifier, options, print_line)
    needs_dataset = not all(is_corruption_set(name) for name in options.on)
    dataset = _load_dataset(path, classifier, options, print_line) if needs_dataset else None
    sets = _load_sets(dataset, classifier, options, print_line)
    if classifier.config.label_noise:
        sets = [_with_title_of_true_labels(images) for images in sets]
    has_test_copies = False
    if dataset is not None:
        for images in sets:
            if not images.path:
                continue
            has_test_copies |= contains_test_images(images.examples, dataset)
            warning = describe_training_copies(images.title, images.examples, dataset)
            if warning:
                print_line(f"{name}: {warning}")
    val = dataset.val if dataset else None
    return LoadedRun(name, folder, classifier, sets, corrupted_sets, val, has_test_copies)


def _require_readable_evaluation(folder: RunFolder) -> None:
    """Raise a `RunError` if a file of a run's earlier evaluations is damaged."""
    read_evaluation(folder)
    read_looks(folder)


def _with_title_of_true_labels(images: ImageSet) -> ImageSet:
    """Return a set of images; the title of training images ends in "with true labels".

    For runs with the setting `label_noise`, which were trained with some random labels.
    """
    if images.name != TRAIN_SET:
        return images
    return images._replace(title=f"{images.title} with true labels")


def add_file_names(
    run: LoadedRun, evaluated: EvaluationResult, print_line: PrintLine = lambda line: None
) -> None:
    """Add the split to the results of each set of images, and file names to its listed images.

    The listed images are the mistakes and the likely label errors. Only images in a folder of the
    user have file names. If the folder can't be read, no names are added.
    """
    set_by_name = {image_set.name: image_set for image_set in run.sets}
    for set_name, result in evaluated.results.items():
        image_set = set_by_name[set_name]
        path, split = image_set.path, image_set.split
        if set_name in SETS_OF_RUN:
            path, split = run.classifier.config.dataset, set_name
        if split:
            result.figures["split"] = split
        folder = _scan_user_folder(path)
        if folder is None:
            continue
        mistakes: Sequence[Mistake] = result.figures["mistakes"]
        listed_images = [*mistakes, *result.figures.get("label_errors", [])]
        if listed_images:
            print_line(f"{run.name}: {image_set.title}: finding the files of listed images")
            _add_names_of_found_files(listed_images, folder, image_set, split)


def _add_names_of_found_files(
    listed_images: Sequence[Mistake], folder: ImageFolder, image_set: ImageSet, split: str
) -> None:
    """Add the name of the image file, as the key `file`, to each mistake or likely label error.

    Args:
      listed_images: the mistakes and label errors. An image whose file is not found is not changed.
      folder: the user's folder of images.
      image_set: the set of images that was evaluated.
      split: the split of the folder that the set belongs to, such as "test"; "" for all images.
    """
    label_of_class = {normal_form(name): label for label, name in enumerate(folder.class_names)}
    labels = [label_of_class.get(normal_form(image["label"]), _NO_LABEL) for image in listed_images]
    positions_in_whole_set = np.asarray([image["index"] for image in listed_images])
    positions = positions_in_whole_set
    if image_set.indices is not None:  # the images are only a part of the whole set
        positions = np.searchsorted(image_set.indices, positions_in_whole_set)
    pixels = image_set.examples.images[positions]
    file_names = find_file_names(folder, pixels, np.asarray(labels), split)
    for image, file_name in zip(listed_images, file_names, strict=True):
        if file_name:
            image["file"] = file_name[:_MAX_FILE_NAME_LENGTH]


def _scan_user_folder(path: str) -> ImageFolder | None:
    """Return a list of the image files in a user's folder; None if `path` is no such folder."""
    if not path or path in KINDS["dataset"]:
        return None
    try:
        return scan_images(path, needs_every_class=False)
    except RunError:
        return None


def open_corruption_sets(
    classifier: Classifier, options: Namespace, print_line: PrintLine
) -> list[CorruptedImages]:
    """Open the sets of corrupted images, such as CIFAR-10-C, that the option `--on` names.

    Raises:
      UsageError: a set can't be used, or two sets have the same name.
      RunError: a file can't be read.
    """
    corrupted_sets = [
        open_corruption_set(
            name, classifier.class_names, options.images, print_line, classifier.image_size
        )
        for name in dict.fromkeys(options.on)
        if is_corruption_set(name)
    ]
    _require_different_names([images.title for images in corrupted_sets])
    return corrupted_sets


def _load_dataset(
    run: Path, classifier: Classifier, options: Namespace, print_line: PrintLine
) -> Dataset | None:
    """Return the data set of a run; None if it can't be loaded and no set of `--on` needs it."""
    try:
        return load_run_dataset(
            classifier.config, classifier.class_names, options.data_dir, print_line
        )
    except (UsageError, RunError) as error:
        if any(name in SETS_OF_RUN for name in options.on):
            raise type(error)(f"{run}: {error}") from error
        print_line(
            f"{run}: no temperature is fitted, because the validation images can't be loaded: "
            f"{error}"
        )
        return None


def _load_sets(
    dataset: Dataset | None, classifier: Classifier, options: Namespace, print_line: PrintLine
) -> list[ImageSet]:
    """Load the sets of images that the option `--on` names.

    `dataset` is the data set of the run; None if it can't be loaded and no set needs it.

    Raises:
      UsageError: a set of images can't be used, or two sets have the same name.
    """

    def dataset_of_run() -> Dataset:
        assert dataset is not None  # `_load_dataset` has raised if a set needs the data set
        return dataset

    sets = []
    for name in dict.fromkeys(options.on):
        if is_corruption_set(name):
            continue
        images = load_set(
            name,
            dataset_of_run,
            classifier.class_names,
            options.data_dir,
            print_line,
            classifier.image_size,
        )
        sets.append(images.subset(options.images))
    _require_different_names([images.name for images in sets])
    return sets


def _require_different_names(names: Sequence[str]) -> None:
    """Raise a `UsageError` if two sets of images of `--on` have the same name."""
    repeated_names = [name for name in names if names.count(name) > 1]
    if repeated_names:
        title = printable(repeated_names[0].removeprefix("own:"), 60)
        raise UsageError(
            f"--on: two sets have the same name, {title}; rename one, because evaluation.json "
            "keeps one set of each name"
        )
