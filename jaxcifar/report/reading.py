"""Run folders read and checked: what is damaged is left out and named, and stops nothing."""

import dataclasses
import json
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from jaxcifar.config import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.report.records import (
    Network,
    Records,
    RunRecord,
    StudyRecord,
    Variation,
)
from jaxcifar.runs.folder import Row, RunFolder
from jaxcifar.studies.conduct import STUDY_FILE

_NUMBER = (int, float)
# What a report takes from a row of `metrics.jsonl` and from `result.json`, and its type.
_ROW = {f"{split}_{what}": _NUMBER for split in ("train", "val") for what in ("loss", "accuracy")}
_RESULT = {
    "test_accuracy": _NUMBER,
    "test_loss": _NUMBER,
    "test_accuracy_mismatched": _NUMBER,
    "val_accuracy": _NUMBER,
    "selected_epoch": int,
    "images_per_second": _NUMBER,
    "wall_seconds": _NUMBER,
    "at_once": int,
    "flops": (*_NUMBER, type(None)),
    "dataset": str,
    "dataset_fingerprint": (dict, type(None)),
    "device": str,
    "compute_dtype": str,
    "git_commit": (str, type(None)),
    "class_accuracy": dict,
    "confusion_matrix": list,
    "examples": dict,
    "last_epoch": dict,
    "versions": dict,
}
# Of reading what is damaged.
_ERRORS = (OSError, ValueError, TypeError, RecursionError, RunError, UsageError)


def read_run(path: Path) -> RunRecord:
    """Read a run folder, finished or not.

    Raises:
      RunError: a file in it is damaged; the message is the reason, in one line.
    """
    folder = RunFolder(path)
    try:
        lines = folder.metrics.read_text().splitlines() if folder.metrics.exists() else []
        run = RunRecord(
            path=path,
            config=Config.from_json(_naming(folder.config, folder.config.read_text)),
            history=_naming(folder.metrics, lambda: [json.loads(line) for line in lines]),
            result=_naming(folder.result, folder.finished_result),
            failure=folder.failure.read_text().strip() if folder.failure.exists() else None,
        )
        _check_history(run.history)
        if run.result is not None:
            _check_result(run)
    except _ERRORS as error:
        raise RunError(_reason(error)) from error
    return run


def _naming(file: Path, read: Any) -> Any:
    """What `read` returns; what it complains of names the file."""
    try:
        return read()
    except ValueError as error:
        raise ValueError(f"{file.name} is damaged: {error}") from error


def _reason(error: Exception) -> str:
    if isinstance(error, OSError) and error.strerror:
        return f"{Path(str(error.filename)).name}: {error.strerror}"
    return " ".join(str(error).split())


def _check_history(history: list[Row]) -> None:
    for epoch, row in enumerate(history, start=1):
        _require(row, _ROW, f"metrics.jsonl, line {epoch}")
        if row.get("epoch") != epoch:
            raise ValueError(f"metrics.jsonl, line {epoch} is not epoch {epoch}")


def _check_result(run: RunRecord) -> None:
    """See to it that a report finds what it takes from `result.json`.

    Raises:
      ValueError: something is missing, of another type, or does not fit the rest.
    """
    result = run.result
    _require(result, _RESULT, "result.json")
    splits = dict.fromkeys(("train", "val", "test"), int)
    _require(result["examples"], splits, "result.json, examples")
    _require(result["last_epoch"], {"test_accuracy": _NUMBER}, "result.json, last_epoch")
    classes = len(run.class_names)
    shape, kind = run.confusion.shape, run.confusion.dtype.kind
    if shape != (classes, classes) or kind not in "iu" or run.confusion.sum() < 1:
        raise ValueError(f"result.json, confusion_matrix does not count {classes} classes' images")
    if min(result["examples"][split] for split in splits) < 1:
        raise ValueError("result.json, examples: a split is empty")
    if result["wall_seconds"] <= 0 or result["at_once"] < 1:
        raise ValueError("result.json tells of no time")
    epochs = run.config.epochs
    if len(run.history) != epochs:
        raise ValueError(f"metrics.jsonl has {len(run.history)} of {epochs} epochs")


def _require(said: Any, kinds: Mapping[str, Any], where: str) -> None:
    if not isinstance(said, dict):
        raise ValueError(f"{where} is no table of names and values")
    for name, kind in kinds.items():
        if not isinstance(said.get(name), kind):
            raise ValueError(f"{where} has no {name} of the right type")


