"""Read and check run folders; damaged folders are listed with the reason."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxcifar.errors import RunError, UsageError
from jaxcifar.report.run_groups import group_into_networks, group_runs, with_unique_names
from jaxcifar.report.run_records import FinishedRun, RunRecord, Variation
from jaxcifar.report.study_records import Records, StudyRecord
from jaxcifar.report.user_notes import NOTES_FILE, read_notes
from jaxcifar.runs.epoch_selection import ends_early
from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import REWRITE_STUDY_FILE, STUDY_FILE

RecordType = TypeVar("RecordType")
_REMEDY = "copy the folder again, or repeat the run with --overwrite"


def read_run(path: Path) -> RunRecord:
    """Return the content of a run folder; a `FinishedRun` if the run is finished.

    Raises:
      RunError: a file is damaged. The message is one line and does not repeat `path`.
    """
    folder = RunFolder(path)
    try:
        config, history = folder.read_config(), folder.read_history()
        result, failure = folder.finished_result(), folder.read_failure()
    except (OSError, RunError) as error:
        raise RunError(_reason_without_path(error, path)) from error
    if result is None:
        return RunRecord(path, config, history, None, failure)
    run = FinishedRun(path, config, history, result, failure)
    _check_consistency(run)
    return run


def _reason_without_path(error: Exception, folder: Path) -> str:
    """Return an error's message without the folder's path, which may differ on other machines."""
    if isinstance(error, OSError):
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return str(error).removeprefix(f"{folder}{os.sep}")


def _check_consistency(run: FinishedRun) -> None:
    """Check that `metrics.jsonl`, `config.json` and `result.json` of a run agree.

    Raises:
      RunError: they do not agree.
    """
    if run.converted:
        if run.history:
            raise RunError(
                "metrics.jsonl has epochs of training, but result.json says that the weights were "
                f"converted, not trained; {_REMEDY}"
            )
        return
    config, epochs = run.config, run.config.epochs
    ended_early = ends_early(run.history, config.patience, config.earlier_epochs)
    if len(run.history) != epochs and not ended_early:
        raise RunError(f"metrics.jsonl has {len(run.history)} of {epochs} epochs; {_REMEDY}")
    rows = [*run.history, run.result]
    validation_was_measured = ["val_accuracy" in row for row in rows]
    if any(validation_was_measured) and not all(validation_was_measured):
        raise RunError(
            f"val_accuracy is missing in some rows of metrics.jsonl or result.json; {_REMEDY}"
        )


def read_records(folder: Path) -> Records:
    """Read all runs and studies in `folder` and its subfolders.

    Raises:
      UsageError: there is no readable finished run.
    """
    unreadable_reasons: dict[Path, str] = {}
    run_folders = [file.parent for file in folder.rglob("config.json")]
    runs = _read_readable(run_folders, read_run, unreadable_reasons)
    finished_runs = [run for run in runs if isinstance(run, FinishedRun)]
    if not finished_runs:
        advice = "give a folder with one, or finish a run first"
        if unreadable_reasons:
            path, reason_and_advice = next(iter(unreadable_reasons.items()))
            advice = f"{path} can't be read: {reason_and_advice}"
        raise UsageError(f"{folder}: no finished run here or below; {advice}")
    validated_runs = [run for run in finished_runs if not run.lacks_validation]
    runs_without_validation = [run for run in finished_runs if run.lacks_validation]

    def read_study(file: Path) -> StudyRecord:
        return _read_study(file, validated_runs)

    studies = _read_readable(folder.rglob(STUDY_FILE), read_study, unreadable_reasons)
    studies = [_add_notes(study, unreadable_reasons) for study in studies]
    variations_in_studies = [variation for study in studies for variation in study.variations]
    paths_in_studies = {run.path for variation in variations_in_studies for run in variation.runs}
    other_runs = [run for run in validated_runs if run.path not in paths_in_studies]
    other_variations = _group_into_variations(other_runs, _name_from_config)
    unvalidated_variations = _group_into_variations(runs_without_validation, _name_of_row_or_config)
    return Records(
        networks=tuple(group_into_networks([*variations_in_studies, *other_variations])),
        studies=tuple(studies),
        variations_outside_studies=tuple(other_variations),
        variations_without_validation=tuple(unvalidated_variations),
        unfinished_runs=tuple(run for run in runs if not isinstance(run, FinishedRun)),
        unreadable_reasons=unreadable_reasons,
    )


def _read_readable(
    paths: Iterable[Path], read: Callable[[Path], RecordType], unreadable_reasons: dict[Path, str]
) -> list[RecordType]:
    """Call `read` on each path, in sorted order, and return the results.

    If `read` raises a RunError, its message is stored in `unreadable_reasons` under the path.
    """
    records = []
    for path in sorted(paths):
        try:
            records.append(read(path))
        except RunError as error:
            unreadable_reasons[path] = str(error)
    return records


def _read_study(file: Path, validated_runs: Iterable[FinishedRun]) -> StudyRecord:
    """Return the content of a study's folder, without the user's code and notes.

    Args:
      file: the study file.
      validated_runs: finished runs with a validation accuracy, among them the study's runs.

    Raises:
      RunError: the file is damaged. The message is one line and does not repeat its folder.
    """
    folder = file.parent
    try:
        study = Study.read(file, REWRITE_STUDY_FILE)
    except RunError as error:
        raise RunError(_reason_without_path(error, folder)) from error
    trained_runs = [run for run in validated_runs if not run.converted]
    variations: list[Variation] = []
    rows_not_begun = []
    for row in study.rows:
        row_folder = folder / row.name
        runs_of_row = [run for run in trained_runs if run.path.parent == row_folder]
        for group in group_runs(runs_of_row):
            is_comparable = _is_comparable_with_reference(group[0], study.reference)
            reference_accuracies = row.reference if is_comparable else ()
            variations.append(Variation(row.name, group, reference_accuracies))
        has_run = any(row_folder.glob("*/config.json"))
        if not has_run:
            rows_not_begun.append(row.name)
    return StudyRecord(
        path=folder,
        title=study.title,
        reference=study.reference,
        variations=tuple(with_unique_names(variations)),
        row_count=len(study.rows),
        rows_not_begun=tuple(rows_not_begun),
        author=study.author,
    )


def _is_comparable_with_reference(run: FinishedRun, reference: Mapping[str, Any]) -> bool:
    """Return whether a run has the network and the data set of a study's reference accuracies.

    `reference` is the section of the study's file on these accuracies. A network or data set that
    this section does not name counts as the same.
    """
    if "arch" in reference:
        has_other_arch = run.config.arch != reference["arch"]
        if has_other_arch or run.config.alters_network:
            return False
    return "dataset" not in reference or run.data.name == reference["dataset"]


def _add_notes(study: StudyRecord, unreadable_reasons: dict[Path, str]) -> StudyRecord:
    """Return a study with the text of the user's `NOTES.md`, or unchanged if the file is damaged.

    The reason why the file can't be read is stored in `unreadable_reasons` under the file's path.
    """
    try:
        return dataclasses.replace(study, notes=read_notes(study.path))
    except RunError as error:
        unreadable_reasons[study.path / NOTES_FILE] = _reason_without_path(error, study.path)
        return study


def _group_into_variations(
    runs: Iterable[FinishedRun], name_of: Callable[[FinishedRun], str]
) -> list[Variation]:
    """Group runs that differ only in seed or fold, and return a variation for each group.

    `name_of` returns a variation's name from its first run. Repeated names get a number.
    """
    return with_unique_names([Variation(name_of(group[0]), group) for group in group_runs(runs)])


def _name_from_config(run: FinishedRun) -> str:
    """Return a run's name without seed and fold; for converted weights, the name of their file."""
    if run.converted:
        return run.converted["file"]
    name, _, _ = dataclasses.replace(run.config, fold="").run_name().rpartition("_seed")
    return name


def _name_of_row_or_config(run: FinishedRun) -> str:
    """Return the name of the study's row to which a run belongs, or else a name from its config."""
    row_folder = run.path.parent
    is_in_study = (row_folder.parent / STUDY_FILE).exists()
    return row_folder.name if is_in_study else _name_from_config(run)
