"""Add the sources of images, such as their files, to the results of `jaxcifar evaluate`."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxcifar.commands.shared.evaluated_runs import LoadedRun
from jaxcifar.config.registry import KINDS
from jaxcifar.data.decode import find_file_names
from jaxcifar.data.folder_listing import normal_form
from jaxcifar.data.image_folder import ImageFolder, scan_images
from jaxcifar.errors import RunError
from jaxcifar.evaluation.image_sets import SETS_OF_RUN, ImageSet
from jaxcifar.evaluation.measure import EvaluationResult
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import Mistake

_MAX_FILE_NAME_LENGTH = 1000  # in evaluation.json
_LABEL_OF_UNKNOWN_CLASS = -1  # of classes that the user's folder does not have


def add_image_sources(
    run: LoadedRun, evaluation_result: EvaluationResult, print_line: PrintLine = lambda line: None
) -> None:
    """Add the sources of the images to the results on each set of images.

    The source is the split, such as "test", and the path of a user's images. Mistakes and likely
    label errors also get the names of the image files, if the images are in a folder of the user.
    If the folder can't be read, no names are added.
    """
    set_by_name = {image_set.name: image_set for image_set in run.sets}
    for set_name, result in evaluation_result.results.items():
        image_set = set_by_name[set_name]
        source = _source_of_set(image_set, run)
        if source.split:
            result.figures["split"] = source.split
        if image_set.place:
            result.figures["place"] = image_set.place
        folder = _scan_user_folder(source.path)
        mistakes: Sequence[Mistake] = result.figures["mistakes"]
        listed_images = [*mistakes, *result.figures.get("label_errors", [])]
        if folder is not None and listed_images:
            print_line(f"{run.name}: {image_set.title}: finding the files of listed images")
            _add_names_of_found_files(listed_images, folder, image_set, source.split)


class _Source(NamedTuple):
    """The data set or path that images are from, and the split, such as "test"; "" for no split."""

    path: str
    split: str


def _source_of_set(image_set: ImageSet, run: LoadedRun) -> _Source:
    """Return the source of a set of images that a run was evaluated on."""
    if image_set.name in SETS_OF_RUN:
        return _Source(run.classifier.config.dataset, split=image_set.name)
    return _Source(image_set.path, image_set.split)


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
    labels = [
        label_of_class.get(normal_form(image["label"]), _LABEL_OF_UNKNOWN_CLASS)
        for image in listed_images
    ]
    indices_in_whole_set = np.asarray([image["index"] for image in listed_images])
    positions_in_subset = indices_in_whole_set
    if image_set.indices is not None:
        sorted_subset_indices = image_set.indices
        positions_in_subset = np.searchsorted(sorted_subset_indices, indices_in_whole_set)
    pixels = image_set.examples.images[positions_in_subset]
    file_names = find_file_names(folder, pixels, np.asarray(labels), split)
    for image, file_name in zip(listed_images, file_names, strict=True):
        if file_name:
            image["file"] = file_name[:_MAX_FILE_NAME_LENGTH]


def _scan_user_folder(path: str) -> ImageFolder | None:
    """Return the classes and files of a user's folder; None if `path` is no folder of images."""
    if not path or path in KINDS["dataset"]:
        return None
    try:
        return scan_images(path, needs_every_class=False)
    except RunError:
        return None
