"""What is to be trained, and where it goes."""

import dataclasses
from pathlib import Path

from jaxcifar.config import Config


@dataclasses.dataclass(frozen=True)
class Task:
    """A run to be done.

    Attributes:
      config: what to train.
      path: of its folder.
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
