"""Run folders read and checked: what is damaged is left out and named, and stops nothing."""

import dataclasses
import os
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any, TypeVar

from jaxcifar.errors import RunError, UsageError
from jaxcifar.report.run_records import (
    FinishedRun,
    Records,
    RunRecord,
    StudiedNetwork,
    StudyRecord,
    Variation,
)
from jaxcifar.report.user_notes import NOTES, read_notes
from jaxcifar.runs.folder import RunFolder
from jaxcifar.studies.conduct import RECORD_AGAIN, STUDY_FILE
from jaxcifar.studies.study import Study

T = TypeVar("T")


def read_run(path: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
      RunError: a file in it is damaged; the message is the reason, in one line.
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
    _require_whole(run)
    return run


def _reason(error: Exception, folder: Path) -> str:
    """What went wrong, with paths that hold wherever the report is read."""
    if isinstance(error, OSError):
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return str(error).removeprefix(f"{folder}{os.sep}")


def _require_whole(run: FinishedRun) -> None:
    """See to it that a finished run's files agree, and say what a report tells.

    Raises:
      RunError: they don't.
    """
    if run.converted:
        if run.history:
            raise RunError("metrics.jsonl has epochs, but result.json says it was converted")
        return
    epochs = run.config.epochs
    if len(run.history) != epochs:
        raise RunError(f"metrics.jsonl has {len(run.history)} of {epochs} epochs")
    if len({"val_accuracy" in said for said in (*run.history, run.result)}) > 1:
        raise RunError("some of its epochs have a validation accuracy and others have not")


def read_records(folder: Path) -> Records:
    """Read all runs and studies in `folder` and below it.

    Raises:
      UsageError: there is no finished run that can be read.
    """
    unreadable: dict[Path, str] = {}
    configs = (file.parent for file in folder.rglob("config.json"))
    runs = _readable(configs, read_run, unreadable)
    finished = [run for run in runs if isinstance(run, FinishedRun)]
    compared = [run for run in finished if not run.on_all]
    if not finished:
        first = next((f"; {path} can't be read: {why}" for path, why in unreadable.items()), "")
        raise UsageError(f"{folder}: no finished run here or below{first}")
    studies = _readable(folder.rglob(STUDY_FILE), lambda file: _study(file, compared), unreadable)
    studies = [_with_notes(study, unreadable) for study in studies]
    in_studies = {run.path for s in studies for v in s.variations for run in v.runs}
    alone = _alone([run for run in compared if run.path not in in_studies])
    return Records(
        networks=tuple(_networks([v for s in studies for v in s.variations] + alone)),
        studies=tuple(studies),
        alone=tuple(alone),
        on_all=tuple(_on_all(run for run in finished if run.on_all)),
        unfinished=tuple(run for run in runs if not isinstance(run, FinishedRun)),
        unreadable=unreadable,
    )


def _readable(
    paths: Iterable[Path], read: Callable[[Path], T], unreadable: dict[Path, str]
) -> list[T]:
    """What `read` makes of each path, in order; where it can't, the reason goes to `unreadable`."""
    found = []
    for path in sorted(paths):
        try:
            found.append(read(path))
        except RunError as error:
            unreadable[path] = str(error)
    return found


def _study(file: Path, compared: Iterable[FinishedRun]) -> StudyRecord:
    """A study and its runs; its rows are not made into configs, which would read files they name.

    Raises:
      RunError: the file is damaged; the message is the reason, in one line.
    """
    try:
        study = Study.read(file, RECORD_AGAIN)
    except RunError as error:
        raise RunError(_reason(error, file.parent)) from error
    variations: list[tuple[str, tuple[FinishedRun, ...], Any]] = []
    for row in study.rows:
        beside = [run for run in compared if run.path.parent == file.parent / row.name]
        runs = [run for run in beside if not run.converted]
        variations += [(row.name, group, row.reference) for group in _alike(runs)]
    return StudyRecord(
        path=file.parent,
        title=study.title,
        reference=study.reference,
        variations=tuple(_named(variations)),
        rows=len(study.rows),
        absent=tuple(
            row.name
            for row in study.rows
            if not any(file.parent.joinpath(row.name).glob("*/config.json"))
        ),
    )


def _with_notes(study: StudyRecord, unreadable: dict[Path, str]) -> StudyRecord:
    try:
        return dataclasses.replace(study, notes=read_notes(study.path))
    except RunError as error:
        unreadable[study.path / NOTES] = _reason(error, study.path)
        return study


def _alone(runs: Iterable[FinishedRun]) -> list[Variation]:
    return _named((_name(group[0]), group, ()) for group in _alike(runs))


def _on_all(runs: Iterable[FinishedRun]) -> list[Variation]:
    """By the names of their folders where these are a study's rows."""

    def name(run: FinishedRun) -> str:
        in_a_study = (run.path.parent.parent / STUDY_FILE).exists()
        return run.path.parent.name if in_a_study else _name(run)

    return _named((name(group[0]), group, ()) for group in _alike(runs))


def _name(run: FinishedRun) -> str:
    """What a run that is in no study is called, its seed aside."""
    return run.converted["file"] if run.converted else run.config.run_name().rpartition("_seed")[0]


def _alike(runs: Iterable[FinishedRun]) -> list[tuple[FinishedRun, ...]]:
    """Runs that differ in their seed alone, in the order of the seeds; each converted one alone."""
    groups: dict[Any, list[FinishedRun]] = {}
    for run in runs:
        config = dataclasses.replace(run.config, seed=0).to_json()
        alike = config, run.data.identity, run.converted and run.path
        groups.setdefault(alike, []).append(run)
    return [tuple(sorted(group, key=lambda run: run.config.seed)) for group in groups.values()]


def _named(groups: Iterable[tuple[str, tuple[FinishedRun, ...], Any]]) -> list[Variation]:
    """A variation a group; where names are the same, "(2)" and so on tells them apart."""
    variations: list[Variation] = []
    for name, runs, reference in groups:
        same = sum(v.name.partition(" (")[0] == name for v in variations)
        variations.append(Variation(f"{name} ({same + 1})" if same else name, runs, reference))
    return variations


def _networks(variations: Iterable[Variation]) -> list[StudiedNetwork]:
    """Variations by architecture and data, which are the same if their content is.

    What was converted is a network by itself: nothing says how it was trained.
    """
    groups: dict[Any, list[Variation]] = {}
    for variation in variations:
        [first, *_] = variation.runs
        of_network = variation.config.arch, variation.data.identity, first.converted and first.path
        groups.setdefault(of_network, []).append(variation)
    ordered = sorted(groups.values(), key=_rank)
    titles = [_title(group) for group in ordered]
    networks = []
    for title, group in zip(titles, ordered, strict=True):
        if titles.count(title) > 1:  # other data of the same name
            digests = "/".join(digest[:8] for _, digest in group[0].data.fingerprints)
            title = f"{title}, SHA-256 {digests or 'unknown'}"
        networks.append(StudiedNetwork(title, tuple(group)))
    return networks


def _rank(group: list[Variation]) -> tuple[str, str, bool]:
    return group[0].config.arch, group[0].data.title, bool(group[0].runs[0].converted)


def _title(group: list[Variation]) -> str:
    title = f"{shared_title(group)} on {group[0].data.title}"
    return f"{title}, converted from {group[0].name}" if group[0].runs[0].converted else title


def shared_title(variations: Iterable[Variation]) -> str:
    """Of a network whose arguments may differ: then it stands for all of them, without any."""
    titles = list(dict.fromkeys(v.config.network_title for v in variations))
    return titles[0] if len(titles) == 1 else titles[0].partition(" (")[0]
