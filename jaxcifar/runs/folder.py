"""The folder of a run: lock it, and read and write its files."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from jaxcifar.config import saved_config, user_code, weights_file
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine import files
from jaxcifar.machine.reading import Remedy, read_json_lines, read_text, report_errors
from jaxcifar.machine.sharing import PyTree
from jaxcifar.runs import config_comparison, file_formats, image_files
from jaxcifar.runs.file_formats import DELETE_IMAGES, DELETE_IT_AND_RESULT, START_AGAIN, Result, Row
from jaxcifar.runs.image_files import MISTAKE_ARRAYS, read_images, write_arrays
from jaxcifar.runs.mistakes import Mistakes
from jaxcifar.runs.sources import write_sources
from jaxcifar.runs.weights import Card, make_card, read_weights, write_weights


class RunFolder:
    """The files of one run.

    Attributes:
      config_file: `config.json`, the run's settings.
      metrics_file: `metrics.jsonl`, one row per epoch.
      result_file: `result.json`; exists when the run is finished.
      failure_file: `failure.txt`, the reason why the run can't be finished, in one line.
      mistakes_file: `mistakes.npz`, the wrong predictions with the highest probability.
      confusions_file: `confusions.npz`, wrong predictions for each pair of classes.
      training_images_file: `training_images.npz`, a few training images and augmented versions.
      weights_file: `weights.safetensors`, the best epoch's weights, and a card that describes them.
      evaluation_file, uses_of_test_images_file: later evaluations, and all uses of test images.
      network_file: `network.json`, the network's layers, for reports.
      summary_file, model_plot: table and picture of the network.
      accuracy_plot, loss_plot: curves by epoch.
      sources: folder with copies of the user code.
      checkpoints: folder of the checkpoints.
      tensorboard, wandb: folders of TensorBoard's and Weights & Biases' files, if asked for.
      overwrite: True if `begin` must delete the files of an earlier run.
      resuming_command: the command that goes on with the run, as words for a message.
    """

    def __init__(
        self, path: Path, overwrite: bool = False, resuming_command: str = "the same command"
    ) -> None:
        self.path, self.overwrite, self.resuming_command = path, overwrite, resuming_command
        self.config_file = path / "config.json"
        self.metrics_file = path / "metrics.jsonl"
        self.result_file = path / "result.json"
        self.failure_file = path / "failure.txt"
        self.mistakes_file = path / "mistakes.npz"
        self.confusions_file = path / "confusions.npz"
        self.training_images_file = path / "training_images.npz"
        self.weights_file = path / weights_file.WEIGHTS
        self.evaluation_file = path / "evaluation.json"
        self.uses_of_test_images_file = path / "test_looks.jsonl"
        self.network_file = path / "network.json"
        self.summary_file = path / "summary.txt"
        self.model_plot = path / "model.png"
        self.accuracy_plot = path / "accuracy.png"
        self.loss_plot = path / "loss.png"
        self.sources = path / "sources"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.wandb = path / "wandb"

    @contextmanager
    def locked(self, config: Config) -> Iterator[Self]:
        """Lock the run's folder for this process during the `with` block; create it if missing.

        Raises:
          UsageError: the folder belongs to another config, or has files but no run.
          BusyError: another process has locked the folder.
          RunError: the folder can't be written.
        """
        check = partial(self.require_usable, config)
        with self.report_write_errors(), files.lock_folder(self.path, wait=False, check=check):
            if not self.sources.is_symlink():
                files.delete_partial_files(self.sources)
            yield self

    @property
    def has_begun(self) -> bool:
        """True if an earlier command began a run in this folder, and `overwrite` is False."""
        return self.config_file.exists() and not self.overwrite

    def begin(self, config: Config) -> bool:
        """Delete a run that is to be overwritten; write `config.json` and copies of the user code.

        Return True if a run was deleted. `config` must have all SHA-256 digests (images and code).

        Raises:
          OSError: a file can't be written.
          RunError: a file of an earlier run can't be deleted, or `sources` is a symbolic link.
        """
        has_run_to_delete = self.overwrite and self.config_file.exists()
        if self.overwrite:
            self.delete_run()
            self.overwrite = False
        user_has_moved_images = self.has_begun and self.read_config().dataset != config.dataset
        if not self.has_begun or user_has_moved_images:
            files.write_text(self.config_file, config.to_json())
        write_sources(self.sources, config)
        return has_run_to_delete

    @contextmanager
    def report_write_errors(self) -> Iterator[None]:
        """Turn an OSError in the `with` block into a RunError: a file can't be written."""
        try:
            yield
        except OSError as error:
            # While `overwrite` is True, the earlier run still has to be deleted.
            command = "the same command" if self.overwrite else self.resuming_command
            raise RunError(
                f"{self.path}: can't be written ({error.strerror or error}); its files are "
                f"kept: make room or choose another folder, then run {command}"
            ) from error

    def require_usable(self, config: Config) -> None:
        """Check that a run with this config may use the folder.

        Raises:
          UsageError: the folder belongs to another config, or has files but no run.
          RunError: the config in the folder can't be read.
        """
        if not self.config_file.exists():
            visible_files = [path for path in self.path.glob("*") if not path.name.startswith(".")]
            if visible_files:
                raise UsageError(
                    f"{self.path}: holds files but no run ({visible_files[0].name}, ...); choose "
                    "an empty or new folder"
                )
        elif not self.overwrite:
            earlier_config = self.read_config()
            config_with_imports = user_code.with_imports_on_disk(config, earlier_config)
            is_finished = self.result_file.exists()
            differences = config_comparison.differences_before_images_are_loaded(
                earlier_config, config_with_imports, is_finished
            )
            self._refuse_differences(differences)

    def require_same(self, config: Config) -> None:
        """Check that the run in the folder was begun with this config.

        The config must have the SHA-256 digests of the images and of all user code.

        Raises:
          UsageError: the run in the folder was begun with another config.
          RunError: the config in the folder can't be read.
        """
        self._refuse_differences(self.read_config().differences(config))

    def _refuse_differences(self, differences: dict[str, tuple[Any, Any]]) -> None:
        if differences:
            description = config_comparison.describe_config_differences(differences)
            raise UsageError(
                f"{self.path}: belongs to another config ({description}); {START_AGAIN.advice}"
            )

    def delete_run(self) -> None:
        """Delete all files of the run in the folder; raise RunError if one can't be deleted."""
        # A run that is deleted only in part looks like an unfinished one.
        deleted_first, deleted_last = self.result_file, self.config_file
        paths_of_run = {value for value in vars(self).values() if isinstance(value, Path)}
        other_paths = paths_of_run - {self.path, deleted_first, deleted_last}
        for path in (deleted_first, *other_paths, deleted_last):
            try:
                files.delete_path(path)
            except OSError as error:
                raise RunError(
                    f"{path}: belongs to an earlier run and can't be deleted "
                    f"({error.strerror or error}); delete it yourself, or choose another folder"
                ) from error

    # Each function that reads a file raises RunError if the file can't be read.

    def read_config(self, remedy: Remedy = START_AGAIN) -> Config:
        """Return the run's settings (`config.json`); `remedy` is the advice in an error message."""
        return saved_config.read_config(self.config_file, Config, remedy)

    def finished_result(self) -> Result | None:
        """Return the content of `result.json`, or None if the run is not finished."""
        if self.overwrite or not self.result_file.exists():
            return None
        return file_formats.read_result(self.result_file)

    def read_history(self) -> list[Row]:
        """Return the rows of `metrics.jsonl`, one per epoch; empty if there is no such file."""
        if not self.metrics_file.exists():
            return []
        rows = read_json_lines(self.metrics_file, dict[str, Any], DELETE_IT_AND_RESULT)
        with report_errors(self.metrics_file, DELETE_IT_AND_RESULT):
            return file_formats.check_rows(rows)

    def read_failure(self) -> str | None:
        """Return the reason why the run can't be finished (`failure.txt`), or None if it can."""
        if not self.failure_file.exists():
            return None
        remedy, max_bytes = file_formats.DELETE_FAILURE, file_formats.MAX_FAILURE_BYTES
        return read_text(self.failure_file, remedy, max_bytes).strip()

    def write_failure(self, error: Exception) -> None:
        """Write `failure.txt`: the reason why the run can't be finished."""
        files.write_text(self.failure_file, f"{error}\n")

    def read_mistakes(self, class_count: int) -> dict[str, np.ndarray]:
        """Return the arrays of `mistakes.npz` by name: the most confident wrong predictions."""
        return read_images(self.mistakes_file, MISTAKE_ARRAYS, class_count, DELETE_IT_AND_RESULT)

    def read_confusions(self, class_count: int) -> dict[str, np.ndarray]:
        """Return the arrays of `confusions.npz` by name: wrong predictions by pair of classes."""
        return read_images(self.confusions_file, MISTAKE_ARRAYS, class_count, DELETE_IT_AND_RESULT)

    def read_training_images(self, class_count: int) -> dict[str, np.ndarray]:
        """Return the arrays of `training_images.npz` by name: a few images, plain and augmented."""
        forms = image_files.TRAINING_IMAGE_ARRAYS
        return read_images(self.training_images_file, forms, class_count, DELETE_IMAGES)

    def write_history(self, history: Sequence[Row]) -> None:
        """Replace the content of `metrics.jsonl` with these rows, one per finished epoch."""
        files.write_text(self.metrics_file, "".join(json.dumps(row) + "\n" for row in history))

    def append_row(self, row: Row) -> None:
        """Add the row of an epoch to `metrics.jsonl`."""
        files.append_to_file(self.metrics_file, f"{json.dumps(row)}\n".encode())

    def finish(self, result: Result, mistakes: Mistakes, variables: PyTree) -> None:
        """Write wrong predictions and weights, then `result.json`, which marks a finished run."""
        write_arrays(self.mistakes_file, mistakes.most_confident)
        write_arrays(self.confusions_file, mistakes.by_cell)
        card = make_card(result)
        result["weights_sha256"] = write_weights(self.weights_file, variables, card)
        files.delete_path(self.failure_file)  # of an earlier attempt, perhaps on another device
        files.write_text(self.result_file, file_formats.result_to_json(result))

    def read_weights(self, result: Result) -> tuple[dict[str, np.ndarray], Card]:
        """Return the arrays in the run's file of weights, by name, and its card (a description)."""
        remedy, sha256 = file_formats.GET_WEIGHTS_AGAIN, result.get("weights_sha256")
        return read_weights(self.weights_file, remedy, sha256)

    def delete_unneeded_checkpoints(self, keep_best: bool) -> None:
        """Delete a finished run's checkpoints if `keep_best` is True; the file of weights stays."""
        if keep_best and self.result_file.exists() and self.weights_file.exists():
            files.delete_path(self.checkpoints)
