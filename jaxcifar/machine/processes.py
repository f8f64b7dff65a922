"""Several processes that train one run together; only process 0 writes files.

Each process has its own devices, on this machine or on others. JAX makes one mesh of all devices.
All processes must take the same decisions. So a decision that depends on one process's clock or
disk is exchanged first.
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
from jaxcifar.machine.member import Member, describe_different_settings
from jaxcifar.machine.terminal import PrintLine, pluralize

_HEARTBEAT_SECONDS = 20  # a process that is silent for longer counts as lost
_FIRST_PROCESS_DONE = "after the first"  # name of a moment at which all processes wait


def join_processes(
    coordinator: str | None,
    processes: int | None,
    process_id: int | None,
    print_line: PrintLine = print,
) -> None:
    """Connect this process with the others of its run; call it before JAX computes anything.

    Args:
      coordinator: "HOST:PORT" of process 0. None means the address that the cluster gives, if JAX
        knows this kind of cluster (Slurm, Open MPI, a TPU pod, Kubernetes).
      processes: number of processes; 1 to train without others. None means the number that the
        cluster gives.
      process_id: number of this process, from 0. None means the number that the cluster gives.
      print_line: prints a line that names the missing processes.

    Raises:
      UsageError: the three arguments contradict each other, or another process was started with
        different values.
      RunError: the other processes can't be reached.
    """
    if processes == 1:
        return
    has_process_options = processes is not None or process_id is not None
    if coordinator is None and has_process_options:
        raise UsageError(
            "--processes and --process-id: the address of process 0 is missing; add --coordinator "
            "HOST:PORT"
        )
    if coordinator is not None:
        if processes is None or process_id is None:
            raise UsageError(
                "--coordinator: the number of processes or of this process is missing; add "
                "--processes and --process-id"
            )
        if not 0 <= process_id < processes:
            raise UsageError(f"--process-id {process_id}: must be in 0 to {processes - 1}")
        split_address(coordinator)
        meet(coordinator, Member(process_id, processes, _jax_settings()), print_line)
    service_that_catches_sigterm = "jax_enable_preemption_service"
    if hasattr(jax.config, service_that_catches_sigterm):  # else an older JAX
        jax.config.update(service_that_catches_sigterm, False)
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
        found_no_cluster = coordinator is None and isinstance(error, ValueError)
        if found_no_cluster:
            return
        raise RunError(
            f"the other processes can't be reached ({first_line(error)}); --processes 1 trains "
            "without them"
        ) from error


def _jax_settings() -> dict[str, str]:
    """Return the versions and settings that must be equal in all processes of a run."""
    return {
        "jax": jax.__version__,
        "jaxlib": jaxlib.__version__,
        "JAX_PLATFORMS": value_of_setting("jax_platforms") or "not set",
    }


def is_first_process() -> bool:
    """Return whether this is the run's process 0, which writes files and prints."""
    return jax.process_index() == 0


def is_only_process() -> bool:
    """Return whether this process is the only process of its run."""
    return jax.process_count() == 1


def any_process(*conditions: bool) -> list[bool]:
    """Return for each condition whether at least one process of the run has passed True.

    All processes must call this function, with the same number of conditions.
    """
    if is_only_process():
        return list(conditions)
    conditions_of_all = multihost_utils.process_allgather(np.asarray(conditions))
    return conditions_of_all.any(axis=0).tolist()


def wait_for_all(barrier_name: str) -> None:
    """Wait until all processes of the run have called this function with the same name."""
    if not is_only_process():
        multihost_utils.sync_global_devices(barrier_name)


def gather_texts(text: str) -> list[str]:
    """Return the texts that all processes of the run pass, in the order of process numbers."""
    if is_only_process():
        return [text]
    text_bytes = np.frombuffer(text.encode(), np.uint8)
    byte_counts = multihost_utils.process_allgather(np.int32(len(text_bytes)))
    padded_bytes = np.zeros(byte_counts.max(), np.uint8)
    padded_bytes[: len(text_bytes)] = text_bytes
    padded_bytes_of_all = multihost_utils.process_allgather(padded_bytes)
    texts = []
    for padded_text_bytes, byte_count in zip(padded_bytes_of_all, byte_counts, strict=True):
        texts.append(padded_text_bytes[:byte_count].tobytes().decode())
    return texts


def require_same_settings(settings: Mapping[str, object]) -> None:
    """Check that all processes of the run have the same settings.

    Args:
      settings: name -> value in this process; values are compared as text.

    Raises:
      UsageError: the settings differ. All processes raise the same message.
    """
    settings_as_text = {name: str(value) for name, value in settings.items()}
    settings_of_all = [json.loads(text) for text in gather_texts(json.dumps(settings_as_text))]
    for number, other_settings in enumerate(settings_of_all):
        message = describe_different_settings(settings_of_all[0], other_settings, number)
        if message is not None:
            raise UsageError(message)


def require_equal_devices() -> None:
    """Check that all processes of the run have the same number of devices.

    Raises:
      UsageError: the numbers of devices differ.
    """
    device_counts = Counter(device.process_index for device in jax.devices())
    for number, device_count in sorted(device_counts.items()):
        if device_count != device_counts[0]:
            raise UsageError(
                f"process 0 has {pluralize(device_counts[0], 'device')} and process {number} has "
                f"{device_count}: all must have the same number; set it with CUDA_VISIBLE_DEVICES, "
                "JAX_NUM_CPU_DEVICES or --devices"
            )


@contextlib.contextmanager
def first_process_first() -> Iterator[None]:
    """Run the `with` block in process 0 of the run first, and then in the other processes."""
    if not is_first_process():
        wait_for_all(_FIRST_PROCESS_DONE)
    yield
    if is_first_process():
        wait_for_all(_FIRST_PROCESS_DONE)
