"""Choose how many training steps are sent to the devices at a time (a dispatch)."""

from jaxcifar.training.program import Program

_CPU_IMAGES = 512  # images per dispatch on a CPU: one or two seconds, seven for ResNet-18


def dispatch_sizes(steps: int, program: Program) -> list[int]:
    """Split `steps` training steps into dispatches; return the number of steps in each.

    A dispatch is one call to the devices. On an accelerator one dispatch trains all steps. On a CPU
    dispatches are short, so that progress is shown every few seconds. A program without compiled
    loops trains one step per dispatch. A program that gets its images from the host trains at most
    `program.fed_steps` steps per dispatch.
    """
    on_cpu = program.mesh.devices.flat[0].platform == "cpu"
    if not program.compiles_loops:
        largest_size = 1
    elif on_cpu:
        largest_size = max(1, _CPU_IMAGES // program.batch_size)
    else:
        largest_size = max(1, steps)
    if program.fed_steps is not None:
        largest_size = min(largest_size, program.fed_steps)
    return [min(largest_size, steps - start) for start in range(0, steps, largest_size)]
