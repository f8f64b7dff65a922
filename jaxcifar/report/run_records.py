"""Contents of run folders: runs, variations (which differ only in seed or fold), and networks."""

import dataclasses
from functools import cached_property
from pathlib import Path
from typing import Any, Literal, NamedTuple

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import NAMES_OF_RUNS
from jaxcifar.config.folds import Fold, parse_fold
from jaxcifar.config.settings import settings_without_effect
from jaxcifar.runs.curves import stack_curves
from jaxcifar.runs.epoch_selection import best_epoch, best_row_index
from jaxcifar.runs.file_formats import Result, Row, Source, class_names, get_number

SYNTHETIC_DATA_SET = "shapes10"
# Settings that name files. If a file name changes, the change of its checksum is not listed too.
_SETTINGS_THAT_NAME_FILES = {"arch", "dataset", "optimizer", "schedule", "augmentation"}
# The path of another run or its weights does not matter.
_SETTINGS_IDENTIFIED_BY_SHA256 = NAMES_OF_RUNS
_CHECKSUM_PREFIXES = ("data_sha256", "SHA-256 of ")


@dataclasses.dataclass(frozen=True)
class DataSet:
    """A data set: its name in settings, its title in reports, and (split, SHA-256) pairs."""

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
      history: metrics of each epoch, the rows of `metrics.jsonl`.
      result: content of `result.json`, or None if the run is not finished (see `FinishedRun`).
      failure: reason why the run failed, or None.
    """

    path: Path
    config: Config
    history: list[Row]
    result: Result | None
    failure: str | None

    @property
    def selected_metrics(self) -> Row:
        """The metrics of the epoch with the best validation accuracy."""
        return self.history[best_epoch(self.history) - 1]

    @property
    def fold(self) -> Fold | None:
        """The fold of the training images that validated the run; None without folds."""
        return parse_fold(self.config.fold)

    @property
    def label(self) -> str:
        """The seed of the run, and its fold if it has one: "seed 0" or "fold 1/5, seed 0"."""
        seed = f"seed {self.config.seed}"
        return f"fold {self.fold}, {seed}" if self.fold else seed

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
    def data(self) -> DataSet:
        digests = self.result.get("dataset_fingerprint") or {}
        name = self.result.get("dataset_name", self.config.dataset)
        return DataSet(name, self.result["dataset"], tuple(digests.items()))

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
        accuracies = np.diag(self.confusion) / np.maximum(counts, 1)
        return np.where(counts, accuracies, np.nan)


class ValueChange(NamedTuple):
    """The values of one setting in two variations; None in a variation that lacks the setting."""

    old: Any
    new: Any


@dataclasses.dataclass(frozen=True)
class Variation:
    """Finished runs of one config on the same data, which differ only in the seed or the fold.

    Attributes:
      name: name of the row in its study; outside of a study, a name made from the config.
      runs: at least one run, in the order of the seeds, and of the folds of each seed.
      reference_accuracies: test accuracies published elsewhere, as fractions.
    """

    name: str
    runs: tuple[FinishedRun, ...]
    reference_accuracies: tuple[float, ...] = ()

    @property
    def config(self) -> Config:
        """The config of the run with the lowest seed."""
        return self.runs[0].config

    @property
    def data(self) -> DataSet:
        return self.runs[0].data

    @cached_property
    def settings(self) -> dict[str, Any]:
        """The values of all settings by name, including the network's arguments.

        The seed and settings without effect are left out. If there are several folds, the value of
        "fold" says only how many.
        """
        omitted_names = {"seed", *self._settings_without_effect}
        all_settings = self.config.settings().items()
        settings = {name: value for name, value in all_settings if name not in omitted_names}
        if len(self.folds) > 1:
            settings["fold"] = f"each of {self.folds[0].total}"
        return settings

    @cached_property
    def folds(self) -> tuple[Fold, ...]:
        """The folds that the runs were validated on, in order; empty for runs without folds."""
        return tuple(sorted({run.fold for run in self.runs if run.fold is not None}))

    @property
    def repeat_word(self) -> Literal["seeds", "folds"]:
        """The word for the repeats, over which "±" is computed: "folds" if there are several."""
        return "folds" if len(self.folds) > 1 else "seeds"

    @property
    def run_word(self) -> Literal["seeds", "folds", "runs"]:
        """The word for what differs between runs: "seeds", "folds", or "runs" if both differ."""
        if self.repeat_word == "seeds":
            return "seeds"
        has_several_seeds = len({run.config.seed for run in self.runs}) > 1
        return "runs" if has_several_seeds else "folds"

    def has_effect(self, setting: str) -> bool:
        """Return whether a setting does something, given the variation's other settings."""
        return setting not in self._settings_without_effect

    @cached_property
    def _settings_without_effect(self) -> set[str]:
        """Names of the settings that do nothing, such as `shift` without augmentation."""
        return settings_without_effect(vars(self.config))

    def values(self, key: str) -> np.ndarray:
        """Return the number in each run's `result.json` under the name `key`, as `[runs]`."""
        return np.asarray([get_number(run.result, key) for run in self.runs], np.float64)

    def mean(self, key: str) -> float:
        """Return the mean of a field of `result.json` over the seeds, or over the folds."""
        return float(self.values_by_seed_or_fold(key).mean())

    def values_by_seed_or_fold(self, key: str) -> np.ndarray:
        """Return a field of `result.json` for each seed, or for each fold if there are several.

        The value of a fold is the mean over the fold's seeds.
        """
        return self.average_each_fold(self.values(key))

    def average_each_fold(self, values: np.ndarray) -> np.ndarray:
        """Return each fold's mean, given one value per run; below two folds, return `values`."""
        if len(self.folds) < 2:
            return values
        fold_of_run = np.asarray([run.config.fold for run in self.runs])
        means = [values[fold_of_run == str(fold)].mean() for fold in self.folds]
        return np.asarray(means, np.float64)

    def curve(self, key: str) -> np.ndarray:
        """Return the metric `key` of each run and epoch, as `[runs, epochs]`.

        A run that ended before the others has NaN in the epochs that it lacks.
        """
        return stack_curves([run.history for run in self.runs], key)

    @property
    def trained_epochs(self) -> list[int]:
        """The numbers of epochs of the runs, ascending; one number unless some ended early."""
        return sorted({len(run.history) for run in self.runs})

    def changes_to(self, other: "Variation") -> dict[str, ValueChange]:
        """Return the settings that differ, each with its value in this variation and in `other`.

        A value is None in a variation that lacks the setting. These differences are left out: a
        setting without effect in one of the variations; the path of the images if the images are
        equal; and checksums if a setting that names a file differs too.
        """
        ineffective_names = self._settings_without_effect | other._settings_without_effect
        omitted_names = {*_SETTINGS_IDENTIFIED_BY_SHA256, *ineffective_names}
        images_sha256 = self.config.data_sha256
        has_same_images = images_sha256 is not None and images_sha256 == other.config.data_sha256
        if has_same_images:
            omitted_names.add("dataset")  # at most the path of the images differs
        changes = {}
        for name in self.settings | other.settings:
            change = ValueChange(self.settings.get(name), other.settings.get(name))
            if name not in omitted_names and change.old != change.new:
                changes[name] = change
        another_file_is_named = bool(changes.keys() & _SETTINGS_THAT_NAME_FILES)
        if another_file_is_named:  # of course with another checksum
            checksum_names = [name for name in changes if name.startswith(_CHECKSUM_PREFIXES)]
            for name in checksum_names:
                del changes[name]
        return changes

    @property
    def best_run(self) -> FinishedRun:
        """The run with the best validation accuracy; the first one if weights were converted."""
        if self.runs[0].converted:
            return self.runs[0]
        return self.runs[best_row_index([run.selected_metrics for run in self.runs])]
