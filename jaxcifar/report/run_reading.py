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
    """Read a run folder; the run may be unfinished.

    Raises:
      RunError: a file is damaged. The message is one line and does not repeat `path`.
    """
    folder = RunFolder(path)
    try:
        config, history = folder.read_config(), folder.read_history()
        result, failure = folder.finished_result(), folder.read_failure()
    except (OSError, RunError) as error:
        raise RunError(_reason(error, path)) from error
    if result is None:
        return RunRecord(path, config, history, None, failure)
    run = FinishedRun(path, config, history, result, failure)
    _check_consistency(run)
    return run


def _reason(error: Exception, folder: Path) -> str:
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
    configs = (file.parent for file in folder.rglob("config.json"))
    runs = _read_all(configs, read_run, unreadable)
    finished = [run for run in runs if isinstance(run, FinishedRun)]
    comparable = [run for run in finished if not run.lacks_validation]
    if not finished:
        first = next((f"; {path} can't be read: {why}" for path, why in unreadable.items()), "")
        raise UsageError(f"{folder}: no finished run here or below{first}")
    files = folder.rglob(STUDY_FILE)
    studies = _read_all(files, lambda file: _study(file, comparable), unreadable)
    studies = [_with_notes(study, unreadable) for study in studies]
    in_studies = [variation for study in studies for variation in study.variations]
    paths = {run.path for variation in in_studies for run in variation.runs}
    others = _variations_by(_name, [run for run in comparable if run.path not in paths])
    without_validation = [run for run in finished if run.lacks_validation]
    return Records(
        networks=tuple(_networks([*in_studies, *others])),
        studies=tuple(studies),
        outside_studies=tuple(others),
        without_validation=tuple(_variations_by(_row_name, without_validation)),
        unfinished=tuple(run for run in runs if not isinstance(run, FinishedRun)),
        unreadable=unreadable,
    )


def _read_all(
    paths: Iterable[Path], read: Callable[[Path], T], unreadable: dict[Path, str]
) -> list[T]:
    """Return `read(path)` for each path in sorted order; add messages of errors to `unreadable`."""
    records = []
    for path in sorted(paths):
        try:
            records.append(read(path))
        except RunError as error:
            unreadable[path] = str(error)
    return records


def _study(file: Path, comparable: Iterable[FinishedRun]) -> StudyRecord:
    """Read a study file without the user's files; its finished runs are taken from `comparable`.

    Raises:
      RunError: the file is damaged. The message is one line and does not repeat its folder.
    """
    folder = file.parent
    try:
        study = Study.read(file, REWRITE_STUDY_FILE)
    except RunError as error:
        raise RunError(_reason(error, folder)) from error
    variations: list[Variation] = []
    not_begun = []
    for row in study.rows:
        runs = [r for r in comparable if r.path.parent == folder / row.name and not r.converted]
        for group in group_runs(runs):
            comparable_here = _is_like_reference(group[0], study.reference)
            reference = row.reference if comparable_here else ()
            variations.append(Variation(row.name, group, reference))
        if not any((folder / row.name).glob("*/config.json")):
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

    A network or data set that the study's file does not name counts as the same.
    """
    config = run.config
    same_network = config.arch == reference.get("arch", config.arch)
    if "arch" in reference and config.alters_network:
        same_network = False
    return same_network and run.data.name == reference.get("dataset", run.data.name)


def _with_notes(study: StudyRecord, unreadable: dict[Path, str]) -> StudyRecord:
    try:
        return dataclasses.replace(study, notes=read_notes(study.path))
    except RunError as error:
        unreadable[study.path / NOTES] = _reason(error, study.path)
        return study


def _variations_by(
    name: Callable[[FinishedRun], str], runs: Iterable[FinishedRun]
) -> list[Variation]:
    """Group runs that differ only in seed or fold; `name` of the first run names the variation."""
    return with_unique_names([Variation(name(group[0]), group) for group in group_runs(runs)])


def _name(run: FinishedRun) -> str:
    """Return the name of a run that belongs to no study, without its seed and its fold."""
    if run.converted:
        return run.converted["file"]
    return dataclasses.replace(run.config, fold="").run_name().rpartition("_seed")[0]


def _row_name(run: FinishedRun) -> str:
    """Return the name of the run's study row; outside of a study, return `_name(run)`."""
    row = run.path.parent
    return row.name if (row.parent / STUDY_FILE).exists() else _name(run)


def _networks(variations: Iterable[Variation]) -> list[StudiedNetwork]:
    """Group variations by architecture and by the content of the data set.

    Each run with converted weights forms its own network, because its training is unknown.
    """
    groups: dict[Any, list[Variation]] = {}
    for variation in variations:
        [first, *_] = variation.runs
        key = variation.config.arch, variation.data.identity, first.converted and first.path
        groups.setdefault(key, []).append(variation)
    ordered = sorted(groups.values(), key=_sort_key)
    titles = [_title(group) for group in ordered]
    networks = []
    for title, group in zip(titles, ordered, strict=True):
        if titles.count(title) > 1:  # different data sets with the same name
            digests = "/".join(digest[:8] for _, digest in group[0].data.fingerprints)
            title = f"{title}, SHA-256 {digests or 'unknown'}"
        networks.append(StudiedNetwork(title, tuple(group)))
    return networks


def _sort_key(group: list[Variation]) -> tuple[str, str, bool]:
    return group[0].config.arch, group[0].data.title, bool(group[0].runs[0].converted)


def _title(group: list[Variation]) -> str:
    """Return the title of a group's network and data set, without arguments if they vary."""
    network_titles = list(dict.fromkeys(v.config.network_title for v in group))
    network = network_titles[0]
    if len(network_titles) > 1:
        network = network.partition(" (")[0]
    title = f"{network} on {group[0].data.title}"
    return f"{title}, converted from {group[0].name}" if group[0].runs[0].converted else title
