"""What goes with the state in a checkpoint, under one checksum with it, and checked when read."""

import dataclasses
import hashlib
import json
import math
import zlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.reading import convert_checked
from jaxcifar.runs.saved import Row, rows_of
from jaxcifar.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Notes:
    """The course of a run up to a checkpoint.

    Attributes:
      history: a row of `metrics.jsonl` for each epoch that is over.
      epoch_seconds: spent training in the epoch that is not.
      wall_seconds: that the run has taken, earlier calls included.
    """

    history: list[Row]
    epoch_seconds: float
    wall_seconds: float

    @classmethod
    def read(cls, said: Any, epochs: int) -> Self:
        """Notes as they come from a file.

        Args:
          said: a JSON value.
          epochs: how many are over.

        Raises:
          ValueError: it is of another structure, or has rows of other epochs.
        """
        fields = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(said, dict) or said.keys() != fields:
            raise ValueError("its notes are not those of a run")
        _require(_is_number(said["epoch_seconds"]) and _is_number(said["wall_seconds"]), "time")
        history = rows_of(convert_checked(said["history"], list[dict[str, Any]], "history"))
        _require(len(history) == epochs, "history")
        return cls(history, said["epoch_seconds"], said["wall_seconds"])


def sealed(notes: Notes, config: Config, state: TrainState) -> dict[str, Any]:
    """What is written beside a state: notes, config and a checksum of all three.

    Args:
      notes: that go with it.
      config: of its run.
      state: of NumPy arrays.
    """
    said = {**dataclasses.asdict(notes), "config": config.to_dict()}
    return {**said, "sha256": _digest(said, state)}


def unsealed(
    said: Mapping[str, Any], state: TrainState, epochs: int
) -> tuple[Notes, Config | None]:
    """Notes and config as `sealed` gave them; older versions wrote no config.

    Args:
      said: what was written beside the state.
      state: of NumPy arrays.
      epochs: how many were over.

    Raises:
      ValueError: state, notes and checksum do not fit each other.
      RunError: the config is not one of this version.
    """
    said, config = dict(said), None
    if "sha256" in said:
        same = said.pop("sha256") == _digest(said, state)
    else:
        same = said.pop("checksum", None) == _arrays_checksum(state)
    _require(same, "checksum")
    if "config" in said:
        try:
            config = Config.from_dict(said.pop("config"))
        except ValueError as error:  # whole, for its checksum is right
            raise RunError(f"its config {error}") from error
    return Notes.read(said, epochs), config


def _digest(said: Mapping[str, Any], state: TrainState) -> str:
    """SHA-256 (hex) of JSON values and of all arrays, in the order of the tree."""
    digest = hashlib.sha256(json.dumps(said, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        digest.update(_bytes(leaf).data)
    return digest.hexdigest()


def _arrays_checksum(state: TrainState) -> int:
    """CRC-32 of all arrays, in the order of the tree: the checksum of older versions."""
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(_bytes(leaf).data, checksum)
    return checksum


def _bytes(array: np.ndarray) -> np.ndarray:
    """As `[N] uint8`: types that NumPy does not have, such as bfloat16, give no buffer."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)


def _require(holds: bool, what: str) -> None:
    if not holds:
        raise ValueError(f"its {what} does not fit")
