"""The metadata file of a checkpoint: notes, config, and a checksum over them and the state."""

import dataclasses
import hashlib
import json
import zlib
from collections.abc import Mapping
from typing import Any, Self

import jax
import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.reading import convert_checked
from jaxcifar.runs.file_formats import START_AGAIN, Amount, Row, check_rows
from jaxcifar.training.state import TrainState


@dataclasses.dataclass(frozen=True)
class Notes:
    """The history of a run up to a checkpoint.

    Attributes:
      history: a row of `metrics.jsonl` for each finished epoch.
      epoch_seconds: seconds of training in the unfinished epoch.
      wall_seconds: wall-clock seconds of all commands that have trained the run.
    """

    history: list[Row]
    epoch_seconds: float
    wall_seconds: float

    @classmethod
    def read(cls, note_values: Any, finished_epochs: int) -> Self:
        """Check a run's history that was read from a checkpoint, and return it.

        Args:
          note_values: a dict with the fields of this class, as read from JSON.
          finished_epochs: number of epochs that were finished when the checkpoint was written.

        Raises:
          ValueError: the values have a wrong structure, or not one row for each finished epoch.
        """
        field_names = {field.name for field in dataclasses.fields(cls)}
        if not isinstance(note_values, dict) or note_values.keys() != field_names:
            raise ValueError("its notes have unknown or missing fields")
        unchecked_seconds = {name: note_values[name] for name in ("epoch_seconds", "wall_seconds")}
        seconds = convert_checked(unchecked_seconds, dict[str, Amount], "notes")
        rows = convert_checked(note_values["history"], list[dict[str, Any]], "history")
        history = check_rows(rows)
        if len(history) != finished_epochs:
            raise ValueError(
                f"its history has {len(history)} epochs, but {finished_epochs} were finished"
            )
        return cls(history, **seconds)


def make_metadata(notes: Notes, config: Config, state: TrainState) -> dict[str, Any]:
    """Return the metadata of a checkpoint, as values that JSON can store.

    The metadata are the notes, the config, and one SHA-256 over notes, config and training state.
    """
    metadata = {**dataclasses.asdict(notes), "config": config.to_dict()}
    metadata["sha256"] = _sha256(metadata, state)
    return metadata


def read_metadata(
    metadata: Mapping[str, Any], state: TrainState, finished_epochs: int
) -> tuple[Notes, Config | None]:
    """Check a checkpoint's metadata, and return the run's history (notes) and config.

    Older versions wrote a CRC-32 of the state instead of a SHA-256, and no config.

    Args:
      metadata: the JSON values that were read from the checkpoint.
      state: the training state that was read from the checkpoint.
      finished_epochs: number of epochs that were finished when the checkpoint was written.

    Returns:
      the notes and the config. The config is None if an older version wrote the checkpoint.

    Raises:
      ValueError: the checkpoint is damaged.
      RunError: the checksum is right, but this version can't read the config or the notes.
    """
    unread_values = dict(metadata)
    was_written_by_old_version = "sha256" not in unread_values
    if was_written_by_old_version:
        is_intact = unread_values.pop("checksum", None) == _crc32(state)
    else:
        saved_sha256 = unread_values.pop("sha256")
        is_intact = saved_sha256 == _sha256(unread_values, state)
    if not is_intact:
        raise ValueError("its checksum is wrong")
    # From here on, a wrong value is no damage, because the checksum is right.
    config = None
    if "config" in unread_values:
        try:
            config = Config.from_dict(unread_values.pop("config"))
        except ValueError as error:
            raise RunError(f"a checkpoint's config {error}; {START_AGAIN.advice}") from error
        _require_known_notes(unread_values)
    return Notes.read(unread_values, finished_epochs), config


def _require_known_notes(note_values: Mapping[str, Any]) -> None:
    """Raise RunError if notes lack a field of `Notes`, or have another field."""
    known_notes = {field.name for field in dataclasses.fields(Notes)}
    missing_notes = known_notes - note_values.keys()
    unknown_notes = note_values.keys() - known_notes
    if missing_notes or unknown_notes:
        note = min(missing_notes | unknown_notes)
        verb = "lacks" if note in missing_notes else "has"
        raise RunError(
            f"a checkpoint is of another version of jaxcifar (it {verb} {note}); go on with "
            f"that version, or {START_AGAIN.advice}"
        )


def _sha256(values: Mapping[str, Any], state: TrainState) -> str:
    """Return the SHA-256 over JSON values and all arrays of a training state."""
    digest = hashlib.sha256(json.dumps(values, sort_keys=True).encode())
    for leaf in jax.tree.leaves(state):
        digest.update(_view_as_bytes(leaf).data)
    return digest.hexdigest()


def _crc32(state: TrainState) -> int:
    """Return the CRC-32 of all arrays of a training state."""
    checksum = 0
    for leaf in jax.tree.leaves(state):
        checksum = zlib.crc32(_view_as_bytes(leaf).data, checksum)
    return checksum


def _view_as_bytes(array: np.ndarray) -> np.ndarray:
    """Return the bytes of an array, `[N] uint8`; hash functions can't read bfloat16 arrays."""
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8)
