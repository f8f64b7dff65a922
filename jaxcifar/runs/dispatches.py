"""Choose how many training steps are sent to the devices at a time (a dispatch)."""

from jaxcifar.training.program import Program

_IMAGES_PER_CPU_DISPATCH = 512  # they take one or two seconds, seven for ResNet-18


def split_into_dispatches(steps: int, program: Program) -> list[int]:
    """Split `steps` training steps into dispatches; return the number of steps in each.

    A dispatch is one call to the devices. On an accelerator one dispatch trains all steps. On a CPU
    dispatches are short, so that progress is shown every few seconds. A program without compiled
    loops trains one step per dispatch. A program that gets its images from the host trains at most
    `program.steps_per_feed` steps per dispatch.
    """
    is_on_cpu = program.mesh.devices.flat[0].platform == "cpu"
    if not program.compiles_loops:
        max_steps = 1
    elif is_on_cpu:
        max_steps = max(1, _IMAGES_PER_CPU_DISPATCH // program.batch_size)
    else:
        max_steps = max(1, steps)
    if program.steps_per_feed is not None:
        max_steps = min(max_steps, program.steps_per_feed)
    return [min(max_steps, steps - start) for start in range(0, steps, max_steps)]
