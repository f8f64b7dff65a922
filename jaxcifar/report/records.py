"""What run folders say, read into tables: runs, variations (runs that differ in seed), studies."""

import dataclasses
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.config import Config
from jaxcifar.data import CATALOG, Entry
from jaxcifar.errors import RunError, UsageError
from jaxcifar.runs.folder import Row, RunFolder
from jaxcifar.runs.result import best_epoch
from jaxcifar.studies.conduct import STUDY_FILE
from jaxcifar.studies.study import Study


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run folder.

    Attributes:
      history: rows of `metrics.jsonl`.
      result: content of `result.json`, None before the run is finished.
      failure: why it can't be finished, None if it can.
    """

    path: Path
    config: Config
    history: list[Row]
    result: dict[str, Any] | None
    failure: str | None

    @classmethod
    def read(cls, path: Path) -> "RunRecord":
        """Read a run folder, finished or not.

        Raises:
          RunError: a file in it is damaged.
        """
        folder = RunFolder(path)
        try:
            lines = folder.metrics.read_text().splitlines() if folder.metrics.exists() else []
            return cls(
                path=path,
                config=Config.from_json(folder.config.read_text()),
                history=[json.loads(line) for line in lines],
                result=folder.finished_result(),
                failure=folder.failure.read_text().strip() if folder.failure.exists() else None,
            )
        except (OSError, ValueError, RunError) as error:
            raise RunError(f"{path}: this run can't be read ({error}); move it away") from error

    @property
    def selected(self) -> Row:
        """The row of the epoch that validation chose."""
        return self.history[best_epoch(self.history) - 1]


@dataclasses.dataclass(frozen=True)
class Variation:
    """Runs of one config with different seeds; at least one is finished.

    Attributes:
      name: of the study's row, or of the run.
      runs: the finished ones, by seed.
      reference: test accuracies that someone else reached, fractions.
    """

    name: str
    runs: tuple[RunRecord, ...]
    reference: tuple[float, ...] = ()

    @property
    def config(self) -> Config:
        """That of the first seed."""
        return self.runs[0].config

    def values(self, key: str) -> np.ndarray:
        """A number of `result.json` for each run, `[runs]`."""
        return np.asarray([run.result[key] for run in self.runs], np.float64)

    def curve(self, key: str) -> np.ndarray:
        """A number of `metrics.jsonl` by run and epoch, `[runs, epochs]`."""
        return np.asarray([[row[key] for row in run.history] for run in self.runs], np.float64)

    def changes_to(self, other: "Variation") -> dict[str, tuple[Any, Any]]:
        """The settings in which `other` differs, the seed aside: field -> (here, there)."""
        differing = self.config.differences(other.config)
        differing.pop("seed", None)
        return differing

    @property
    def best_run(self) -> RunRecord:
        """The one that validation chooses among the seeds, as it does among epochs."""
        return max(self.runs, key=lambda r: (r.selected["val_accuracy"], -r.selected["val_loss"]))


@dataclasses.dataclass(frozen=True)
class Network:
    """All variations of one architecture on one data set."""

    arch: str
    entry: Entry
    variations: tuple[Variation, ...]

    @property
    def winner(self) -> Variation:
        """The one with the highest mean validation accuracy."""
        return self.by_validation[0]

    @property
    def by_validation(self) -> list[Variation]:
        """The best first."""
        return sorted(self.variations, key=lambda v: -v.values("val_accuracy").mean())


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """A study's folder: the study, and the variations that have a finished run."""

    path: Path
    study: Study
    variations: tuple[Variation, ...]


@dataclasses.dataclass(frozen=True)
class Records:
    """Everything below one folder.

    Attributes:
      networks: in the order of the reference: the CNN first.
      studies: by path.
      alone: variations outside of studies.
      unfinished: runs without a result.
    """

    networks: tuple[Network, ...]
    studies: tuple[StudyRecord, ...]
    alone: tuple[Variation, ...]
    unfinished: tuple[RunRecord, ...]

    @property
    def variations(self) -> list[Variation]:
        """All of them, by network."""
        return [v for network in self.networks for v in network.variations]

    @property
    def runs(self) -> list[RunRecord]:
        """All finished runs."""
        return [run for v in self.variations for run in v.runs]


def read_records(folder: Path) -> Records:
    """Read all runs and studies in `folder` and below it.

    Raises:
      UsageError: there is no finished run.
      RunError: a run can't be read.
    """
    runs = {file.parent: RunRecord.read(file.parent) for file in folder.rglob("config.json")}
    finished = {path: run for path, run in sorted(runs.items()) if run.result}
    if not finished:
        raise UsageError(f"{folder}: no finished run here or below")
    studies = [_study(file.parent, finished) for file in sorted(folder.rglob(STUDY_FILE))]
    in_studies = {run.path for s in studies for v in s.variations for run in v.runs}
    alone = _by_config([run for path, run in finished.items() if path not in in_studies])
    variations = [v for s in studies for v in s.variations] + alone
    return Records(
        networks=tuple(_networks(variations)),
        studies=tuple(studies),
        alone=tuple(alone),
        unfinished=tuple(run for _, run in sorted(runs.items()) if not run.result),
    )


def _study(path: Path, finished: dict[Path, RunRecord]) -> StudyRecord:
    try:
        study = Study.from_dict(json.loads((path / STUDY_FILE).read_text()))
    except (OSError, ValueError, UsageError) as error:
        raise RunError(f"{path / STUDY_FILE}: can't be read ({error})") from error
    variations = []
    for row in study.rows:
        runs = [run for folder, run in finished.items() if folder.parent == path / row.name]
        if runs:
            by_seed = sorted(runs, key=lambda run: run.config.seed)
            variations.append(Variation(row.name, tuple(by_seed), row.reference))
    return StudyRecord(path, study, tuple(variations))


def _by_config(runs: Sequence[RunRecord]) -> list[Variation]:
    groups: dict[Config, list[RunRecord]] = {}
    for run in runs:
        groups.setdefault(dataclasses.replace(run.config, seed=0), []).append(run)
    return [
        Variation(
            name=config.run_name().removesuffix("_seed0"),
            runs=tuple(sorted(group, key=lambda run: run.config.seed)),
        )
        for config, group in groups.items()
    ]


def _networks(variations: Sequence[Variation]) -> list[Network]:
    groups: dict[tuple[str, str], list[Variation]] = {}
    for variation in variations:
        groups.setdefault((variation.config.arch, variation.config.dataset), []).append(variation)
    return [
        Network(arch, CATALOG[dataset], tuple(groups[arch, dataset]))
        for arch, dataset in sorted(groups)
    ]
