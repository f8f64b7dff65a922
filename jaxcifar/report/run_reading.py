"""Read and check run folders; damaged folders are listed with the reason."""

import dataclasses
import os
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, TypeVar

from jaxcifar.errors import RunError, UsageError
from jaxcifar.report.run_groups import group_runs, with_unique_names
from jaxcifar.report.run_records import FinishedRun, RunRecord, StudiedNetwork, Variation
from jaxcifar.report.study_records import Records, StudyRecord
from jaxcifar.report.user_notes import NOTES, read_notes
from jaxcifar.runs.epoch_selection import ends_early
from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import REWRITE_STUDY_FILE, STUDY_FILE

T = TypeVar("T")
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
    is_early = ends_early(run.history, config.patience, config.continue_epochs)
    if len(run.history) != epochs and not is_early:
        raise RunError(f"metrics.jsonl has {len(run.history)} of {epochs} epochs; {_REMEDY}")
    rows = [*run.history, run.result]
    validated = [row for row in rows if "val_accuracy" in row]
    if len(validated) not in (0, len(rows)):
        raise RunError(
            f"val_accuracy is missing in some rows of metrics.jsonl or result.json; {_REMEDY}"
        )


def read_records(folder: Path) -> Records:
    """Read all runs and studies in `folder` and its subfolders.

    Raises:
      UsageError: there is no readable finished run.
    """
    unreadable: dict[Path, str] = {}
    run_folders = [file.parent for file in folder.rglob("config.json")]
    runs = _read_all(run_folders, read_run, unreadable)
    finished = [run for run in runs if isinstance(run, FinishedRun)]
    if not finished:
        problems = [f"; {path} can't be read: {reason}" for path, reason in unreadable.items()]
        first_problem = problems[0] if problems else ""
        raise UsageError(f"{folder}: no finished run here or below{first_problem}")
    validated = [run for run in finished if not run.lacks_validation]
    not_validated = [run for run in finished if run.lacks_validation]
    files = folder.rglob(STUDY_FILE)
    studies = _read_all(files, lambda file: _read_study(file, validated), unreadable)
    studies = [_with_notes(study, unreadable) for study in studies]
    in_studies = [variation for study in studies for variation in study.variations]
    paths_in_studies = {run.path for variation in in_studies for run in variation.runs}
    other_runs = [run for run in validated if run.path not in paths_in_studies]
    outside_studies = _group_into_variations(other_runs, _config_name)
    return Records(
        networks=tuple(_networks([*in_studies, *outside_studies])),
        studies=tuple(studies),
        outside_studies=tuple(outside_studies),
        without_validation=tuple(_group_into_variations(not_validated, _row_name)),
        unfinished=tuple(run for run in runs if not isinstance(run, FinishedRun)),
        unreadable=unreadable,
    )


def _read_all(
    paths: Iterable[Path], read: Callable[[Path], T], unreadable: dict[Path, str]
) -> list[T]:
    """Call `read` on each path, in sorted order, and return the results.

    If `read` raises a RunError, the error's message is stored in `unreadable` under the path.
    """
    records = []
    for path in sorted(paths):
        try:
            records.append(read(path))
        except RunError as error:
            unreadable[path] = str(error)
    return records


def _read_study(file: Path, validated: Iterable[FinishedRun]) -> StudyRecord:
    """Return the content of a study's folder, without the user's code and notes.

    Args:
      file: the study file.
      validated: finished runs with a validation accuracy; the study's runs are taken from them.

    Raises:
      RunError: the file is damaged. The message is one line and does not repeat its folder.
    """
    folder = file.parent
    try:
        study = Study.read(file, REWRITE_STUDY_FILE)
    except RunError as error:
        raise RunError(_reason_without_path(error, folder)) from error
    variations: list[Variation] = []
    not_begun = []
    for row in study.rows:
        row_folder = folder / row.name
        runs = [run for run in validated if run.path.parent == row_folder and not run.converted]
        for group in group_runs(runs):
            is_comparable = _is_like_reference(group[0], study.reference)
            reference = row.reference if is_comparable else ()
            variations.append(Variation(row.name, group, reference))
        if not any(row_folder.glob("*/config.json")):
            not_begun.append(row.name)
    return StudyRecord(
        path=folder,
        title=study.title,
        reference=study.reference,
        variations=tuple(with_unique_names(variations)),
        rows=len(study.rows),
        not_begun=tuple(not_begun),
        author=study.author,
    )


