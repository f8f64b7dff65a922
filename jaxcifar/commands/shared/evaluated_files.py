"""Add the files of listed images to the results that `jaxcifar evaluate` writes."""

from collections.abc import Sequence

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
_NO_LABEL = -1  # of classes that the user's folder does not have


def add_file_names(
    run: LoadedRun, evaluated: EvaluationResult, print_line: PrintLine = lambda line: None
) -> None:
    """Add to the results of each set of images where the images come from.

    This is the split, such as "test", and the path of a user's images. Each image that the results
    list, as a mistake or a likely label error, also gets its file name. Only images in a folder of
    the user have file names. If the folder can't be read, no names are added.
    """
    set_by_name = {image_set.name: image_set for image_set in run.sets}
    for set_name, result in evaluated.results.items():
        image_set = set_by_name[set_name]
        if set_name in SETS_OF_RUN:
            path, split = run.classifier.config.dataset, set_name
        else:
            path, split = image_set.path, image_set.split
        if split:
            result.figures["split"] = split
        if image_set.place:
            result.figures["place"] = image_set.place
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
