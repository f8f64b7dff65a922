"""Which checkpoints of a run orbax keeps."""

from collections.abc import Collection, Sequence
from typing import Any

from orbax.checkpoint.checkpoint_managers import PreservationContext, PreservationPolicy


class NewestTwoAnd(PreservationPolicy):
    """Keeps the newest two checkpoints and those whose steps are in `others`."""

    others: Collection[int] = ()

    def should_preserve(
        self, checkpoints: Sequence[Any], *, context: PreservationContext
    ) -> Sequence[bool]:
        """Return for each checkpoint whether it is kept."""
        newest = sorted(checkpoint.step for checkpoint in checkpoints)[-2:]
        return [c.step in newest or c.step in self.others for c in checkpoints]
