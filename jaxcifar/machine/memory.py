"""The memory that compiled programs need, and one-line errors when memory is short."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxcifar.errors import OutOfMemoryError
from jaxcifar.machine.failures import describe_memory_shortage
from jaxcifar.machine.system import available_memory
from jaxcifar.machine.terminal import format_bytes

# On a CPU, --dtype bfloat16 saves almost no memory.
LESS_MEMORY_ADVICE = (
    "use --accumulate, a smaller --batch-size, or on an accelerator --dtype bfloat16"
)


@contextmanager
def report_memory_shortage(activity: str, remedy: str) -> Iterator[None]:
    """Turn an error about missing memory in the `with` block into a one-line error.

    Args:
      activity: what the block does, such as "predicting 40 images"; begins the message.
      remedy: advice for the user, such as "use a smaller --batch-size"; ends the message.

    Raises:
      OutOfMemoryError: instead of the error that Python, NumPy or XLA raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        shortage = describe_memory_shortage(error)
        if shortage is None:
            raise
        raise OutOfMemoryError(f"{activity}: out of memory, {shortage}; {remedy}") from error


def program_bytes(compiled: Any) -> int | None:
    """Return the bytes that a compiled program needs on each device, besides its arguments.

    Args:
      compiled: the program, from JAX's `lower().compile()`.

    Returns:
      the bytes, or None if XLA does not report them.
    """
    memory_sizes = compiled.memory_analysis()
    if memory_sizes is None:
        return None
    # Aliased results take the memory of arguments.
    new_result_bytes = memory_sizes.output_size_in_bytes - memory_sizes.alias_size_in_bytes
    return (
        memory_sizes.temp_size_in_bytes
        + new_result_bytes
        + memory_sizes.generated_code_size_in_bytes
    )


def check_memory(
    compiled: Any, devices: Sequence[Any], program_name: str, print_line: Callable[[str], None]
) -> None:
    """Compare the memory that a program needs with the memory of its devices.

    On an accelerator a program that is too large is certain to fail, so this is an error. On a CPU
    it is only a warning, because other programs may free memory and the system may swap.

    Args:
      compiled: the compiled program; its arguments must be on the devices already.
      devices: the devices of this process.
      program_name: the program's name; begins the message.
      print_line: prints the warning.

    Raises:
      OutOfMemoryError: the program does not fit into an accelerator's memory.
    """
    needed_bytes = program_bytes(compiled)
    if needed_bytes is None:
        return
    devices_share_memory = devices[0].platform == "cpu"
    if devices_share_memory:
        needed_bytes *= len(devices)
        available_bytes = available_memory()
        if needed_bytes > available_bytes:
            print_line(
                f"{program_name} takes {format_bytes(needed_bytes)} of memory, and "
                f"{format_bytes(available_bytes)} are free: it may fail or be slow; "
                f"{LESS_MEMORY_ADVICE}"
            )
        return
    total_bytes = needed_bytes + compiled.memory_analysis().argument_size_in_bytes
    memory_stats = devices[0].memory_stats() or {}
    memory_limit = memory_stats.get("bytes_limit")
    if memory_limit and total_bytes > memory_limit:
        raise OutOfMemoryError(
            f"{program_name} takes {format_bytes(total_bytes)} of memory, and "
            f"{devices[0].device_kind} has {format_bytes(memory_limit)}; {LESS_MEMORY_ADVICE}"
        )
