"""Different names for a user's sets of images that lie in different places."""

import os
from collections.abc import Mapping
from typing import Any

from jaxcifar.evaluation.image_sets import ImageSet
from jaxcifar.machine.paths import expand_home, parse_table_name
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.evaluation_file import Evaluation

_MAX_PLACE_LENGTH = 1000  # characters in evaluation.json


def place_of_images(name: str) -> str:
    """Return the absolute path of a user's images, with symbolic links resolved.

    For a table of labels, the path of the table is followed by ":" and the column of labels.

    Args:
      name: path of a folder or file, as the option `--on` gives it.
    """
    table = parse_table_name(name)
    if table is None:
        place = os.path.realpath(expand_home(name))
    else:
        place = f"{os.path.realpath(table.path)}:{table.column or ''}"
    return place[-_MAX_PLACE_LENGTH:]


def places_in(evaluation: Evaluation | None) -> dict[str, str]:
    """Return the absolute path of each set of a user's images in `evaluation.json`, by set name.

    Sets that an older version evaluated have no recorded path, and are left out.
    """
    sets: Mapping[str, Any] = evaluation["sets"] if evaluation else {}
    return {name: figures["place"] for name, figures in sets.items() if "place" in figures}


def name_by_place(
    images: ImageSet, path: str, place_of_set: Mapping[str, str], print_line: PrintLine
) -> ImageSet:
    """Return a user's set of images with its absolute path, and a name that no other path has.

    If images at another path have the name already, a number is added: "own:lab/photos (2)".

    Args:
      images: the set.
      path: path of the images, as the option `--on` gives it.
      place_of_set: name of each known set -> absolute path of its images.
      print_line: prints a line if the set gets a number.
    """
    place = place_of_images(path)
    name, title = images.name, images.title
    number = 1
    while name in place_of_set and place_of_set[name] != place:
        number += 1
        name = f"{images.name} ({number})"
        title = f"{images.title} ({number})"
    if number > 1:
        place_of_first_set = place_of_set[images.name]
        print_line(f"{title}: is in {place}; {images.title}: is in {place_of_first_set}")
    return images._replace(name=name, title=title, place=place)
