"""One row of a study, and the settings in a study's file, after checks."""

import dataclasses
import re
from collections.abc import Mapping
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.config.setting_types import check_and_convert
from jaxcifar.config.settings import DERIVED_FIELDS
from jaxcifar.errors import UsageError
from jaxcifar.machine.reading import Fraction, convert_checked

_ROW_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{,199}")
# Settings of a single run, which no study file may have.
_SETTINGS_OF_SINGLE_RUNS = {"seed", *DERIVED_FIELDS}


@dataclasses.dataclass(frozen=True)
class StudyRow:
    """One row of a study: changes to the settings that all rows share.

    Attributes:
      name: name of the row and of its folder.
      changes: the fields of `Config` that this row sets, by name.
      reference: published test accuracies of this variation, from 0 to 1; may be empty.
    """

    name: str
    changes: dict[str, Any]
    reference: tuple[float, ...] = ()


def parse_row(row_name: str, table: Any) -> StudyRow:
    """Return a row of a study, after checking its name and its `table` from the study's file.

    Raises:
      UsageError: the name or a setting is not allowed.
      ValueError: the published accuracies are no numbers from 0 to 1.
    """
    if not _ROW_NAME_PATTERN.fullmatch(row_name):
        raise UsageError(f"row {row_name!r}: use only letters, digits and . _ + - in a row's name")
    if not isinstance(table, dict):
        raise UsageError(
            f"row {row_name}: must be a table of settings, such as {{ learning_rate = 0.1 }}"
        )
    published_accuracies = convert_checked(
        table.get("reference", []), list[Fraction], f"row {row_name}, reference"
    )
    changes = {key: value for key, value in table.items() if key != "reference"}
    checked_changes = checked_settings(f"row {row_name}", changes)
    return StudyRow(row_name, checked_changes, tuple(published_accuracies))


def checked_settings(place_in_file: str, settings: Any) -> dict[str, Any]:
    """Return settings from a study's file after checks.

    Args:
      place_in_file: the place of the settings, such as "row wide", which begins the error message.
      settings: the content of this place.

    Raises:
      UsageError: the content is no table of settings, or a setting is not allowed.
    """
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"{place_in_file}: must be a table of settings, such as learning_rate = 0.1"
        )
    for name in _SETTINGS_OF_SINGLE_RUNS & settings.keys():
        raise UsageError(f"{place_in_file}: a study can't set {name}; remove it")
    return check_and_convert(place_in_file, settings, Config)
