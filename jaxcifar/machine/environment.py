"""The environment that computes a result: devices, package versions, source code and its commit."""

import contextlib
import hashlib
import os
import platform
import re
import subprocess
from collections.abc import Sequence
from importlib import metadata
from pathlib import Path

import jax

from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.jax_settings import value_of_setting
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.terminal import pluralize

_MAX_CPU_DEVICES = 4  # each device holds a copy of the images, 180 MB
_RECORDED_PACKAGES = (
    "jaxcifar",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "numpy",
)
_PACKAGES_TO_MATCH = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")


def use_cpu_cores(
    batch_size: int, device_count: int | None = None, parts_per_batch: int = 1
) -> None:
    """Split the CPU into several JAX devices, so that the cores share each batch.

    With one device, XLA leaves part of a second core idle. Two devices on two cores train the CNN
    1.4 times as fast as one device. Call this function before JAX computes anything; later calls
    have no effect. A number of devices set by the user (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`) stays.

    Args:
      batch_size: images in a batch; the number of devices must divide it.
      device_count: number of devices. By default it is the number of cores, at most 4, or 1 if
        several processes train together.
      parts_per_batch: number of parts of a batch, which are computed one after another
        (`--accumulate`). The devices share each part.

    Raises:
      UsageError: `device_count` does not divide the batch size, or the size of a part.
    """
    if device_count is not None and batch_size % (device_count * parts_per_batch) > 0:
        times_parts = f" times --accumulate {parts_per_batch}" if parts_per_batch > 1 else ""
        raise UsageError(
            f"--batch-size {batch_size} is not a multiple of --devices "
            f"{device_count}{times_parts}; change one of them"
        )
    is_set_by_flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if is_set_by_flag or value_of_setting("jax_num_cpu_devices") > 0:
        return
    if device_count is None:
        device_count = _default_cpu_device_count(batch_size // parts_per_batch)
    with contextlib.suppress(RuntimeError):  # JAX has computed already and keeps its devices
        jax.config.update("jax_num_cpu_devices", device_count)


def _default_cpu_device_count(batch_size: int) -> int:
    """Return the largest number of devices, at most one per core, that divides the batch size."""
    if jax.distributed.is_initialized():
        return 1
    max_devices = min(cpu_cores(), _MAX_CPU_DEVICES)
    divisors = [count for count in range(1, max_devices + 1) if batch_size % count == 0]
    return max(divisors)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that each is compiled only once.

    `JAX_COMPILATION_CACHE_DIR` chooses another folder, and `JAX_ENABLE_COMPILATION_CACHE=0` turns
    the cache off. If the cache can't be read or written, programs are compiled without it.
    """
    if value_of_setting("jax_compilation_cache_dir") is None:
        cache_home = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        has_unknown_home = str(cache_home).startswith("~")
        if has_unknown_home:  # as in a container for a user without a name
            return
        # Machines that share a home may have different processors, with other instructions.
        processor = re.sub(r"\W+", "-", _cpu_name()) or "unknown"
        folder = cache_home / "jaxcifar" / "compiled" / processor
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def first_devices(count_per_process: int | None) -> list[jax.Device]:
    """Return the first devices of each process; all devices if `count_per_process` is None.

    Raises:
      UsageError: this machine has too few devices, or none of the kind that JAX is set to use.
      RunError: JAX finds no device at all.
    """
    devices = all_devices()
    if count_per_process is None:
        return devices
    if not 1 <= count_per_process <= jax.local_device_count():
        available = jax.local_device_count()
        raise UsageError(
            f"--devices {count_per_process}: must be from 1 to {available}, the number of devices "
            "here"
        )
    devices_by_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        devices_by_process.setdefault(device.process_index, []).append(device)
    first_devices_of_processes: list[jax.Device] = []
    for devices_of_process in devices_by_process.values():
        first_devices_of_processes += devices_of_process[:count_per_process]
    return first_devices_of_processes


def all_devices() -> list[jax.Device]:
    """Return the devices of all processes.

    Raises:
      UsageError: this machine has no device of the kind that JAX is set to use.
      RunError: JAX finds no device at all.
    """
    try:
        return jax.devices()
    # JAX 0.10 raises an AssertionError without a message.
    except (RuntimeError, AssertionError) as error:
        reason = f" ({first_line(error)})" if str(error) else ""
        for setting in ("jax_platforms", "jax_platform_name"):
            value = jax.config.values.get(setting)
            if value:
                raise UsageError(
                    f"{setting.upper()}={value}: there is no such device here{reason}; unset it, "
                    "or set it to cpu"
                ) from error
        raise RunError(
            f"JAX finds no device to compute on{reason}; install jax and jaxlib again, or set "
            "JAX_PLATFORMS=cpu"
        ) from error


def require_device() -> None:
    """Raise an error, as `all_devices` does, if JAX finds no device."""
    all_devices()


def describe_devices(devices: Sequence[jax.Device]) -> str:
    """Return the devices as text, such as "cpu (AMD EPYC, 2 cores)" or "8x NVIDIA H100"."""
    processes = jax.process_count()
    suffix = f", {processes} processes" if processes > 1 else ""
    if devices[0].platform == "cpu":
        return f"cpu ({_cpu_name()}, {pluralize(cpu_cores(), 'core')}){suffix}"
    return f"{len(devices)}x {devices[0].device_kind}{suffix}"


def cpu_cores() -> int:
    """Return the number of CPU cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):  # not on every platform
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")  # on Linux
    text = cpuinfo.read_text("utf-8", "replace") if cpuinfo.exists() else ""
    for line in text.splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def package_versions() -> dict[str, str | None]:
    """Return the installed versions of Python and of the packages that can change a run's result.

    Returns:
      package name -> version, or None if the package is not installed.
    """
    versions: dict[str, str | None] = {"python": platform.python_version()}
    for package in _RECORDED_PACKAGES:
        versions[package] = _installed_version(package)
    return versions


def versions_to_match() -> dict[str, str | None]:
    """Return the package versions that must be the same in processes that train together.

    Returns:
      package name -> version, or None if the package is not installed.
    """
    return {package: _installed_version(package) for package in _PACKAGES_TO_MATCH}


def code_sha256() -> str:
    """Return the SHA-256 (hex) of this package's source files.

    It depends on their content and their paths inside the package, not on the installation folder.
    """
    package_folder = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for source_file in sorted(package_folder.rglob("*.py")):
        relative_path = source_file.relative_to(package_folder).as_posix()
        digest.update(relative_path.encode() + b"\0" + source_file.read_bytes())
    return digest.hexdigest()


def _installed_version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None  # a cached data set needs no tensorflow-datasets, a checkout no installation


def git_commit() -> str | None:
    """Return the Git commit of this package, with "-dirty" if tracked files have been changed.

    Returns:
      the commit, or None if the code is not in a Git checkout of its own.
    """
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None  # installed, or inside the repository of another project
    commit = _git_output(root, "rev-parse", "HEAD")
    changes = _git_output(root, "status", "--porcelain", "-uno")
    if commit is None:
        return None
    return f"{commit}-dirty" if changes else commit


def _git_output(root: Path, *command: str) -> str | None:
    """Return the output of a Git command run in the folder `root`, or None if it fails."""
    try:
        finished = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return finished.stdout.strip() if finished.returncode == 0 else None
