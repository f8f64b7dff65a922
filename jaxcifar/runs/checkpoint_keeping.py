"""The rule that says which checkpoints of a run stay on the disk."""

from collections.abc import Collection, Sequence
from typing import Any

from orbax.checkpoint.checkpoint_managers import PolicyCheckpointInfo, PreservationPolicy


class KeepingRule(PreservationPolicy):
    """A rule for orbax: keep the newest two checkpoints, and those that the run still needs.

    Attributes:
      kept_steps: steps whose checkpoints are kept, such as that of the best epoch.
      keep_every: of a multiple of this number of steps, the checkpoint is kept too; None for none.
    """

    def __init__(self, keep_every: int | None) -> None:
        self.kept_steps: Collection[int] = ()
        self.keep_every = keep_every

    def keeps_always(self, step: int) -> bool:
        """Return True if the checkpoint of a step is never deleted (`--keep-every`)."""
        return self.keep_every is not None and step % self.keep_every == 0

    def should_preserve(
        self, checkpoints: Sequence[PolicyCheckpointInfo], **_: Any
    ) -> Sequence[bool]:
        """Return for each checkpoint whether it is kept; orbax calls this after each save."""
        steps = [checkpoint.step for checkpoint in checkpoints]
        newest_steps = sorted(steps)[-2:]
        return [
            step in newest_steps or step in self.kept_steps or self.keeps_always(step)
            for step in steps
        ]
