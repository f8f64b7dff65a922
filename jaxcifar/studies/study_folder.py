"""Compare a study with `study.json`, the record of the study that a folder belongs to."""

import dataclasses
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from jaxcifar.config.registry import KINDS
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.reading import Remedy
from jaxcifar.studies.code_files import without_folders
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_file import MAX_ROWS

if TYPE_CHECKING:  # it would import JAX, which takes a moment
    from jaxcifar.studies.moved_images import ImageDigests

STUDY_FILE = "study.json"
REWRITE_STUDY_FILE = Remedy(f"delete it, and {shell_command('ablation')} writes it again")


def require_same_study(study: Study, out: Path, digests: "ImageDigests | None" = None) -> None:
    """Check that the runs in the folder `out` have the settings of the study.

    The folder may lack rows of the study. Titles and published accuracies may differ. So may the
    path of the user's images, if they are the images that the runs were trained on.

    Args:
      study: the study.
      out: the folder of the study.
      digests: the SHA-256 of the images of configs; None to refuse another path of the images.

    Raises:
      UsageError: the folder belongs to another study, or images at a new path can't be loaded.
      RunError: a file in the folder, or the images at a new path, can't be read.
    """
    file = out / STUDY_FILE
    if not file.exists():
        return
    recorded = Study.read(file, REWRITE_STUDY_FILE).with_settings(without_folders)
    given_study, study = study, _as_recorded(study)
    if digests is not None:
        from jaxcifar.studies.moved_images import with_new_image_paths

        recorded = with_new_image_paths(recorded, study, given_study, out, digests)
    changes = {row.name: row.changes for row in study.rows}
    missing = [row.name for row in recorded.rows if row.name not in changes]
    in_both = [row for row in recorded.rows if row.name in changes]
    changed = [row.name for row in in_both if changes[row.name] != row.changes]
    if recorded.config == study.config and not missing and not changed:
        return
    differences = []
    for name in sorted(recorded.config.keys() | study.config.keys()):
        old = recorded.config.get(name, "the default")
        new = study.config.get(name, "the default")
        if old != new:
            differences.append(f"{name} is {old} in the folder, {new} now")
    if differences:
        reason = ", ".join(differences)
    elif changed:
        reason = f"row {changed[0]} differs"
    else:
        reason = f"row {missing[0]} is in the folder and not in this study"
    raise UsageError(f"--out {out}: belongs to another study ({reason}); choose another folder")


def with_recorded_rows(study: Study, out: Path) -> Study:
    """Return a grid study with the rows added that earlier grids left in the folder `out`.

    A grid study has a row for each combination of values. Earlier grids must vary the same settings
    and share the others. Their rows come last, so the order of the grid's own runs does not depend
    on the folder. If the folder belongs to another study, the grid is returned without changes, and
    `require_same_study` refuses the folder. The path of the user's images may differ here;
    `require_same_study` then compares the images.

    Raises:
      UsageError: there would be more than `MAX_ROWS` rows.
      RunError: the folder's `study.json` can't be read.
    """
    file = out / STUDY_FILE
    if not file.exists():
        return study
    recorded = Study.read(file, REWRITE_STUDY_FILE)
    recorded_config = recorded.with_settings(without_folders).config
    config = _as_recorded(study).config
    if recorded.title != study.title or _without_path(recorded_config) != _without_path(config):
        return study
    names = {row.name for row in study.rows}
    earlier_rows = [row for row in recorded.rows if row.name not in names]
    rows = (*study.rows, *earlier_rows)
    if len(rows) > MAX_ROWS:
        raise UsageError(
            f"--out {out}: would have {len(rows):,} rows with those of earlier grids, more than "
            f"{MAX_ROWS:,}; choose another folder"
        )
    return dataclasses.replace(study, rows=rows)


def _without_path(settings: dict[str, Any]) -> dict[str, Any]:
    """Return settings in which an empty text stands for the path of the user's images."""
    is_path = "dataset" in settings and settings["dataset"] not in KINDS["dataset"]
    return settings | {"dataset": ""} if is_path else settings


def _as_recorded(study: Study) -> Study:
    """Return a study as it is after it was written to `study.json` and read again.

    Names of user code have no folders, so that studies started in different folders compare equal.
    """
    return Study.from_dict(json.loads(study.to_json())).with_settings(without_folders)
