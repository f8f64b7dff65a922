"""Contents of a folder of runs: its studies, its networks, and its unreadable files."""

import dataclasses
from pathlib import Path
from typing import Any

from jaxcifar.report.run_records import FinishedRun, RunRecord, StudiedNetwork, Variation


@dataclasses.dataclass(frozen=True)
class StudyRecord:
    """The content of a study's folder. Each row of a study is a variation to train.

    Attributes:
      path: the folder.
      title: the study's title.
      reference: section `[reference]` of the study's file, on the accuracies published elsewhere.
      variations: variations of the rows that have a finished run.
      rows: number of rows in `study.json`.
      not_begun: names of the rows that have no run.
      notes: Markdown text of the user's `NOTES.md`, or "" (see `user_notes`).
      author: name of the author in the study's file, or "".
    """

    path: Path
    title: str
    reference: dict[str, Any]
    variations: tuple[Variation, ...]
    rows: int
    not_begun: tuple[str, ...] = ()
    notes: str = ""
    author: str = ""


@dataclasses.dataclass(frozen=True)
class Records:
    """The runs and studies in one folder and its subfolders.

    Attributes:
      networks: networks, sorted by architecture and data set.
      studies: studies, sorted by path.
      outside_studies: variations that belong to no study.
      without_validation: variations trained on all images, so without a validation accuracy.
      unfinished: runs without a result.
      unreadable: path of a run or study -> the reason why it can't be read.
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
