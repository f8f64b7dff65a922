"""The checkpoints on the disk: the rule which of them stay, and a check that they are readable."""

import json
from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Annotated, Any

from msgspec import Meta
from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationPolicy

from jaxcifar.machine import processes
from jaxcifar.machine.files import require_readable, write_text
from jaxcifar.machine.reading import MEGABYTE, Count, Remedy, read_json

_RECORD_NAME = "keep_every.json"  # beside the checkpoints
_Record = Annotated[list[Count], Meta(max_length=10_000)]  # each N of `--keep-every N`
_DELETE_RECORD = Remedy("delete it; then old checkpoints of --keep-every may be deleted, too")
_NEWEST_CHECKPOINTS = 2  # if the newest one is damaged, the run resumes from the other one


class KeepingRule(PreservationPolicy):
    """A rule that tells orbax which checkpoints to keep: the newest two, and chosen steps.

    Attributes:
      kept_steps: further steps whose checkpoints are kept, such as the best epoch's last step.
      keep_every_steps: 1000 also keeps the checkpoints of steps 1000, 2000 and so on; None keeps
        none extra.
      earlier_steps: steps whose checkpoints earlier commands kept by their `--keep-every`.
    """

    def __init__(self, keep_every_steps: int | None) -> None:
        self.kept_steps: Collection[int] = ()
        self.keep_every_steps = keep_every_steps
        self.earlier_steps: Collection[int] = ()

    def is_always_kept(self, step: int) -> bool:
        """Return True if the checkpoint of a step is never deleted (`--keep-every`)."""
        return self.keep_every_steps is not None and step % self.keep_every_steps == 0

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], **_: Any
    ) -> Sequence[bool]:
        """Return for each checkpoint whether to keep it; orbax calls this after each save."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        newest_steps = sorted(steps)[-_NEWEST_CHECKPOINTS:]
        needed_steps = {*newest_steps, *self.kept_steps, *self.earlier_steps}
        return [step in needed_steps or self.is_always_kept(step) for step in steps]


def record_keep_every(folder: Path, keep_every: int | None) -> list[int]:
    """Add the N of `--keep-every N` to a file in the folder; return each N of earlier commands.

    So a later command without the option does not delete the checkpoints that were kept. `folder`
    has the run's checkpoints, and `keep_every` is N, or None if the option was not given.

    Raises:
      RunError: the file can't be read.
      OSError: the file can't be written.
    """
    file = folder / _RECORD_NAME
    earlier_intervals: _Record = []
    if file.exists():
        earlier_intervals = read_json(file, _Record, _DELETE_RECORD, MEGABYTE)
    is_new_interval = keep_every is not None and keep_every not in earlier_intervals
    if is_new_interval and processes.is_first_process():
        write_text(file, json.dumps([*earlier_intervals, keep_every]) + "\n")
    return earlier_intervals


def steps_kept_by_earlier_commands(
    folder: Path, earlier_intervals: Sequence[int], steps_per_epoch: int
) -> frozenset[int]:
    """Return the steps of the checkpoints in a folder that earlier commands have kept.

    `earlier_intervals` has the N of each `--keep-every N` of earlier commands, in epochs.
    """
    saved_steps = [int(path.name) for path in folder.iterdir() if path.name.isdecimal()]
    kept_steps: set[int] = set()
    for epochs in earlier_intervals:
        kept_steps.update(step for step in saved_steps if step % (epochs * steps_per_epoch) == 0)
    return frozenset(kept_steps)


def require_readable_checkpoints(folder: Path) -> None:
    """Raise OSError if this process may not read a checkpoint; orbax would call that damage."""
    if not folder.exists():
        return
    require_readable(folder)
    for path in folder.iterdir():
        is_checkpoint = path.name.isdecimal() and not path.is_symlink()
        if is_checkpoint:
            require_readable(path, *path.rglob("*"))
