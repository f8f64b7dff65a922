"""A run is a folder that explains itself; here is what lies in it and who may write there."""

import json
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any, Self

import numpy as np

from jaxcifar.config import user_code
from jaxcifar.config.experiment import WEIGHTS, Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine import files
from jaxcifar.machine.npz import read_arrays
from jaxcifar.machine.reading import Remedy, read_json, read_json_lines, read_text, report_errors
from jaxcifar.machine.sharing import PyTree
from jaxcifar.runs import saved
from jaxcifar.runs.saved import Result, Row
from jaxcifar.runs.sources import write_sources
from jaxcifar.runs.weights import Card, card_of, read_weights, write_weights


class RunFolder:
    """The files of one run.

    Attributes:
      config: `config.json`, what was asked for.
      sources: folder with copies of somebody's own code, a folder a kind.
      metrics: `metrics.jsonl`, a line an epoch.
      result: `result.json`; exists when the run is finished.
      failure: one line, why the run can't be finished.
      mistakes: the test images that the network got wrong with most confidence (`result.py`).
      weights: `weights.safetensors`, those that validation chose, with all that predicting takes.
      evaluation, test_looks: what was found out since (`evaluation.py`).
      network: `network.json`, what the network is made of, for reports.
      summary, model_plot, accuracy_plot, loss_plot: for people.
      checkpoints: folder.
      tensorboard: folder of event files, if they were asked for (`tensorboard.py`).
      wandb: folder of Weights & Biases' files, likewise (`weights_and_biases.py`).
      anew: whether what lies there is an earlier run's, to be deleted once this one begins.
    """

    def __init__(self, path: Path, anew: bool = False) -> None:
        self.path, self.anew = path, anew
        self.config = path / "config.json"
        self.metrics = path / "metrics.jsonl"
        self.result = path / "result.json"
        self.failure = path / "failure.txt"
        self.mistakes = path / "mistakes.npz"
        self.evaluation = path / "evaluation.json"
        self.test_looks = path / "test_looks.jsonl"
        self.sources = path / "sources"
        self.weights = path / WEIGHTS
        self.network = path / "network.json"
        self.summary = path / "summary.txt"
        self.model_plot = path / "model.png"
        self.accuracy_plot = path / "accuracy.png"
        self.loss_plot = path / "loss.png"
        self.checkpoints = path / "checkpoints"
        self.tensorboard = path / "tensorboard"
        self.wandb = path / "wandb"

    @classmethod
    @contextmanager
    def opened(cls, path: Path, config: Config, overwrite: bool = False) -> Iterator[Self]:
        """The folder of a new run, or of the same run begun before, held for this process.

        Args:
          path: made if need be.
          config: must be the one that the folder was begun with.
          overwrite: take what an earlier run left there for nothing, and delete it in `begin`.

        Raises:
          UsageError: the folder belongs to another config, or is no run folder.
          BusyError: another process is at work in it.
          RunError: it can't be written.
        """
        folder = cls(path, overwrite)
        ours = partial(folder.check, config, overwrite)
        with folder.writing(), files.lock_folder(path, wait=False, check=ours):
            if not folder.sources.is_symlink():
                files.delete_partial_files(folder.sources)
            yield folder

    @property
    def begun(self) -> bool:
        """Whether this run was begun here before."""
        return self.config.exists() and not self.anew

    def begin(self, config: Config) -> None:
        """Write down what is run here, once it is known on which images, and that it can start.

        Args:
          config: that of `opened`, with the data's fingerprint if its name does not say it all.

        Raises:
          OSError: it can't be written.
          RunError: what an earlier run left, and is to go, can't be deleted; or see
            `write_sources`.
        """
        if self.anew:
            self._clear()
            self.anew = False
        if not self.begun:
            files.write_text(self.config, config.to_json())
        write_sources(self.sources, config)

    @contextmanager
    def writing(self) -> Iterator[None]:
        """Tell a failure to write here in one line.

        Raises:
          RunError: in place of an OSError.
        """
        try:
            yield
        except OSError as error:
            raise RunError(
                f"{self.path}: can't be written ({error.strerror or error}); what is there is "
                "kept: make room or choose another folder, then run the same command"
            ) from error

    def check(self, config: Config, overwrite: bool = False) -> None:
        """Refuse a folder that `opened` would refuse.

        Raises:
          UsageError: see `opened`.
          RunError: its config can't be read.
        """
        if not self.config.exists():
            foreign = [p for p in self.path.glob("*") if not p.name.startswith(".")]
            if foreign:
                raise UsageError(
                    f"{self.path}: holds files but no run ({foreign[0].name}, ...); choose an "
                    "empty or new folder"
                )
        elif not overwrite:
            there = self.read_config()
            differing = there.differences(user_code.with_imports_on_disk(config, there))
            if config.data_sha256 is None:
                differing.pop("data_sha256", None)  # not looked at yet; see `require_same`
            self._refuse(differing)

    def require_same(self, config: Config) -> None:
        """Refuse a run that was begun on other images, or with other imports of its user code.

        Args:
          config: `Setup.config_of` the run.

        Raises:
          UsageError: it was.
          RunError: its config can't be read.
        """
        self._refuse(self.read_config().differences(config))

    def _refuse(self, differing: dict[str, tuple[Any, Any]]) -> None:
        if differing:
            what = ", ".join(
                f"{k} {old} there, {new} asked for" for k, (old, new) in differing.items()
            )
            raise UsageError(
                f"{self.path}: belongs to another config ({what}); choose another folder, or "
                "start anew with --overwrite (in a study: --force ROW)"
            )

    def _clear(self) -> None:
        # A folder half cleared must not pass for a finished run, but for a run: result first,
        # config last.
        paths = {path for path in vars(self).values() if isinstance(path, Path)}
        others = paths - {self.path, self.result, self.config}
        for path in (self.result, *others, self.config):
            try:
                files.delete_path(path)
            except OSError as error:
                raise RunError(
                    f"{path}: an earlier run's, can't be deleted ({error.strerror or error}), and "
                    "nothing is trained over it: delete it yourself or choose another folder"
                ) from error

    def read_config(self, remedy: Remedy = saved.ANEW) -> Config:
        """`config.json`.

        Args:
          remedy: what to do if it can't be read.

        Raises:
          RunError: it can't be read, as for all that is read here.
        """
        said = read_json(self.config, dict[str, Any], remedy, saved.MOST_CONFIG_BYTES)
        with report_errors(self.config, remedy):
            return Config.from_dict(said)

    def finished_result(self) -> Result | None:
        """`result.json`, or None if the run is not finished."""
        return None if self.anew or not self.result.exists() else saved.read_result(self.result)

    def read_history(self) -> list[Row]:
        """`metrics.jsonl`, epoch by epoch; empty if there is none."""
        if not self.metrics.exists():
            return []
        said = read_json_lines(self.metrics, dict[str, Any], saved.BOTH_AGAIN)
        with report_errors(self.metrics, saved.BOTH_AGAIN):
            return saved.rows_of(said)

    def read_failure(self) -> str | None:
        """`failure.txt`, or None if the run can be finished."""
        if not self.failure.exists():
            return None
        return read_text(self.failure, saved.TRY_AGAIN, saved.MOST_FAILURE_BYTES).strip()

    def write_failure(self, error: Exception) -> None:
        """Write `failure.txt`: why the run can't be finished."""
        files.write_text(self.failure, f"{error}\n")

    def read_mistakes(self, classes: int) -> dict[str, np.ndarray]:
        """`mistakes.npz`, with labels of so many classes."""
        most = saved.MOST_MISTAKES_BYTES
        mistakes = read_arrays(self.mistakes, saved.MISTAKES, saved.BOTH_AGAIN, most)
        with report_errors(self.mistakes, saved.BOTH_AGAIN):
            for name in ("label", "predicted"):
                if not ((mistakes[name] >= 0) & (mistakes[name] < classes)).all():
                    raise ValueError(f"{name} is not of {classes} classes")
        return mistakes

    def write_history(self, history: Sequence[Row]) -> None:
        """Replace `metrics.jsonl` by these rows: what the checkpoint resumed from knows."""
        files.write_text(self.metrics, "".join(json.dumps(row) + "\n" for row in history))

    def append_row(self, row: Row) -> None:
        """Add one epoch to `metrics.jsonl`."""
        files.append_to_file(self.metrics, f"{json.dumps(row)}\n".encode())

    def finish(self, result: Result, mistakes: dict[str, np.ndarray], variables: PyTree) -> None:
        """Write mistakes, weights and, because that ends the run, `result.json` last."""
        with files.atomic_write(self.mistakes) as file:
            arrays: dict[str, Any] = {**mistakes}
            np.savez_compressed(file, **arrays)
        result["weights_sha256"] = write_weights(self.weights, variables, card_of(result))
        files.write_text(self.result, saved.as_text(result))

    def read_weights(self, result: Result) -> tuple[dict[str, np.ndarray], Card]:
        """`weights.safetensors` of a run with that result, as `weights.read_weights` gives it."""
        return read_weights(self.weights, saved.WEIGHTS_AGAIN, result.get("weights_sha256"))

    def tidy(self, keep_best: bool) -> None:
        """Delete a finished run's checkpoints if the weights beside them are all to be kept."""
        if keep_best and self.result.exists() and self.weights.exists():
            files.delete_path(self.checkpoints)
