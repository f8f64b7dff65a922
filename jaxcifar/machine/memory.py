"""Memory: how much a compiled program takes, and one line where it is more than there is."""

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from jaxcifar.errors import RunError
from jaxcifar.machine.failures import memory_shortage
from jaxcifar.machine.system import available_memory
from jaxcifar.machine.terminal import gigabytes

# On a CPU, --dtype bfloat16 saves next to nothing.
LESS = "use a smaller --batch-size, or on an accelerator --dtype bfloat16"


@contextmanager
def telling_of_memory(what: str, remedy: str) -> Iterator[None]:
    """Tell in one line that memory was short.

    Args:
      what: is done meanwhile.
      remedy: what to do about it.

    Raises:
      RunError: in place of whatever Python, NumPy or XLA raises then.
    """
    try:
        yield
    except (MemoryError, RuntimeError) as error:
        if (shortage := memory_shortage(error)) is None:
            raise
        raise RunError(f"{what}: out of memory, {shortage}; {remedy}") from error


def bytes_of_program(compiled: Any) -> int | None:
    """Return what a program takes on each device beside its arguments; None if XLA does not tell.

    Args:
      compiled: what JAX's `lower().compile()` returns.
    """
    sizes = compiled.memory_analysis()
    if sizes is None:
        return None
    results = sizes.output_size_in_bytes - sizes.alias_size_in_bytes  # the others replace arguments
    return sizes.temp_size_in_bytes + results + sizes.generated_code_size_in_bytes


def check_memory(
    compiled: Any, devices: Sequence[Any], what: str, say: Callable[[str], None]
) -> None:
    """Compare what a program will take with what its devices have.

    An accelerator has its memory for itself, so that what exceeds it fails for certain. Of a CPU's
    memory it can't be known what other programs give back, and the system may swap: it is told.

    Args:
      compiled: the program, whose arguments are on the devices.
      devices: of this process.
      what: the program is, for the message.
      say: prints a line.

    Raises:
      RunError: the program can't fit.
    """
    more = bytes_of_program(compiled)
    if more is None:
        return
    if devices[0].platform == "cpu":
        more *= len(devices)  # which share the memory
        if more > (there := available_memory()):
            say(
                f"{what} takes {gigabytes(more)} of memory, and {gigabytes(there)} are free: it "
                f"may fail or be slow; {LESS}"
            )
        return
    whole = more + compiled.memory_analysis().argument_size_in_bytes
    limit = (devices[0].memory_stats() or {}).get("bytes_limit")
    if limit and whole > limit:
        raise RunError(
            f"{what} takes {gigabytes(whole)} of memory, and {devices[0].device_kind} has "
            f"{gigabytes(limit)}; {LESS}"
        )
