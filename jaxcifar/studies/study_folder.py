"""The file `study.json` in the folder of a study, and whether a study may use the folder."""

import json
from pathlib import Path

from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import program
from jaxcifar.machine.reading import Remedy
from jaxcifar.studies.code_files import without_folders
from jaxcifar.studies.study import Study

STUDY_FILE = "study.json"
REWRITE_STUDY_FILE = Remedy(f"delete it, and {program('ablation')} writes it again")


def require_same_study(study: Study, out: Path) -> None:
    """Check that the runs in the folder `out` have the settings of the study.

    The folder may lack rows of the study. Titles and published accuracies may differ.

    Raises:
      UsageError: the folder belongs to another study.
      RunError: the folder's `study.json` can't be read.
    """
    file = out / STUDY_FILE
    if not file.exists():
        return
    recorded = Study.read(file, REWRITE_STUDY_FILE).with_settings(without_folders)
    study = Study.from_dict(json.loads(study.to_json())).with_settings(without_folders)
    changes = {row.name: row.changes for row in study.rows}
    changed = [row.name for row in recorded.rows if changes.get(row.name) != row.changes]
    if recorded.config == study.config and not changed:
        return
    differences = []
    for name in sorted(recorded.config.keys() | study.config.keys()):
        old = recorded.config.get(name, "the default")
        new = study.config.get(name, "the default")
        if old != new:
            differences.append(f"{name} is {old} in the folder, {new} now")
    reason = ", ".join(differences) or f"row {changed[0]} differs"
    raise UsageError(f"--out {out}: belongs to another study ({reason}); choose another folder")
