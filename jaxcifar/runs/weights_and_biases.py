"""An observer that records a run for Weights & Biases (`--wandb`).

W&B knows a run by an id, which is kept in the run's folder, so that a resumed run is the same run
there. Online, W&B's server says which epochs it has, and only later epochs are logged. Offline no
server can be asked, and an uploaded copy of a run replaces the copy that was uploaded before it. So
a resumed run begins a new offline copy with all epochs, and deletes the old one.
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
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observers import ObservedRun
from jaxcifar.runs.saved import Result, Row

_PROJECT = "jaxcifar"
_STATE = "jaxcifar.json"
_ANEW = Remedy("delete it; the run then becomes a new run of Weights & Biases")
_MOST_BYTES = MEGABYTE // 16
_ONLINE = ("online", "shared")  # modes in which W&B uploads during the run
_unfinished: dict[str, Any] = {}  # W&B's runs of this process by id; a second Ctrl-C leaves one


class Logged(TypedDict):
    """`wandb/jaxcifar.json`: the id, and the epochs and the result that W&B certainly has."""

    id: Annotated[str, Meta(pattern="^[0-9a-f]{8}$")]
    epochs: Annotated[int, Meta(ge=0, le=2**31)]
    result: bool


class WeightsAndBiases:
    """An observer that logs each epoch's row, and the result as the summary of W&B's run.

    Raises:
      RunError: wandb is not installed, or the user is not logged in.
    """

    def __init__(self) -> None:
        self._wandb = _package()
        _log_in()

    def began(self, run: ObservedRun) -> None:
        """Begin or resume W&B's run, and log the epochs that it lacks.

        Raises:
          RunError: a link is in the folder's place, or the state there can't be read.
        """
        self._run: Any = None  # stays None if there is nothing to log
        if _mode() == "disabled":
            return
        folder = RunFolder(run.path)
        if folder.wandb.is_symlink():
            raise RunError(
                f"{folder.wandb}: is a symbolic link; delete it, because Weights & Biases' files "
                "are deleted and written in this folder"
            )
        folder.wandb.mkdir(exist_ok=True)
        self._state, self._epoch = folder.wandb / _STATE, 0
        logged = self._read()
        self._id = logged["id"]
        has_all = logged["epochs"] == len(run.history)
        if run.already_over and has_all and logged["result"] == folder.result.exists():
            return
        self._write(0, result=False)
        if interrupted := _unfinished.pop(self._id, None):
            interrupted.finish(exit_code=1)
        for old in folder.wandb.glob(f"offline-run-*-{self._id}"):
            delete_path(old)
        self._run = self._wandb.init(
            project=os.environ.get("WANDB_PROJECT", _PROJECT),
            id=self._id,
            name=run.name or run.path.name,
            dir=str(run.path),
            config=run.settings,
            resume="allow" if _mode() in _ONLINE else None,
            reinit="create_new",  # runs that train at once are runs of their own
            settings=self._wandb.Settings(console="off", quiet=True),
        )
        _unfinished[self._id] = self._run
        for row in run.history:
            self.epoch(row)

    def epoch(self, row: Row) -> None:
        """Log the figures of an epoch, unless W&B has them."""
        self._epoch = row["epoch"]
        if self._run is not None and self._epoch >= self._run.starting_step:
            self._run.log(dict(row), step=self._epoch, commit=True)

    def finished(self, result: Result) -> None:
        """Make the numbers of the result the run's summary."""
        if self._run is not None:
            numbers = {name: n for name, n in result.items() if isinstance(n, int | float)}
            self._run.summary.update(numbers)
            self._end(0)

    def failed(self, error: Exception) -> None:
        """End W&B's run; it goes on if the run is resumed."""
        if self._run is not None:
            self._end(1)

    def _end(self, exit_code: int) -> None:
        self._run.finish(exit_code=exit_code)  # returns when all is written or uploaded
        del _unfinished[self._id]
        self._write(self._epoch, result=exit_code == 0)

    def _read(self) -> Logged:
        if not self._state.exists():
            return {"id": secrets.token_hex(4), "epochs": 0, "result": False}
        return read_json(self._state, Logged, _ANEW, _MOST_BYTES)

    def _write(self, epochs: int, result: bool) -> None:
        logged: Logged = {"id": self._id, "epochs": epochs, "result": result}
        write_text(self._state, json.dumps(logged))


def _package() -> ModuleType:
    """Import the package wandb; a folder of W&B's files called `wandb` is not mistaken for it.

    Raises:
      RunError: it is not installed.
    """
    import_extra("wandb.sdk")
    return import_extra("wandb")


def _mode() -> str:
    """Return W&B's mode, which `WANDB_MODE` or W&B's settings say; `offline` for older names."""
    return _package().setup().settings.mode


@functools.cache
def _log_in() -> None:
    """Log in to W&B if it is online. Without a key, W&B asks for one on a terminal.

    Raises:
      RunError: the login failed.
    """
    if _mode() not in _ONLINE:
        return
    try:
        _package().login()
    except Exception as error:  # of several kinds, from one version to the next
        raise RunError(
            f"can't log in to Weights & Biases ({first_line(error)}); run `wandb login` first, or "
            "set WANDB_MODE=offline and upload later"
        ) from error