def _is_like_reference(run: FinishedRun, reference: Mapping[str, Any]) -> bool:
    """Return whether a run has the network and the data set of a study's reference accuracies.

    `reference` is the section of the study's file on these accuracies. A network or data set that
    this section does not name counts as the same.
    """
    config = run.config
    if "arch" in reference and (config.arch != reference["arch"] or config.alters_network):
        return False
    return "dataset" not in reference or run.data.name == reference["dataset"]


def _with_notes(study: StudyRecord, unreadable: dict[Path, str]) -> StudyRecord:
    """Return a study with the text of the user's `NOTES.md`, or unchanged if the file is damaged.

    The reason why the file can't be read is stored in `unreadable` under the file's path.
    """
    try:
        return dataclasses.replace(study, notes=read_notes(study.path))
    except RunError as error:
        unreadable[study.path / NOTES] = _reason_without_path(error, study.path)
        return study


def _group_into_variations(
    runs: Iterable[FinishedRun], name_of: Callable[[FinishedRun], str]
) -> list[Variation]:
    """Group runs that differ only in seed or fold, and return a variation for each group.

    `name_of` returns a variation's name from its first run. Repeated names get a number.
    """
    return with_unique_names([Variation(name_of(group[0]), group) for group in group_runs(runs)])


def _config_name(run: FinishedRun) -> str:
    """Return a run's name without seed and fold; for converted weights, the name of their file."""
    if run.converted:
        return run.converted["file"]
    name, _, _ = dataclasses.replace(run.config, fold="").run_name().rpartition("_seed")
    return name


def _row_name(run: FinishedRun) -> str:
    """Return the name of the study's row to which a run belongs, or else a name from its config."""
    row_folder = run.path.parent
    is_in_study = (row_folder.parent / STUDY_FILE).exists()
    return row_folder.name if is_in_study else _config_name(run)


def _networks(variations: Iterable[Variation]) -> list[StudiedNetwork]:
    """Group variations by architecture and data set, and return a network for each group.

    Data sets are compared by content, not by name. Each run with converted weights forms its own
    network, because its training is unknown.
    """
    groups: dict[Any, list[Variation]] = {}
    for variation in variations:
        first_run = variation.runs[0]
        converted_path = first_run.path if first_run.converted else None
        key = variation.config.arch, variation.data.identity, converted_path
        groups.setdefault(key, []).append(variation)
    sorted_groups = sorted(groups.values(), key=_sort_key)
    titles = [_network_title(group) for group in sorted_groups]
    networks = []
    for title, group in zip(titles, sorted_groups, strict=True):
        if titles.count(title) > 1:  # different data sets with the same name
            digests = "/".join(digest[:8] for _, digest in group[0].data.fingerprints)
            title = f"{title}, SHA-256 {digests or 'unknown'}"
        networks.append(StudiedNetwork(title, tuple(group)))
    return networks


def _sort_key(group: list[Variation]) -> tuple[str, str, bool]:
    return group[0].config.arch, group[0].data.title, bool(group[0].runs[0].converted)


def _network_title(group: list[Variation]) -> str:
    """Return the title of variations of one network, such as "ResNet-18 on CIFAR-10".

    Arguments of the network are part of the title if all variations have the same.
    """
    first = group[0]
    network_titles = {variation.config.network_title for variation in group}
    network = first.config.network_title
    if len(network_titles) > 1:
        network, _, _ = network.partition(" (")
    title = f"{network} on {first.data.title}"
    return f"{title}, converted from {first.name}" if first.runs[0].converted else title
