"""Where a result was made: device, package versions, commit."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path

import jax

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


def use_cpu_cores(batch_size: int) -> None:
    """Let JAX take the CPU for several devices, so that a batch is shared between its cores.

    XLA leaves part of a second core idle within one device: two devices on two cores train the
    CNN 1.4 times as fast as one does. Call it before JAX computes anything; a number of devices
    that the user set (`JAX_NUM_CPU_DEVICES`, `XLA_FLAGS`) stays.

    Args:
      batch_size: the number of devices divides it.
    """
    by_flag = "xla_force_host_platform_device_count" in os.environ.get("XLA_FLAGS", "")
    if by_flag or jax.config.jax_num_cpu_devices > 0:
        return
    most = min(_cpu_cores(), _MAX_CPU_DEVICES)
    count = max(n for n in range(1, most + 1) if batch_size % n == 0)
    jax.config.update("jax_num_cpu_devices", count)


def use_compilation_cache() -> None:
    """Keep compiled programs in the user's cache folder, so that they are compiled once.

    JAX's own settings come first: `JAX_COMPILATION_CACHE_DIR` is another folder,
    `JAX_ENABLE_COMPILATION_CACHE=0` is none. What cannot be read or written there is compiled anew.
    """
    if jax.config.jax_compilation_cache_dir is None:
        home = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
        # Machines that share a home may have processors that don't share instructions.
        processor = re.sub(r"\W+", "-", _cpu_name()) or "unknown"
        folder = Path(home, "jaxcifar", "compiled", processor)
        jax.config.update("jax_compilation_cache_dir", str(folder))
        jax.config.update("jax_persistent_cache_min_compile_time_secs", 0.1)


def describe_device() -> str:
    """What JAX computes on, e.g. "cpu (AMD EPYC, 2 cores)" or "8x NVIDIA H100"."""
    device = jax.devices()[0]
    if device.platform == "cpu":
        return f"cpu ({_cpu_name()}, {_cpu_cores()} cores)"
    return f"{jax.device_count()}x {device.device_kind}"


def _cpu_cores() -> int:
    """Cores that this process may run on."""
    affinity = getattr(os, "sched_getaffinity", None)  # not on every platform
    return len(affinity(0)) if affinity else os.cpu_count() or 1


def _cpu_name() -> str:
    cpuinfo = Path("/proc/cpuinfo")
    lines = cpuinfo.read_text().splitlines() if cpuinfo.exists() else []
    names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.processor() or platform.machine()


def versions() -> dict[str, str | None]:
    """Of Python and the packages whose version can change a result; None for one not installed."""
    return {"python": platform.python_version()} | {p: _version(p) for p in _PACKAGES}


def _version(package: str) -> str | None:
    try:
        return metadata.version(package)
    except metadata.PackageNotFoundError:
        return None  # the data may come from the cache, this code from a checkout


def git_commit() -> str | None:
    """The commit this code is at, with "-dirty" if files differ from it; None outside git."""
    root = Path(__file__).resolve().parent.parent
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
