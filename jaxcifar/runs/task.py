"""The description of a run, and checks of its folder. This module imports no JAX."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxcifar.config.experiment import WEIGHTS, Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.observers import NamedObserver, ObservedRun

if TYPE_CHECKING:  # they would import NumPy and JAX, which take a moment
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.saved import Result, Row

PYTORCH = (".pth", ".pt")  # suffixes of PyTorch's files
_SUFFIX = Path(WEIGHTS).suffix


@dataclasses.dataclass(frozen=True)
class Task:
    """A run to be done.

    Attributes:
      config: what to train.
      path: of its folder.
      scratch: the folder where this process writes instead, if it is not the first of several.
      name: what lines on the screen call it; "" if there is only one.
      overwrite: delete what an earlier run left in the folder.
      keep_best: delete the checkpoints once the run is finished; its weights stay.
      observers: who watches the run, besides the screen.
      metrics: what the user has measured beside our metrics.
    """

    config: Config
    path: Path
    name: str = ""
    overwrite: bool = False
    keep_best: bool = False
    observers: tuple[NamedObserver, ...] = dataclasses.field(default=(), compare=False)
    scratch: Path | None = None
    metrics: "tuple[UserMetric, ...]" = ()

    def prefixed(self, say: PrintLine) -> PrintLine:
        """Return a function that says a line with the task's name before it."""
        return lambda line: say(f"{self.name}: {line}" if self.name else line)

    def observed(
        self, config: Config, dataset: str, history: "Sequence[Row]", already_over: bool = False
    ) -> ObservedRun:
        """Return what observers are given; `config` is that of the run's folder."""
        return ObservedRun(self.name, self.path, config, dataset, tuple(history), already_over)


class Outcome(NamedTuple):
    """How a task ended: with the content of its `result.json`, or with an error."""

    task: Task
    result: "Result | None" = None
    error: Exception | None = None


def run_inside(path: Path) -> str:
    """What to say beside that a folder is no run: which run is in it, a level or two below."""
    below = (file.parent for levels in ("*", "*/*") for file in path.glob(f"{levels}/config.json"))
    return f"; {found} is one" if (found := min(below, default=None)) else ""


def require_trained(path: Path) -> None:
    """Refuse a path that is neither a finished run nor a file of weights.

    It is judged by file names only.

    Raises:
      UsageError: see above.
    """
    if not path.is_dir():
        _require_weights(Path(os.path.realpath(path)))
    elif not (path / "result.json").exists() and not is_untested(path):
        if (path / "config.json").exists():
            raise UsageError(f"{path}: a run that is not finished: its own command goes on with it")
        raise UsageError(f"{path}: no run here{run_inside(path)}")


def is_untested(path: Path) -> bool:
    """Tell whether a run's weights were converted without test images: it has no result."""
    finished, trained = (path / "result.json").exists(), (path / "metrics.jsonl").exists()
    return (path / WEIGHTS).exists() and not finished and not trained


def _require_weights(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path}: there is nothing; give a finished run, or a file of weights")
    if path.suffix != _SUFFIX:
        hint = "; experiments.convert makes a run of it" if path.suffix in PYTORCH else ""
        raise UsageError(f"{path}: is neither a run nor a file of weights ({_SUFFIX}){hint}")
