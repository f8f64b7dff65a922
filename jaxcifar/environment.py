"""Where a result was made: device, package versions, commit."""

import platform
import subprocess
from importlib import metadata
from pathlib import Path

import jax

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


def describe_device() -> str:
    """The devices that JAX computes on, e.g. "1x cpu (AMD EPYC)" or "8x NVIDIA H100"."""
    device = jax.devices()[0]
    kind = f"cpu ({_cpu_name()})" if device.platform == "cpu" else device.device_kind
    return f"{jax.device_count()}x {kind}"


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
