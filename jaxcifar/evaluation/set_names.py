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
    """Return the absolute path of a user's images, without links.

    Args:
      name: path that the option `--on` gives. The place of a table has the column of labels, too.
    """
    table = parse_table_name(name)
    if table is None:
        place = os.path.realpath(expand_home(name))
    else:
        place = f"{os.path.realpath(table.path)}:{table.column or ''}"
    return place[-_MAX_PLACE_LENGTH:]


def places_in(evaluation: Evaluation | None) -> dict[str, str]:
    """Return where the images of each of a user's sets in `evaluation.json` lie, by set name.

    Such a place is an absolute path (see `place_of_images`). Sets that an older version evaluated
    have no recorded place, and are left out.
    """
    sets: Mapping[str, Any] = evaluation["sets"] if evaluation else {}
    return {name: figures["place"] for name, figures in sets.items() if "place" in figures}


def name_by_place(
    images: ImageSet, path: str, place_of_set: Mapping[str, str], print_line: PrintLine
) -> ImageSet:
    """Return a user's set of images with its place, and a name that no other place has.

    If another place has the name already, name and title get a number: "own:lab/photos (2)".

    Args:
      images: the set.
      path: path of the images, as the option `--on` gives it.
      place_of_set: place of each known set, by the set's name.
      print_line: prints a line if the set gets a number.
    """
    place = place_of_images(path)
    name, title = images.name, images.title
    number = 1
    while place_of_set.get(name, place) != place:
        number += 1
        name, title = f"{images.name} ({number})", f"{images.title} ({number})"
    if number > 1:
        place_of_first_set = place_of_set[images.name]
        print_line(f"{title}: is in {place}; {images.title}: is in {place_of_first_set}")
    return images._replace(name=name, title=title, place=place)
