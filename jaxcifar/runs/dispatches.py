"""The sizes of dispatches: how many steps are handed to the devices at a time."""

from jaxcifar.training.program import Program

_CPU_IMAGES = 512  # images of a dispatch on a CPU; they take one or two seconds, ResNet-18 seven


def dispatch_sizes(steps: int, program: Program) -> list[int]:
    """Return the number of steps of each dispatch; they add up to `steps`.

    On an accelerator one dispatch is a whole epoch. On a CPU dispatches are short, so that progress
    is shown every few seconds. A program without loops trains one step a dispatch.
    """
    on_cpu = program.mesh.devices.flat[0].platform == "cpu"
    if not program.has_loops:
        largest = 1
    elif on_cpu:
        largest = max(1, _CPU_IMAGES // program.batch_size)
    else:
        largest = max(1, steps)
    return [min(largest, steps - first) for first in range(0, steps, largest)]
