"""What is to be trained, and where it goes, or lies."""

import dataclasses
from pathlib import Path

from jaxcifar.config import Config


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
    """

    config: Config
    path: Path
    name: str = ""
    overwrite: bool = False
    keep_best: bool = False
    tensorboard: bool = False
    scratch: Path | None = None


def run_inside(path: Path) -> str:
    """What to say beside that a folder is no run: which run is in it, a level or two below."""
    below = (file.parent for levels in ("*", "*/*") for file in path.glob(f"{levels}/config.json"))
    return f"; {found} is one" if (found := min(below, default=None)) else ""
