"""The checkpoints on the disk: the rule which of them stay, and a check that they are readable."""

from collections.abc import Collection, Sequence
from pathlib import Path
from typing import Any

from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationPolicy

from jaxcifar.machine.files import require_readable

_NEWEST_CHECKPOINTS = 2  # if the newest one is damaged, the run resumes from the other one


class KeepingRule(PreservationPolicy):
    """A rule that tells orbax which checkpoints to keep: the newest two, and chosen steps.

    Attributes:
      kept_steps: further steps whose checkpoints are kept, such as the best epoch's last step.
      keep_every_steps: 1000 also keeps the checkpoints of steps 1000, 2000 and so on; None keeps
        none extra.
    """

    def __init__(self, keep_every_steps: int | None) -> None:
        self.kept_steps: Collection[int] = ()
        self.keep_every_steps = keep_every_steps

    def is_always_kept(self, step: int) -> bool:
        """Return True if the checkpoint of a step is never deleted (`--keep-every`)."""
        return self.keep_every_steps is not None and step % self.keep_every_steps == 0

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], **_: Any
    ) -> Sequence[bool]:
        """Return True for each checkpoint to keep; orbax calls this function after each save."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        newest_steps = sorted(steps)[-_NEWEST_CHECKPOINTS:]
        return [
            step in newest_steps or step in self.kept_steps or self.is_always_kept(step)
            for step in steps
        ]


def require_readable_checkpoints(folder: Path) -> None:
    """Raise OSError if a checkpoint in a folder may not be read; orbax would call it damaged."""
    if not folder.exists():
        return
    require_readable(folder)
    for path in folder.iterdir():
        is_checkpoint = path.name.isdecimal() and not path.is_symlink()
        if is_checkpoint:
            require_readable(path, *path.rglob("*"))
