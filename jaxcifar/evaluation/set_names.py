"""Different names for a user's sets of images that lie in different places."""

import os
from collections.abc import Mapping
from typing import Any

from jaxcifar.evaluation.image_sets import ImageSet
from jaxcifar.machine.paths import expand_home, parse_table_name
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import Evaluation

_MAX_PATH_LENGTH = 1000  # characters in evaluation.json


def _absolute_path_of_images(name: str) -> str:
    """Return the absolute path of a user's images, with symbolic links resolved.

    For a table of labels, the path of the table is followed by ":" and the column of labels.

    Args:
      name: path of a folder or file, as the option `--on` gives it.
    """
    table = parse_table_name(name)
    if table is None:
        absolute_path = os.path.realpath(expand_home(name))
    else:
        absolute_path = f"{os.path.realpath(table.path)}:{table.column or ''}"
    return absolute_path[-_MAX_PATH_LENGTH:]


def places_in(evaluation: Evaluation | None) -> dict[str, str]:
    """Return name -> absolute path of each set of a user's images in `evaluation.json`.

    Sets that an older version evaluated have no recorded path, and are left out.
    """
    sets: Mapping[str, Any] = evaluation["sets"] if evaluation else {}
    return {name: figures["place"] for name, figures in sets.items() if "place" in figures}


def with_unique_name(
    images: ImageSet, path: str, path_of_known_set: Mapping[str, str], print_line: PrintLine
) -> ImageSet:
    """Return a user's set of images with its absolute path, and with a name of its own.

    If a known set with the same name lies at another path, a number is added to the name:
    "own:lab/photos (2)". A known set at the same path is the same set, so the name stays.

    Args:
      images: the set.
      path: path of the images, as the option `--on` gives it.
      path_of_known_set: name of each known set -> absolute path of its images.
      print_line: prints a line if the set gets a number.
    """
    absolute_path = _absolute_path_of_images(path)
    name, title = images.name, images.title
    number = 1
    while name in path_of_known_set and path_of_known_set[name] != absolute_path:
        number += 1
        name = f"{images.name} ({number})"
        title = f"{images.title} ({number})"
    if number > 1:
        path_of_first_set = path_of_known_set[images.name]
        print_line(f"{title}: is in {absolute_path}; {images.title}: is in {path_of_first_set}")
    return images._replace(name=name, title=title, place=absolute_path)
