"""Load the runs that `jaxcifar evaluate` evaluates, with their images."""

from argparse import Namespace
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

from jaxcifar.config.weights_file import WEIGHTS
from jaxcifar.data import Dataset, Examples
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.evaluation.corruption_sets import CorruptedImages, open_corruption_set
from jaxcifar.evaluation.image_sets import (
    SETS_OF_RUN,
    TRAIN_SET,
    USER_SET_PREFIX,
    ImageSet,
    is_corruption_set,
    load_run_dataset,
    load_set,
)
from jaxcifar.evaluation.set_names import places_in, with_unique_name
from jaxcifar.evaluation.user_images import contains_test_images, describe_training_copies
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import Evaluation, read_evaluation, read_looks
from jaxcifar.runs.folder import RunFolder
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.load import load


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
    folder = _folder_of_run(path)
    # Before the evaluation, which takes long, so that damaged files are reported at once.
    earlier_evaluation = _read_earlier_evaluation(RunFolder(folder)) if folder else None
    corrupted_sets = open_corruption_sets(classifier, options, print_line)
    needs_dataset = not all(is_corruption_set(name) for name in options.on)
    dataset = _load_dataset(path, classifier, options, print_line) if needs_dataset else None
    sets = _load_sets(dataset, classifier, options, print_line, places_in(earlier_evaluation))
    if classifier.config.label_noise:
        sets = [_with_title_of_true_labels(images) for images in sets]
    has_test_copies = False
    if dataset is not None:
        user_sets = [images for images in sets if images.path]
        has_test_copies = any(
            contains_test_images(images.examples, dataset) for images in user_sets
        )
        for images in user_sets:
            warning = describe_training_copies(images.title, images.examples, dataset)
            if warning:
                print_line(f"{name}: {warning}")
    return LoadedRun(
        name,
        folder,
        classifier,
        sets,
        corrupted_sets,
        val=dataset.val if dataset else None,
        has_test_copies=has_test_copies,
    )


def _folder_of_run(path: Path) -> Path | None:
    """Return the folder of a run, given the folder or its weights; None for other files."""
    is_weights_of_run = path.name == WEIGHTS and (path.parent / "result.json").exists()
    if is_weights_of_run:
        return path.parent
    return path if path.is_dir() else None


def _read_earlier_evaluation(folder: RunFolder) -> Evaluation | None:
    """Return a run's earlier evaluation, or None if there is none.

    Raises:
      RunError: a file of earlier evaluations is damaged.
    """
    read_looks(folder)
    return read_evaluation(folder)


def _with_title_of_true_labels(images: ImageSet) -> ImageSet:
    """Return a set of images, with "with true labels" added to the title of training images.

    This is for runs that were trained with some random labels, by the setting `label_noise`.
    """
    if images.name != TRAIN_SET:
        return images
    return images._replace(title=f"{images.title} with true labels")


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
        is_dataset_evaluated = any(name in SETS_OF_RUN for name in options.on)
        if is_dataset_evaluated:
            raise type(error)(f"{run}: {error}") from error
        print_line(
            f"{run}: no temperature is fitted, because the validation images can't be loaded: "
            f"{error}"
        )
        return None


def _load_sets(
    dataset: Dataset | None,
    classifier: Classifier,
    options: Namespace,
    print_line: PrintLine,
    place_of_earlier_set: Mapping[str, str],
) -> list[ImageSet]:
    """Load the sets of images that the option `--on` names.

    Args:
      dataset: the data set of the run; None if it can't be loaded and no set needs it.
      classifier: the trained network.
      options: the options of the command.
      print_line: prints a line about ignored files, resized images, and sets with equal names.
      place_of_earlier_set: name of a user's set that was evaluated before -> path of its images.

    Raises:
      UsageError: a set of images can't be used, or two sets have the same name.
    """

    def get_dataset() -> Dataset:
        assert dataset is not None  # `_load_dataset` has raised if a set needs the data set
        return dataset

    place_of_set = dict(place_of_earlier_set)
    sets = []
    for name_or_path in dict.fromkeys(options.on):
        if is_corruption_set(name_or_path):
            continue
        images = load_set(
            name_or_path,
            get_dataset,
            classifier.class_names,
            options.data_dir,
            print_line,
            classifier.image_size,
        )
        is_user_set = images.name.startswith(USER_SET_PREFIX)
        if is_user_set:
            images = with_unique_name(images, name_or_path, place_of_set, print_line)
            place_of_set[images.name] = images.place
        sets.append(images.subset(options.images))
    _require_different_names([images.name for images in sets])
    return sets


def _require_different_names(names: Sequence[str]) -> None:
    """Raise a `UsageError` if two sets of images of `--on` have the same name."""
    repeated_names = [name for name in names if names.count(name) > 1]
    if repeated_names:
        title = printable(repeated_names[0].removeprefix(USER_SET_PREFIX), 60)
        raise UsageError(
            f"--on: two sets have the same name, {title}; rename one, because evaluation.json "
            "keeps one set of each name"
        )
