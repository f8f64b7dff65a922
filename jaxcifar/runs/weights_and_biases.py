"""An observer that records a run for Weights & Biases (`--wandb`).

The id of W&B's run is stored in the run's folder, so that a resumed run continues the same W&B run.
Online, W&B's server says which epochs it has, and only later epochs are logged. Offline there is no
server to ask, and an uploaded copy of a run replaces the copy that was uploaded before. So a
resumed run deletes the old offline copy and writes a new copy with all epochs.
"""

import functools
import json
import os
import secrets
from types import ModuleType
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import delete_path, write_text
from jaxcifar.machine.reading import MEGABYTE, Remedy, read_json
from jaxcifar.runs.file_formats import Result, Row
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.runs.sources import require_no_link

_PROJECT = "jaxcifar"
_STATE_FILE_NAME = "jaxcifar.json"
_DELETE_STATE = Remedy("delete it; the run then becomes a new run of Weights & Biases")
_MAX_STATE_BYTES = MEGABYTE // 16
_ONLINE_MODES = ("online", "shared")  # modes in which W&B uploads during the run
_SUCCESS, _FAILURE = 0, 1  # exit codes of W&B's runs
# W&B's runs of this process by id. A run that a second Ctrl-C interrupts stays here, unfinished.
_unfinished_wandb_runs: dict[str, Any] = {}


class UploadState(TypedDict):
    """The parts of a run that have been uploaded to W&B: the content of `wandb/jaxcifar.json`.

    Attributes:
      id: id of W&B's run.
      epochs: number of epochs that were certainly uploaded.
      result: True if the result was certainly uploaded.
    """

    id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    epochs: Annotated[int, Meta(ge=0, le=2**31)]
    result: bool


class WeightsAndBiases:
    """An observer that logs each epoch's row, and the result as the summary of W&B's run.

    Raises:
      RunError: wandb is not installed, or the user is not logged in.
    """

    def __init__(self) -> None:
        self._wandb = _wandb_package()
        _log_in()

    def began(self, run: ObservedRun) -> None:
        """Begin or resume W&B's run, and log the finished epochs that were not uploaded yet.

        Raises:
          RunError: the folder `wandb` is a symbolic link, or its `jaxcifar.json` can't be read.
        """
        self._wandb_run: Any = None  # stays None if there is nothing to log
        if _wandb_mode() == "disabled":
            return
        folder = RunFolder(run.path)
        require_no_link(folder.wandb)
        folder.wandb.mkdir(exist_ok=True)
        self._state_file = folder.wandb / _STATE_FILE_NAME
        self._last_epoch = 0
        uploaded = self._read_upload_state()
        self._wandb_id = uploaded["id"]
        all_epochs_are_uploaded = uploaded["epochs"] == len(run.history)
        result_is_uploaded = uploaded["result"] == folder.result_file.exists()
        if run.already_over and all_epochs_are_uploaded and result_is_uploaded:
            return
        self._write_upload_state(epochs=0, result=False)
        interrupted_run = _unfinished_wandb_runs.pop(self._wandb_id, None)
        if interrupted_run:
            interrupted_run.finish(exit_code=_FAILURE)
        for old_copy in folder.wandb.glob(f"offline-run-*-{self._wandb_id}"):
            delete_path(old_copy)
        self._wandb_run = self._init_wandb_run(run)
        _unfinished_wandb_runs[self._wandb_id] = self._wandb_run
        for row in run.history:
            self.epoch(row)

    def _init_wandb_run(self, run: ObservedRun) -> Any:
        return self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=self._wandb_id,
            name=run.name or run.path.name,
            dir=str(run.path),
            config=run.settings,
            resume="allow" if _wandb_mode() in _ONLINE_MODES else None,
            reinit="create_new",  # runs that train at the same time are separate
            settings=self._wandb.Settings(console="off", quiet=True),
        )

    def epoch(self, row: Row) -> None:
        """Log the row of an epoch, unless W&B already has it."""
        self._last_epoch = row["epoch"]
        if self._wandb_run is not None and self._last_epoch >= self._wandb_run.starting_step:
            self._wandb_run.log(dict(row), step=self._last_epoch, commit=True)

    def finished(self, result: Result) -> None:
        """Write the numbers of the result to the summary of W&B's run, and end that run."""
        if self._wandb_run is not None:
            numbers = {
                name: value for name, value in result.items() if isinstance(value, int | float)
            }
            self._wandb_run.summary.update(numbers)
            self._end_wandb_run(_SUCCESS)

    def failed(self, error: Exception) -> None:
        """Mark W&B's run as failed; if the training run is resumed, W&B's run is resumed too."""
        if self._wandb_run is not None:
            self._end_wandb_run(_FAILURE)

    def _end_wandb_run(self, exit_code: int) -> None:
        self._wandb_run.finish(exit_code=exit_code)  # returns when all data are written or uploaded
        del _unfinished_wandb_runs[self._wandb_id]
        self._write_upload_state(self._last_epoch, result=exit_code == _SUCCESS)

    def _read_upload_state(self) -> UploadState:
        if not self._state_file.exists():
            return {"id": secrets.token_hex(4), "epochs": 0, "result": False}
        return read_json(self._state_file, UploadState, _DELETE_STATE, _MAX_STATE_BYTES)

    def _write_upload_state(self, epochs: int, result: bool) -> None:
        uploaded: UploadState = {"id": self._wandb_id, "epochs": epochs, "result": result}
        write_text(self._state_file, json.dumps(uploaded))


def _wandb_package() -> ModuleType:
    """Import and return the package wandb.

    Python would also import a folder `wandb` that is not the package, such as a run's. Therefore a
    part of the package is imported first.

    Raises:
      RunError: the package is not installed.
    """
    import_extra("wandb.sdk")
    return import_extra("wandb")


def _wandb_mode() -> str:
    """Return W&B's mode, such as "online" or "offline", from `WANDB_MODE` or W&B's settings."""
    return _wandb_package().setup().settings.mode


@functools.cache
def _log_in() -> None:
    """Log in to W&B if its mode is online. If no API key is stored, W&B asks for a key.

    Raises:
      RunError: the login failed.
    """
    if _wandb_mode() not in _ONLINE_MODES:
        return
    try:
        _wandb_package().login()
    except Exception as error:  # W&B's versions raise different exceptions
        raise RunError(
            f"can't log in to Weights & Biases ({first_line(error)}); run `wandb login` first, or "
            "set WANDB_MODE=offline and upload later"
        ) from error
