"""Contents of a folder of runs: its studies, its networks, and its unreadable files."""

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.report.run_records import DataSet, FinishedRun, RunRecord, Variation
from jaxcifar.report.statistics import ROUNDING_ERROR
from jaxcifar.runs.file_formats import Source


@dataclasses.dataclass(frozen=True)
class StudiedNetwork:
    """The variations of one architecture on one data set, with a title unique in the report."""

    title: str
    variations: tuple[Variation, ...]

    @property
    def data(self) -> DataSet:
        return self.variations[0].data

    @property
    def converted(self) -> Source | None:
        """The file from which the weights were converted; None if jaxcifar trained the weights."""
        return self.variations[0].runs[0].converted

    @property
    def has_folds(self) -> bool:
        """Whether a variation was trained on several folds."""
        return any(len(variation.folds) > 1 for variation in self.variations)

    @property
    def winner(self) -> Variation:
        """The variation with the highest mean validation accuracy."""
        return self.ranked_variations[0]

    @property
    def ranked_variations(self) -> list[Variation]:
        """The variations, highest mean validation accuracy first; if equal, lowest loss first.

        Means that differ only by rounding, such as sums in another order, count as equal.
        """
        if self.converted:
            return list(self.variations)
        highest_mean = max(variation.mean("val_accuracy") for variation in self.variations)

        def rank(variation: Variation) -> tuple[float, float]:
            losses = [run.selected_metrics["val_loss"] for run in variation.runs]
            mean = variation.mean("val_accuracy")
            ties_with_highest = highest_mean - mean < ROUNDING_ERROR
            if ties_with_highest:
                mean = highest_mean
            return -mean, float(np.mean(losses))

        return sorted(self.variations, key=rank)


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """The content of a study's folder. Each row of a study is a variation to train.

    Attributes:
      path: the folder.
      title: the study's title.
      reference: section `[reference]` of the study's file, on the accuracies published elsewhere.
      variations: variations of the rows that have a finished run.
      row_count: number of rows in `study.json`.
      rows_not_begun: names of the rows that have no run.
      notes: Markdown text of the user's `NOTES.md`, or "" (see `user_notes`).
      author: name of the author in the study's file, or "".
    """

    path: Path
    title: str
    reference: dict[str, Any]
    variations: tuple[Variation, ...]
    row_count: int
    rows_not_begun: tuple[str, ...] = ()
    notes: str = ""
    author: str = ""


@dataclasses.dataclass(frozen=True)
class Records:
    """The runs and studies in one folder and its subfolders.

    Attributes:
      networks: networks, sorted by architecture and data set.
      studies: studies, sorted by path.
      variations_outside_studies: variations that belong to no study.
      variations_without_validation: variations trained on all images, so without a validation
        accuracy.
      unfinished_runs: runs without a result.
      unreadable_reasons: path of a run or study -> the reason why it can't be read.
    """

    networks: tuple[StudiedNetwork, ...]
    studies: tuple[StudyRecord, ...]
    variations_outside_studies: tuple[Variation, ...]
    variations_without_validation: tuple[Variation, ...]
    unfinished_runs: tuple[RunRecord, ...]
    unreadable_reasons: dict[Path, str]

    @property
    def variations(self) -> list[Variation]:
        """The variations of all `networks`; all of them were validated or converted."""
        return [variation for network in self.networks for variation in network.variations]

    @property
    def trained_variations(self) -> list[Variation]:
        """The variations whose weights were trained by jaxcifar, not converted from a file."""
        return [variation for variation in self._all_variations if not variation.runs[0].converted]

    @property
    def runs(self) -> list[FinishedRun]:
        return [run for variation in self._all_variations for run in variation.runs]

    @property
    def _all_variations(self) -> list[Variation]:
        return [*self.variations, *self.variations_without_validation]
