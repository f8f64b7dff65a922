"""Memory: how much a compiled program takes, and one-line messages if that is too much."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxcifar.errors import OutOfMemoryError
from jaxcifar.machine.failures import memory_shortage
from jaxcifar.machine.system import available_memory
from jaxcifar.machine.terminal import format_bytes

# On a CPU, --dtype bfloat16 saves next to nothing.
LESS_MEMORY_ADVICE = "use a smaller --batch-size, or on an accelerator --dtype bfloat16"


@contextmanager
def report_memory_shortage(what: str, remedy: str) -> Iterator[None]:
    """Report a memory shortage in one line.

    Args:
      what: the activity, for the message.
      remedy: what the user can do, for the message.

    Raises:
      OutOfMemoryError: instead of the error that Python, NumPy or XLA raised.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (shortage := memory_shortage(error)) is None:
            raise
        raise OutOfMemoryError(f"{what}: out of memory, {shortage}; {remedy}") from error


def program_bytes(compiled: Any) -> int | None:
    """Return the bytes that a program takes on each device, without those of its arguments.

    Args:
      compiled: what JAX's `lower().compile()` returns.

    Returns:
      None if XLA does not report it.
    """
    sizes = compiled.memory_analysis()
    if sizes is None:
        return None
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes  # the others replace arguments
    return sizes.temp_size_in_bytes + results + sizes.generated_code_size_in_bytes


def check_memory(
    compiled: Any, devices: Sequence[Any], what: str, say: Callable[[str], None]
) -> None:
    """Compare the memory that a program needs with the memory of its devices.

    On an accelerator a program that is too large is certain to fail. On a CPU this is only a
    warning: other programs may free memory, and the system may swap.

    Args:
      compiled: the program; its arguments are on the devices already.
      devices: the devices of this process.
      what: a name of the program, for the message.
      say: prints a line.

    Raises:
      OutOfMemoryError: the program can't fit.
    """
    more = program_bytes(compiled)
    if more is None:
        return
    if devices[0].platform == "cpu":
        more *= len(devices)  # which share the memory
        if more > (there := available_memory()):
            say(
                f"{what} takes {format_bytes(more)} of memory, and {format_bytes(there)} are "
                f"free: it may fail or be slow; {LESS_MEMORY_ADVICE}"
            )
        return
    whole = more + compiled.memory_analysis().argument_size_in_bytes
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit and whole > limit:
        raise OutOfMemoryError(
            f"{what} takes {format_bytes(whole)} of memory, and {devices[0].device_kind} has "
            f"{format_bytes(limit)}; {LESS_MEMORY_ADVICE}"
        )
