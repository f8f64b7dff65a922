"""Several processes that train one run together: all do the same, and the first one writes.

Each has devices of its own, on this machine or on others, and JAX makes one mesh of them all. What
the processes do must not depend on what only one of them knows, such as its clock or its disk: they
agree.
"""

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping

import jax
import jaxlib
import numpy as np
from jax.experimental import multihost_utils

from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.jax_settings import value_of_setting
from jaxcifar.machine.lost import hold_back_cpp_messages
from jaxcifar.machine.meeting import WAIT_SECONDS, meet, split_address
from jaxcifar.machine.member import Member, differences
from jaxcifar.machine.terminal import PrintLine, pluralize

_HEARTBEAT_SECONDS = 20  # a process that is silent for longer is given up, and all others with it


def join_processes(
    coordinator: str | None, processes: int | None, process_id: int | None, say: PrintLine = print
) -> None:
    """Find the other processes; to be called before JAX computes anything.

    Args:
      coordinator: "HOST:PORT" of process 0; None to ask the cluster that this runs on, if it is one
        that JAX knows (Slurm, Open MPI, a TPU pod, Kubernetes).
      processes: how many there are; 1 is this one alone.
      process_id: this one's number.
      say: prints which processes are missing.

    Raises:
      UsageError: the three don't make sense together, or another process was started with
        different values.
      RunError: the others can't be reached.
    """
    if processes == 1:
        return
    if coordinator is None and (processes, process_id) != (None, None):
        raise UsageError("--processes and --process-id: need --coordinator HOST:PORT too")
    if coordinator is not None:
        if processes is None or process_id is None:
            raise UsageError("--coordinator: needs --processes and --process-id too")
        if not 0 <= process_id < processes:
            raise UsageError(f"--process-id {process_id}: must be in 0 to {processes - 1}")
        split_address(coordinator)
        meet(coordinator, Member(process_id, processes, _settings_of_jax()), say)
    if hasattr(jax.config, "jax_enable_preemption_service"):
        # It would take SIGTERM for itself, and the process would not end.
        jax.config.update("jax_enable_preemption_service", False)
    show_cpp_messages = hold_back_cpp_messages()
    try:
        jax.distributed.initialize(
            coordinator,
            processes,
            process_id,
            initialization_timeout=int(WAIT_SECONDS),
            heartbeat_timeout_seconds=_HEARTBEAT_SECONDS,
        )
    except Exception as error:
        show_cpp_messages()
        if coordinator is None and isinstance(error, ValueError):
            return  # no cluster that JAX knows
        raise RunError(
            f"the other processes can't be reached ({first_line(error)}); --processes 1 trains "
            "without them"
        ) from error


def _settings_of_jax() -> dict[str, str]:
    """Return what must be the same in all processes for JAX to connect them."""
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "JAX_PLATFORMS": value_of_setting("jax_platforms") or "not set",
    }


def is_first_process() -> bool:
    """Whether this is the process that writes and prints."""
    return jax.process_index() == 0


def is_only_process() -> bool:
    """Whether there are no other processes."""
    return jax.process_count() == 1


def any_process(*wishes: bool) -> list[bool]:
    """Which of some wishes any process has."""
    if is_only_process():
        return list(wishes)
    return multihost_utils.process_allgather(np.asarray(wishes)).any(0).tolist()


def wait_for_all(name: str) -> None:
    """Wait until all processes are here."""
    if not is_only_process():
        multihost_utils.sync_global_devices(name)


def gather_texts(text: str) -> list[str]:
    """Return what each process says, in the order of their numbers."""
    if is_only_process():
        return [text]
    content = np.frombuffer(text.encode(), np.uint8)
    sizes = multihost_utils.process_allgather(np.int32(len(content)))
    padded = np.zeros(sizes.max(), np.uint8)
    padded[: len(content)] = content
    rows = multihost_utils.process_allgather(padded)
    return [row[:size].tobytes().decode() for row, size in zip(rows, sizes, strict=True)]


def require_same_settings(settings: Mapping[str, object]) -> None:
    """Refuse to begin unless all processes have the same settings.

    Args:
      settings: name -> value; what is compared is the value as text.

    Raises:
      UsageError: they differ; in all processes, with the same message.
    """
    mine = {name: str(value) for name, value in settings.items()}
    said = [json.loads(text) for text in gather_texts(json.dumps(mine))]
    for number, others in enumerate(said):
        if message := differences(said[0], others, number):
            raise UsageError(message)


def require_equal_devices() -> None:
    """Refuse to begin unless all processes have as many devices.

    Raises:
      UsageError: they have not.
    """
    counts = Counter(device.process_index for device in jax.devices())
    for number, count in sorted(counts.items()):
        if count != counts[0]:
            raise UsageError(
                f"process 0 has {pluralize(counts[0], 'device')} and process {number} has {count}: "
                "all must have as many; see CUDA_VISIBLE_DEVICES, JAX_NUM_CPU_DEVICES or --devices"
            )


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Let the first process do something before the others do it too."""
    if not is_first_process():
        wait_for_all("after the first")
    yield
    if is_first_process():
        wait_for_all("after the first")
