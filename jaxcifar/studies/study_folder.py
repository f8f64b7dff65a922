"""Compare a study with `study.json`, the record of the study that a folder belongs to."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from jaxcifar.config.registry import KINDS
from jaxcifar.config.settings import short_text
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.name_lists import join_first
from jaxcifar.machine.reading import Remedy
from jaxcifar.studies.code_files import without_folders
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_file import MAX_ROWS

if TYPE_CHECKING:  # it would import JAX, which takes a moment
    from jaxcifar.studies.moved_images import ImageDigests

STUDY_FILE = "study.json"
_DEFAULT = "the default"
_MAX_CHANGES = 6  # named in a message
REWRITE_STUDY_FILE = Remedy(f"delete it, and {shell_command('ablation')} writes it again")


def require_same_study(
    study: Study, study_folder: Path, digests: "ImageDigests | None" = None
) -> None:
    """Check that the runs in a study's folder have the settings of the study.

    The folder may lack rows of the study. Titles and published accuracies may differ. The path of
    the user's images may differ too, if they are the images that the runs were trained on.

    Args:
      study: the study.
      study_folder: the folder of the study.
      digests: computes the SHA-256 of images at another path; None to refuse any other path.

    Raises:
      UsageError: the folder belongs to another study, or images at a new path can't be loaded.
      RunError: a file in the folder, or the images at a new path, can't be read.
    """
    file = study_folder / STUDY_FILE
    if not file.exists():
        return
    recorded = Study.read(file, REWRITE_STUDY_FILE).with_settings(without_folders)
    study_now = _as_recorded(study)
    if digests is not None:
        from jaxcifar.studies.moved_images import with_new_image_paths

        recorded = with_new_image_paths(recorded, study_now, study, study_folder, digests)
    difference = _find_difference(recorded, study_now)
    if difference is not None:
        raise UsageError(
            f"--out {study_folder}: belongs to another study ({difference.text}); "
            f"{difference.advice}choose another folder"
        )


class _Difference(NamedTuple):
    """A difference between two studies as text, and advice that "choose another folder" follows."""

    text: str
    advice: str = ""


def _find_difference(recorded: Study, study_now: Study) -> _Difference | None:
    """Return how the settings of a study differ from the recorded ones; None if they are the same.

    Rows that are not in the record, because the user has added them, are no difference.
    """
    shared_differences = _describe_changes(recorded.config, study_now.config)
    if shared_differences:
        return _Difference(shared_differences)
    rows_now = {row.name: row for row in study_now.rows}
    for recorded_row in recorded.rows:
        row_now = rows_now.get(recorded_row.name)
        if row_now is None:
            continue
        recorded_settings = merge_settings(recorded.config, recorded_row.changes)
        settings_now = merge_settings(study_now.config, row_now.changes)
        changes = _describe_changes(recorded_settings, settings_now)
        if changes:
            return _Difference(
                f"in row {row_now.name}, {changes}",
                "restore this row and give the changed one another name, or ",
            )
    missing_rows = [row.name for row in recorded.rows if row.name not in rows_now]
    if missing_rows:
        return _Difference(f"row {missing_rows[0]} is in the folder and not in this study")
    return None


def _describe_changes(recorded: dict[str, Any], now: dict[str, Any]) -> str:
    """Return text such as "epochs is 3 in the folder, 5 now"; "" if the settings are the same."""
    recorded, now = _with_single_arguments(recorded), _with_single_arguments(now)
    changes = []
    for name in sorted(recorded.keys() | now.keys()):
        recorded_value, value_now = recorded.get(name, _DEFAULT), now.get(name, _DEFAULT)
        if recorded_value != value_now:
            recorded_text, text_now = short_text(recorded_value), short_text(value_now)
            changes.append(f"{name} is {recorded_text} in the folder, {text_now} now")
    return join_first(changes, _MAX_CHANGES)


def _with_single_arguments(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which `arch_args`, a dict, is replaced by a setting for each argument.

    The new settings have names such as "arch_args depth".
    """
    other_settings = {name: value for name, value in settings.items() if name != "arch_args"}
    arguments = settings.get("arch_args", {})
    return other_settings | {f"arch_args {name}": value for name, value in arguments.items()}


def with_recorded_rows(study: Study, study_folder: Path) -> Study:
    """Return a grid study, with the rows of earlier grids in the same folder added at its end.

    A grid study has a row for each combination of values. So a second command may add values: the
    folder then holds the rows of both grids. Rows are added only if the recorded study has the same
    title and the same shared settings. Otherwise the study is returned unchanged. The path of the
    user's images is not compared.

    Raises:
      UsageError: there would be more than `MAX_ROWS` rows.
      RunError: the folder's `study.json` can't be read.
    """
    file = study_folder / STUDY_FILE
    if not file.exists():
        return study
    recorded = Study.read(file, REWRITE_STUDY_FILE)
    recorded_config = _without_image_path(recorded.with_settings(without_folders).config)
    config_now = _without_image_path(_as_recorded(study).config)
    if recorded.title != study.title or recorded_config != config_now:
        return study
    row_names = {row.name for row in study.rows}
    earlier_rows = [row for row in recorded.rows if row.name not in row_names]
    rows = (*study.rows, *earlier_rows)
    if len(rows) > MAX_ROWS:
        raise UsageError(
            f"--out {study_folder}: would have {len(rows):,} rows with the rows of earlier grids, "
            f"more than {MAX_ROWS:,}; choose another folder"
        )
    return dataclasses.replace(study, rows=rows)


def _without_image_path(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings with "" in place of the path of the user's images."""
    has_image_path = "dataset" in settings and settings["dataset"] not in KINDS["dataset"]
    if not has_image_path:
        return settings
    return settings | {"dataset": ""}


def _as_recorded(study: Study) -> Study:
    """Return a study as if it were written to `study.json` and read again.

    Names of user code have no folders, so that studies started in different folders compare equal.
    """
    reread_study = Study.from_dict(json.loads(study.to_json()))
    return reread_study.with_settings(without_folders)
