"""The description of a run, and checks of its folder. This module imports no JAX."""

import dataclasses
import os
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxcifar.config.experiment import WEIGHTS, Config
from jaxcifar.errors import UsageError

if TYPE_CHECKING:  # they would import NumPy and JAX, which take a moment
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.saved import Result

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
      tensorboard: write events for TensorBoard too (`tensorboard.py`).
      metrics: what the user has measured beside our metrics.
    """

    config: Config
    path: Path
    name: str = ""
    overwrite: bool = False
    keep_best: bool = False
    tensorboard: bool = False
    scratch: Path | None = None
    metrics: "tuple[UserMetric, ...]" = ()


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
