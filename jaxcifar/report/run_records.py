"""Records of run folders: runs, variations (runs that differ only in seed), networks, studies."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.runs.epoch_selection import best_epoch, best_row
from jaxcifar.runs.file_formats import Result, Row, Source, class_names, number

SYNTHETIC = "shapes10"
# Settings that name files. A changed file name implies a changed checksum, which is not listed too.
_NAMING_FILES = {"arch", "dataset", "optimizer", "schedule", "augmentation"}
_CHECKSUMS = ("data_sha256", "SHA-256 of ")


@dataclasses.dataclass(frozen=True)
class Data:
    """The data set of a run: name on the command line, title in reports, SHA-256 of each split."""

    name: str
    title: str
    fingerprints: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> Any:
        """A key that is equal for the same images and labels, whatever the data set's name."""
        return tuple(sorted(self.fingerprints)) or self.title


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run folder.

    Attributes:
      history: rows of `metrics.jsonl`.
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
        """The row of `metrics.jsonl` of the epoch with the best validation accuracy."""
        return self.history[best_epoch(self.history) - 1]

    @property
    def converted(self) -> Source | None:
        """The file that the weights were converted from, or None if they were trained here."""
        return None if self.result is None else self.result.get("converted")


@dataclasses.dataclass(frozen=True)
class FinishedRun(RunRecord):
    """A run folder with a result."""

    result: Result

    @property
    def lacks_validation(self) -> bool:
        """True if the run was trained on all training images, with no validation images."""
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
      name: name of the study's row, or of the run outside a study.
      runs: at least one run, in the order of the seeds.
      reference: test accuracies published elsewhere, as fractions.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    reference: tuple[float, ...] = ()

    @property
    def config(self) -> Config:
        """The config of the first seed."""
        return self.runs[0].config

    @property
    def data(self) -> Data:
        return self.runs[0].data

    @property
    def settings(self) -> dict[str, Any]:
        """The settings without the seed, with the arguments of the network."""
        return {k: value for k, value in self.config.settings().items() if k != "seed"}

    def values(self, key: str) -> np.ndarray:
        """Return the number `key` of each run's `result.json`, `[runs]`."""
        return np.asarray([number(run.result, key) for run in self.runs], np.float64)

    def curve(self, key: str) -> np.ndarray:
        """Return the number `key` of each row of `metrics.jsonl`, `[runs, epochs]`."""
        numbers = [[number(row, key) for row in run.history] for run in self.runs]
        return np.asarray(numbers, np.float64)

    def changes_to(self, other: "Variation") -> dict[str, tuple[Any, Any]]:
        """Return the settings that differ, each with its value here and in `other`.

        A value is None where the setting does not exist.
        """
        differing = self.config.differences(other.config)
        differing.pop("seed", None)
        if differing.keys() & _NAMING_FILES:
            return {k: pair for k, pair in differing.items() if not k.startswith(_CHECKSUMS)}
        return differing

    @property
    def best_run(self) -> FinishedRun:
        """The run with the best validation accuracy; of converted weights the first run."""
        if self.runs[0].converted:
            return self.runs[0]
        return self.runs[best_row([run.selected for run in self.runs])]


@dataclasses.dataclass(frozen=True)
class StudiedNetwork:
    """The variations of one architecture on one data set; the title is unique in a report."""

    title: str
    variations: tuple[Variation, ...]

    @property
    def data(self) -> Data:
        return self.variations[0].data

    @property
    def converted(self) -> Source | None:
        """The file that the weights were converted from, or None if they were trained here."""
        return self.variations[0].runs[0].converted

    @property
    def winner(self) -> Variation:
        """The variation with the highest mean validation accuracy."""
        return self.by_validation[0]

    @property
    def by_validation(self) -> list[Variation]:
        """Variations, best first: by mean validation accuracy, then by mean validation loss."""
        if self.converted:
            return list(self.variations)

        def rank(variation: Variation) -> tuple[float, float]:
            losses = [run.selected["val_loss"] for run in variation.runs]
            return -variation.values("val_accuracy").mean(), float(np.mean(losses))

        return sorted(self.variations, key=rank)


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """The folder of a study.

    Attributes:
      reference: network, data set and epochs of the reference accuracies (`studies.study`).
      variations: the rows with a finished run.
      rows: number of rows in `study.json`.
      not_begun: names of the rows without any run.
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
    """The runs and studies below one folder.

    Attributes:
      networks: sorted by architecture and data set.
      studies: sorted by path.
      outside_studies: variations that belong to no study.
      without_validation: variations trained on all images; no validation accuracy ranks them.
      unfinished: runs without a result.
      unreadable: damaged runs and studies by path, each with the reason.
    """

    networks: tuple[StudiedNetwork, ...]
    studies: tuple[StudyRecord, ...]
    outside_studies: tuple[Variation, ...]
    without_validation: tuple[Variation, ...]
    unfinished: tuple[RunRecord, ...]
    unreadable: dict[Path, str]

    @property
    def variations(self) -> list[Variation]:
        """Variations with a validation accuracy or converted weights, by network."""
        return [v for network in self.networks for v in network.variations]

    @property
    def trained(self) -> list[Variation]:
        """Variations with weights that were trained here."""
        return [v for v in self._all if not v.runs[0].converted]

    @property
    def runs(self) -> list[FinishedRun]:
        return [run for v in self._all for run in v.runs]

    @property
    def _all(self) -> list[Variation]:
        return [*self.variations, *self.without_validation]
