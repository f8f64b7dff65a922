"""Contents of run folders: runs, variations (runs that differ only in seed), networks, studies."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.runs.epoch_selection import best_epoch, best_row
from jaxcifar.runs.file_formats import Result, Row, Source, class_names, number

SYNTHETIC = "shapes10"
# Settings that name files. If a file name changes, the change of its checksum is not listed too.
_NAMING_FILES = {"arch", "dataset", "optimizer", "schedule", "augmentation"}
_CHECKSUMS = ("data_sha256", "SHA-256 of ")


@dataclasses.dataclass(frozen=True)
class Data:
    """A data set: its name as an option, its title in reports, and (split, SHA-256) pairs."""

    name: str
    title: str
    fingerprints: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> Any:
        """A key that is equal for data sets with equal images and labels, even if names differ."""
        return tuple(sorted(self.fingerprints)) or self.title


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """The content of one run folder, whether the run is finished or not.

    Attributes:
      history: rows of `metrics.jsonl`, one per epoch.
      result: content of `result.json`, or None if the run is not finished (see `FinishedRun`).
      failure: reason why the run failed, or None.
    """

    path: Path
    config: Config
    history: list[Row]
    result: Result | None
    failure: str | None

    @property
    def selected(self) -> Row:
        """The metrics of the epoch with the best validation accuracy."""
        return self.history[best_epoch(self.history) - 1]

    @property
    def converted(self) -> Source | None:
        """The file from which the weights were converted; None if jaxcifar trained the weights."""
        return None if self.result is None else self.result.get("converted")


@dataclasses.dataclass(frozen=True)
class FinishedRun(RunRecord):
    """The content of the run folder of a finished run, which has a `result.json`."""

    result: Result

    @property
    def lacks_validation(self) -> bool:
        """True if training used all training images, so no validation accuracy was measured."""
        return "val_accuracy" not in self.result and not self.converted

    @property
    def data(self) -> Data:
        digests = self.result.get("dataset_fingerprint") or {}
        name = self.result.get("dataset_name", self.config.dataset)
        return Data(name, self.result["dataset"], tuple(digests.items()))

    @cached_property
    def class_names(self) -> list[str]:
        return class_names(self.result)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Number of test images by true class (rows) and predicted class, `[classes, classes]`."""
        return np.asarray(self.result["confusion_matrix"])

    @cached_property
    def class_accuracy(self) -> np.ndarray:
        """Test accuracy of each class, `[classes]`; NaN for a class without test images."""
        counts = self.confusion.sum(1)
        return np.where(counts, np.diag(self.confusion) / np.maximum(counts, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class Variation:
    """Finished runs of one config on the same data that differ only in seed.

    Attributes:
      name: name of the row in its study; outside of a study, a name made from the config.
      runs: at least one run, in the order of the seeds.
      reference: test accuracies published elsewhere, as fractions.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    reference: tuple[float, ...] = ()

    @property
    def config(self) -> Config:
        """The config of the run with the lowest seed."""
        return self.runs[0].config

    @property
    def data(self) -> Data:
        return self.runs[0].data

    @property
    def settings(self) -> dict[str, Any]:
        """The settings by name, including the network's arguments and without the seed."""
        return {k: value for k, value in self.config.settings().items() if k != "seed"}

    def values(self, key: str) -> np.ndarray:
        """Return the number in field `key` of each run's `result.json`, as `[runs]`."""
        return np.asarray([number(run.result, key) for run in self.runs], np.float64)

    def curve(self, key: str) -> np.ndarray:
        """Return the metric `key` of each run and epoch, as `[runs, epochs]`."""
        numbers = [[number(row, key) for row in run.history] for run in self.runs]
        return np.asarray(numbers, np.float64)

    def changes_to(self, other: "Variation") -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, each with its value in this variation and in `other`.

        A value is None in a variation that lacks the setting.
        """
        differing = self.config.differences(other.config)
        differing.pop("seed", None)
        if differing.keys() & _NAMING_FILES:
            return {k: pair for k, pair in differing.items() if not k.startswith(_CHECKSUMS)}
        return differing

    @property
    def best_run(self) -> FinishedRun:
        """The run with the best validation accuracy.

        Converted weights have no validation accuracy; then it is the first run.
        """
        if self.runs[0].converted:
            return self.runs[0]
        return self.runs[best_row([run.selected for run in self.runs])]


@dataclasses.dataclass(frozen=True)
class StudiedNetwork:
    """The variations of one architecture on one data set, with a title unique in the report."""

    title: str
    variations: tuple[Variation, ...]

    @property
    def data(self) -> Data:
        return self.variations[0].data

    @property
    def converted(self) -> Source | None:
        """The file from which the weights were converted; None if jaxcifar trained the weights."""
        return self.variations[0].runs[0].converted

    @property
    def winner(self) -> Variation:
        """The variation with the highest mean validation accuracy."""
        return self.by_validation[0]

    @property
    def by_validation(self) -> list[Variation]:
        """The variations by mean validation accuracy, best first; equal ones by validation loss."""
        if self.converted:
            return list(self.variations)

        def rank(variation: Variation) -> tuple[float, float]:
            losses = [run.selected["val_loss"] for run in variation.runs]
            return -variation.values("val_accuracy").mean(), float(np.mean(losses))

        return sorted(self.variations, key=rank)


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """The content of a study's folder. Each row of a study is a variation to train.

    Attributes:
      reference: network, data set and epochs of the reference accuracies (`studies.study`).
      variations: variations of the rows that have a finished run.
      rows: number of rows in `study.json`.
      not_begun: names of the rows that have no run.
      notes: Markdown text of the user's `NOTES.md`, or "" (see `user_notes`).
    """

    path: Path
    title: str
    reference: dict[str, Any]
    variations: tuple[Variation, ...]
    rows: int
    not_begun: tuple[str, ...] = ()
    notes: str = ""


@dataclasses.dataclass(frozen=True)
class Records:
    """The runs and studies in one folder and its subfolders.

    Attributes:
      networks: networks, sorted by architecture and data set.
      studies: studies, sorted by path.
      outside_studies: variations that belong to no study.
      without_validation: variations trained on all images, so without a validation accuracy.
      unfinished: runs without a result.
      unreadable: the reason why a run or study can't be read, by its path.
    """

    networks: tuple[StudiedNetwork, ...]
    studies: tuple[StudyRecord, ...]
    outside_studies: tuple[Variation, ...]
    without_validation: tuple[Variation, ...]
    unfinished: tuple[RunRecord, ...]
    unreadable: dict[Path, str]

    @property
    def variations(self) -> list[Variation]:
        """The variations of all `networks`, without the variations in `without_validation`."""
        return [v for network in self.networks for v in network.variations]

    @property
    def trained(self) -> list[Variation]:
        """The variations whose weights were trained by jaxcifar, not converted from a file."""
        return [v for v in self._all if not v.runs[0].converted]

    @property
    def runs(self) -> list[FinishedRun]:
        return [run for v in self._all for run in v.runs]

    @property
    def _all(self) -> list[Variation]:
        return [*self.variations, *self.without_validation]
