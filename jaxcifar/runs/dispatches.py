"""How the steps of an epoch are handed to the devices, and how their time is counted."""

import time
from collections.abc import Iterable

from jaxcifar.runs.run import Run
from jaxcifar.training.program import Program

_CPU_IMAGES = 512  # trained at a time on a CPU: a second or two, seven with ResNet-18


def dispatches(steps: int, program: Program) -> list[int]:
    """Return the number of steps of each dispatch; they add up to `steps`.

    On an accelerator one dispatch is a whole epoch. On a CPU dispatches are short, so that progress
    is shown every few seconds. A program without loops trains one step a dispatch.
    """
    on_cpu = program.mesh.devices.flat[0].platform == "cpu"
    most = max(1, _CPU_IMAGES // program.batch_size) if on_cpu else steps
    most = most if program.looped else 1
    return [min(most, steps - first) for first in range(0, steps, most)]


def count_seconds(runs: Iterable[Run], since: float) -> float:
    """Add the seconds since a moment to the current epoch of each run; return the moment now."""
    now = time.monotonic()
    for run in runs:
        run.epoch_seconds += now - since
    return now