def read_records(folder: Path) -> Records:
    """Read all runs and studies in `folder` and below it.

    Raises:
      UsageError: there is no finished run that can be read.
    """
    unreadable: dict[Path, str] = {}
    configs = (file.parent for file in folder.rglob("config.json"))
    runs = _readable(configs, read_run, unreadable)
    finished = [run for run in runs if run.result is not None]
    if not finished:
        first = next((f"; {path} can't be read: {why}" for path, why in unreadable.items()), "")
        raise UsageError(f"{folder}: no finished run here or below{first}")
    studies = _readable(folder.rglob(STUDY_FILE), lambda file: _study(file, finished), unreadable)
    in_studies = {run.path for s in studies for v in s.variations for run in v.runs}
    alone = _alone([run for run in finished if run.path not in in_studies])
    return Records(
        networks=tuple(_networks([v for s in studies for v in s.variations] + alone)),
        studies=tuple(studies),
        alone=tuple(alone),
        unfinished=tuple(run for run in runs if run.result is None),
        unreadable=unreadable,
    )


def _readable(paths: Iterable[Path], read: Any, unreadable: dict[Path, str]) -> list[Any]:
    """What `read` makes of each path, in order; where it can't, the reason goes to `unreadable`."""
    found = []
    for path in sorted(paths):
        try:
            found.append(read(path))
        except RunError as error:
            unreadable[path] = str(error)
    return found


def _study(file: Path, finished: Iterable[RunRecord]) -> StudyRecord:
    """A study and its runs; its rows are not made into configs, which would read files they name.

    Raises:
      RunError: the file is damaged; the message is the reason, in one line.
    """
    try:
        said = _naming(file, lambda: json.loads(file.read_text()))
        _require(said, {"title": str, "rows": dict, "reference": dict}, file.name)
        references = {name: _references(name, row) for name, row in said["rows"].items()}
        if not isinstance(said["reference"].get("sets", []), list):
            raise ValueError(f"{file.name}, reference: sets is no list")
    except _ERRORS as error:
        raise RunError(_reason(error)) from error
    variations: list[tuple[str, tuple[RunRecord, ...], Any]] = []
    for name, known in references.items():
        runs = [run for run in finished if run.path.parent == file.parent / name]
        variations += [(name, group, known) for group in _alike(runs)]
    return StudyRecord(file.parent, said["title"], said["reference"], tuple(_named(variations)))


def _references(name: str, row: Any) -> tuple[float, ...]:
    known = row.get("reference", []) if isinstance(row, dict) else None
    if not isinstance(known, list) or not all(isinstance(value, float) for value in known):
        raise ValueError(f"row {name} is damaged")
    return tuple(known)


def _alone(runs: Iterable[RunRecord]) -> list[Variation]:
    return _named(
        (group[0].config.run_name().rpartition("_seed")[0], group, ()) for group in _alike(runs)
    )


def _alike(runs: Iterable[RunRecord]) -> list[tuple[RunRecord, ...]]:
    """Runs that differ in their seed alone, in the order of the seeds."""
    groups: dict[Any, list[RunRecord]] = {}
    for run in runs:
        alike = dataclasses.replace(run.config, seed=0).to_json(), run.data.identity
        groups.setdefault(alike, []).append(run)
    return [tuple(sorted(group, key=lambda run: run.config.seed)) for group in groups.values()]


def _named(groups: Iterable[tuple[str, tuple[RunRecord, ...], Any]]) -> list[Variation]:
    """A variation a group; where names are the same, "(2)" and so on tells them apart."""
    variations: list[Variation] = []
    for name, runs, reference in groups:
        same = sum(v.name.partition(" (")[0] == name for v in variations)
        variations.append(Variation(f"{name} ({same + 1})" if same else name, runs, reference))
    return variations


def _networks(variations: Iterable[Variation]) -> list[Network]:
    """Variations by architecture and data, which are the same if their content is."""
    groups: dict[Any, list[Variation]] = {}
    for variation in variations:
        groups.setdefault((variation.config.arch, variation.data.identity), []).append(variation)
    ordered = sorted(groups.values(), key=lambda vs: (vs[0].config.arch, vs[0].data.title))
    titles = [f"{shared_title(group)} on {group[0].data.title}" for group in ordered]
    networks = []
    for title, group in zip(titles, ordered, strict=True):
        if titles.count(title) > 1:  # other data of the same name
            digests = "/".join(digest[:8] for _, digest in group[0].data.fingerprints)
            title = f"{title}, SHA-256 {digests or 'unknown'}"
        networks.append(Network(title, tuple(group)))
    return networks


def shared_title(variations: Iterable[Variation]) -> str:
    """Of a network whose arguments may differ: then it stands for all of them, without any."""
    titles = list(dict.fromkeys(v.config.network_title for v in variations))
    return titles[0] if len(titles) == 1 else titles[0].partition(" (")[0]
