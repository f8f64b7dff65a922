"""Where a result was made: device, package versions, commit."""

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

_MAX_CPU_DEVICES = 4  # each holds the images once, 180 MB
_PACKAGES = (
    "jaxcifar",
    "jax",
    "jaxlib",
    "flax",
    "optax",
    "orbax-checkpoint",
    "tensorflow-datasets",
    "numpy",
)
_OF_PROGRAMS = ("jax", "jaxlib", "flax", "optax", "orbax-checkpoint")


def use_cpu_cores(batch_size: int, count: int | None = None) -> None:
    """Let JAX take the CPU for several devices, so that a batch is shared between its cores.

    XLA leaves part of a second core idle within one device: two devices on two cores train the
    CNN 1.4 times as fast as one does. Call it before JAX computes anything: later it has no effect.
    A number of devices that the user set (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`) stays.

    Args:
      batch_size: the number of devices divides it.
      count: of devices; by default as many as there are cores, up to a few, but one where several
        processes train together.

    Raises:
      UsageError: `count` does not divide the batch size.
    """
    if count is not None and batch_size % count:
        raise UsageError(f"--devices {count}: must divide --batch-size {batch_size}")
    by_flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if by_flag or value_of_setting("jax_num_cpu_devices") > 0:
        return
    if count is None:
        alone = not jax.distributed.is_initialized()
        most = min(_cpu_cores(), _MAX_CPU_DEVICES) if alone else 1
        count = max(n for n in range(1, most + 1) if batch_size % n == 0)
    with contextlib.suppress(RuntimeError):  # JAX has computed already, and keeps its devices
        jax.config.update("jax_num_cpu_devices", count)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that they are compiled once.

    JAX's own settings come first: `JAX_COMPILATION_CACHE_DIR` is another folder,
    `JAX_ENABLE_COMPILATION_CACHE=0` is none. What cannot be read or written there is compiled anew.
    """
    if value_of_setting("jax_compilation_cache_dir") is None:
        home = expand_home(os.environ.get("XDG_CACHE_HOME") or "~/.cache")
        if str(home).startswith("~"):  # no home is known, as of a container's user without a name
            return
        # Machines that share a home may have processors that don't share instructions.
        processor = re.sub(r"\W+", "-", _cpu_name()) or "unknown"
        folder = home / "jaxcifar" / "compiled" / processor
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def first_devices(count: int | None) -> list[jax.Device]:
    """The first `count` devices of every process; all for None.

    Raises:
      UsageError: there are not so many, or JAX is set to a kind of device that is not here.
      RunError: JAX finds no device at all.
    """
    devices = _devices()
    if count is None:
        return devices
    if not 1 <= count <= jax.local_device_count():
        raise UsageError(f"--devices {count}: there are {jax.local_device_count()}")
    by_process: dict[int, list[jax.Device]] = {}
    for device in devices:
        by_process.setdefault(device.process_index, []).append(device)
    return [device for theirs in by_process.values() for device in theirs[:count]]


def _devices() -> list[jax.Device]:
    try:
        return jax.devices()
    # JAX 0.10 raises an AssertionError without a message.
    except (RuntimeError, AssertionError) as error:
        why = f" ({first_line(error)})" if str(error) else ""
        for name in ("jax_platforms", "jax_platform_name"):
            if value := jax.config.values.get(name):
                raise UsageError(
                    f"{name.upper()}={value}: there is no such device here{why}; unset it, or set "
                    "it to cpu"
                ) from error
        raise RunError(f"JAX finds no device to compute on{why}") from error


def describe_devices(devices: Sequence[jax.Device]) -> str:
    """What JAX computes on, e.g. "cpu (AMD EPYC, 2 cores)" or "8x NVIDIA H100"."""
    hosts = jax.process_count()
    of_hosts = f", {hosts} processes" if hosts > 1 else ""
    if devices[0].platform == "cpu":
        return f"cpu ({_cpu_name()}, {pluralize(_cpu_cores(), 'core')}){of_hosts}"
    return f"{len(devices)}x {devices[0].device_kind}{of_hosts}"


def _cpu_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text("utf-8", "replace").splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def package_versions() -> dict[str, str | None]:
    """Of Python and the packages whose version can change a result; None for one not installed."""
    return {"python": platform.python_version(), **{p: _version(p) for p in _PACKAGES}}


def program_versions() -> dict[str, str | None]:
    """The versions that processes must share to compute the same together."""
    return {package: _version(package) for package in _OF_PROGRAMS}


def code_sha256() -> str:
    """SHA-256 (hex) of this package's source files, wherever they are installed."""
    package = Path(__file__).resolve().parents[1]
    digest = hashlib.sha256()
    for path in sorted(package.rglob("*.py")):
        digest.update(path.relative_to(package).as_posix().encode() + b"\0" + path.read_bytes())
    return digest.hexdigest()


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None  # the data may come from the cache, this code from a checkout


def git_commit() -> str | None:
    """The commit this code is at, with "-dirty" if files differ from it; None outside git."""
    root = Path(__file__).resolve().parents[2]
    if not (root / ".git").exists():
        return None  # installed, or inside someone else's repository
    commit, changes = _git(root, "rev-parse", "HEAD"), _git(root, "status", "--porcelain", "-uno")
    return commit and commit + ("-dirty" if changes else "")


def _git(root: Path, *command: str) -> str | None:
    try:
        done = subprocess.run(
            ["git", "-C", str(root), *command], capture_output=True, text=True, timeout=10
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    return done.stdout.strip() if done.returncode == 0 else None
