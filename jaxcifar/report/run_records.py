"""What run folders say: runs, variations (runs that differ in seed), networks, studies."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.runs.result import best_epoch, best_row
from jaxcifar.runs.saved import Result, Row, Source, class_names, number

SYNTHETIC = "shapes10"
# Settings that name files; the digests of those change with them and say nothing of their own.
_NAMING_FILES = {"arch", "dataset", "optimizer", "schedule", "augmentation"}
_DIGESTS = ("data_sha256", "SHA-256 of ")


@dataclasses.dataclass(frozen=True)
class Data:
    """The data set of a finished run, as its result names it.

    Attributes:
      name: as an option names it.
      title: what plots and reports call it.
      fingerprints: pairs of a split and the SHA-256 of its records.
    """

    name: str
    title: str
    fingerprints: tuple[tuple[str, str], ...]

    @property
    def identity(self) -> Any:
        """Equal for the same images and labels, whatever they are called."""
        return tuple(sorted(self.fingerprints)) or self.title


@dataclasses.dataclass(frozen=True)
class RunRecord:
    """One run folder.

    Attributes:
      history: rows of `metrics.jsonl`.
      result: content of `result.json`, None before the run is finished: see `FinishedRun`.
      failure: why it can't be finished, None if it can.
    """

    path: Path
    config: Config
    history: list[Row]
    result: Result | None
    failure: str | None

    @property
    def selected(self) -> Row:
        """The row of the epoch that validation chose."""
        return self.history[best_epoch(self.history) - 1]

    @property
    def converted(self) -> Source | None:
        """The file that its weights are from, if they were not trained here."""
        return None if self.result is None else self.result.get("converted")


@dataclasses.dataclass(frozen=True)
class FinishedRun(RunRecord):
    """A run folder with a result."""

    result: Result

    @property
    def on_all(self) -> bool:
        """Whether it was trained on all images, with none kept to choose by."""
        return "val_accuracy" not in self.result and not self.converted

    @property
    def data(self) -> Data:
        """What it was trained on."""
        digests = self.result.get("dataset_fingerprint") or {}
        name = self.result.get("dataset_name", self.config.dataset)
        return Data(name, self.result["dataset"], tuple(digests.items()))

    @cached_property
    def class_names(self) -> list[str]:
        """By label."""
        return class_names(self.result)

    @cached_property
    def confusion(self) -> np.ndarray:
        """Test images by true class (rows) and predicted class, `[classes, classes]` integers."""
        return np.asarray(self.result["confusion_matrix"])

    @cached_property
    def class_accuracy(self) -> np.ndarray:
        """Test accuracy by class, `[classes]`; NaN for a class without test images."""
        counts = self.confusion.sum(1)
        return np.where(counts, np.diag(self.confusion) / np.maximum(counts, 1), np.nan)


@dataclasses.dataclass(frozen=True)
class Variation:
    """Runs of one config on the same data with different seeds; at least one is finished.

    Attributes:
      name: of the study's row, or of the run.
      runs: the finished ones, by seed.
      reference: test accuracies that someone else reached, fractions.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    reference: tuple[float, ...] = ()

    @property
    def config(self) -> Config:
        """That of the first seed."""
        return self.runs[0].config

    @property
    def data(self) -> Data:
        """What all of them were trained on."""
        return self.runs[0].data

    @property
    def settings(self) -> dict[str, Any]:
        """All settings by name but the seed, those of the network's own among them."""
        return {k: value for k, value in self.config.settings().items() if k != "seed"}

    def values(self, key: str) -> np.ndarray:
        """A number of `result.json` for each run, `[runs]`."""
        return np.asarray([number(run.result, key) for run in self.runs], np.float64)

    def curve(self, key: str) -> np.ndarray:
        """A number of `metrics.jsonl` by run and epoch, `[runs, epochs]`."""
        numbers = [[number(row, key) for row in run.history] for run in self.runs]
        return np.asarray(numbers, np.float64)

    def changes_to(self, other: "Variation") -> dict[str, tuple[Any, Any]]:
        """The settings in which `other` differs: name -> (here, there), None where not set."""
        differing = self.config.differences(other.config)
        differing.pop("seed", None)
        if differing.keys() & _NAMING_FILES:
            return {name: pair for name, pair in differing.items() if not name.startswith(_DIGESTS)}
        return differing

    @property
    def best_run(self) -> FinishedRun:
        """The one that validation chooses among the seeds, as it does among epochs."""
        if self.runs[0].converted:
            return self.runs[0]
        return self.runs[best_row([run.selected for run in self.runs])]


@dataclasses.dataclass(frozen=True)
class StudiedNetwork:
    """All variations of one architecture on one data set.

    Attributes:
      title: of the network and the data; no two of a report's are the same.
    """

    title: str
    variations: tuple[Variation, ...]

    @property
    def data(self) -> Data:
        """What it was trained on."""
        return self.variations[0].data

    @property
    def converted(self) -> Source | None:
        """The file that its weights are from, if they were not trained here: then it is alone."""
        return self.variations[0].runs[0].converted

    @property
    def winner(self) -> Variation:
        """The one with the highest mean validation accuracy."""
        return self.by_validation[0]

    @property
    def by_validation(self) -> list[Variation]:
        """The best first, by validation accuracy, then validation loss, both means over seeds."""
        if self.converted:
            return list(self.variations)

        def rank(variation: Variation) -> tuple[float, float]:
            losses = [run.selected["val_loss"] for run in variation.runs]
            return -variation.values("val_accuracy").mean(), float(np.mean(losses))

        return sorted(self.variations, key=rank)


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """A study's folder: what `study.json` says of it, and the variations with a finished run.

    Attributes:
      reference: what the rows' reference figures were measured with (`studies.study`).
      rows: how many it has.
      absent: names of the rows of which no run has begun.
      notes: Markdown of a person's `NOTES.md` beside it (`notes.py`), "" if there is none.
    """

    path: Path
    title: str
    reference: dict[str, Any]
    variations: tuple[Variation, ...]
    rows: int
    absent: tuple[str, ...] = ()
    notes: str = ""


@dataclasses.dataclass(frozen=True)
class Records:
    """Everything below one folder.

    Attributes:
      networks: in the order of the reference: the CNN first.
      studies: by path.
      alone: variations outside of studies.
      on_all: runs that kept no images to validate, by config; nothing can be chosen among them.
      unfinished: runs without a result.
      unreadable: runs and studies that are left out, by path, and why.
    """

    networks: tuple[StudiedNetwork, ...]
    studies: tuple[StudyRecord, ...]
    alone: tuple[Variation, ...]
    on_all: tuple[Variation, ...]
    unfinished: tuple[RunRecord, ...]
    unreadable: dict[Path, str]

    @property
    def variations(self) -> list[Variation]:
        """All of them, by network."""
        return [v for network in self.networks for v in network.variations]

    @property
    def trained(self) -> list[Variation]:
        """Those whose weights were not converted from elsewhere."""
        return [v for v in (*self.variations, *self.on_all) if not v.runs[0].converted]

    @property
    def runs(self) -> list[FinishedRun]:
        """All finished runs."""
        return [run for v in (*self.variations, *self.on_all) for run in v.runs]
