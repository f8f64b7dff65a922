"""Compile for devices that this machine does not have: TPU chips and NVIDIA H100 cards.

Google's compiler for TPUs is in the package libtpu, and NVIDIA's is in JAX's plugin for CUDA. Both
compile from a description of the devices.
"""

import dataclasses
import math
import os
import re
from importlib import metadata
from importlib.util import find_spec
from typing import Any

from jaxcifar.bench.cuda_plugin import find_cuda_package, start_cuda_plugin
from jaxcifar.bench.device_traffic import MACHINES, Machine
from jaxcifar.errors import RunError, UsageError, first_line

EXAMPLES = ("v5e", "v5e:2x4", "v5p:2x2x1", "h100", "h100:8")
_SMALLEST_SLICE_SHAPE = {"v5e": "2x2", "v5p": "2x2x1"}  # a target of one chip uses one chip of it
_NETWORK_DIMENSIONS = {"v5e": 2, "v5p": 3}
_MAX_H100_CARDS = 8
_SHAPE_RULES = {
    "v5e": "two numbers of chips, as in v5e:2x4",
    "v5p": "three numbers of chips, as in v5p:2x2x1",
    "h100": f"a number from 1 to {_MAX_H100_CARDS}, as in h100:8",
}
_MACHINE_NAMES = {"v5e": "TPU v5e", "v5p": "TPU v5p", "h100": "H100, 8 a node"}
# Without these, libtpu waits for a server that describes a TPU machine.
_SETTINGS_WITHOUT_TPU_MACHINE = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "TPU_ACCELERATOR_TYPE": "v5litepod-4",
}
_SHAPE_PATTERN = re.compile(r"\d{1,4}(x\d{1,4})*")  # such as 2x4

# An H100 SXM as XLA's compiler wants it described (the fields are those of XLA's message
# `GpuTargetConfigProto`), by NVIDIA's data sheet and what CUDA reports of such a card.
_H100_DESCRIPTION = """
platform_name: "CUDA"
device_description_str: "NVIDIA H100 80GB HBM3"
gpu_device_info {
  cuda_compute_capability { major: 9 minor: 0 }
  core_count: 132
  fpus_per_core: 128
  clock_rate_ghz: 1.98
  memory_bandwidth: 3352320000000
  device_memory_size: 84942979072
  l2_cache_size: 52428800
  threads_per_warp: 32
  threads_per_block_limit: 1024
  threads_per_core_limit: 2048
  block_dim_limit_x: 2147483647
  block_dim_limit_y: 65535
  block_dim_limit_z: 65535
  registers_per_core_limit: 65536
  registers_per_block_limit: 65536
  shared_memory_per_core: 233472
  shared_memory_per_block: 49152
  shared_memory_per_block_optin: 232448
}
runtime_version { major: 12 minor: 9 patch: 0 }
dnn_version_info { major: 9 minor: 10 patch: 0 }
"""


@dataclasses.dataclass(frozen=True)
class ChipLimits:
    """A chip's bytes of main memory, and the bytes per second that it reads and writes there."""

    memory: float
    bandwidth: float


# NVIDIA's data sheet of the H100 SXM; Google Cloud's pages of TPU v5e and v5p.
_LIMITS_OF_KIND = {
    "v5e": ChipLimits(memory=16e9, bandwidth=819e9),
    "v5p": ChipLimits(memory=95e9, bandwidth=2765e9),
    "h100": ChipLimits(memory=80e9, bandwidth=3350e9),
}


@dataclasses.dataclass(frozen=True)
class Target:
    """Devices to compile for.

    Attributes:
      name: what the user wrote, such as "v5e:2x4".
      kind: "v5e", "v5p" or "h100".
      shape: number of devices along each dimension of the network that links them.
    """

    name: str
    kind: str
    shape: tuple[int, ...]

    @classmethod
    def parse(cls, name: str) -> "Target":
        """Return the kind and the shape of the devices in a name such as "v5e:2x4".

        A name without a shape means one device.

        Raises:
          UsageError: the kind is unknown, or it has no devices in this shape.
        """
        kind, _, shape_text = name.partition(":")
        if kind not in _LIMITS_OF_KIND:
            raise UsageError(
                f"--target {name}: unknown device; choose one of {', '.join(EXAMPLES)}, "
                "or another number of these devices"
            )
        if name == kind:
            return cls(name, kind, shape=(1,))
        shape: tuple[int, ...] = ()
        if _SHAPE_PATTERN.fullmatch(shape_text):
            shape = tuple(int(axis_size) for axis_size in shape_text.split("x"))
        if not _is_allowed_shape(kind, shape):
            raise UsageError(
                f"--target {name}: {kind} devices can't be linked in this way; "
                f"write {_SHAPE_RULES[kind]}"
            )
        return cls(name, kind, shape)

    @property
    def device_count(self) -> int:
        """Number of devices."""
        return math.prod(self.shape)

    @property
    def chip(self) -> ChipLimits:
        """The limits of each device."""
        return _LIMITS_OF_KIND[self.kind]

    @property
    def machine(self) -> Machine:
        """A description of the devices' kind: published speeds of arithmetic and of links."""
        machine_of_name = {machine.name: machine for machine in MACHINES}
        return machine_of_name[_MACHINE_NAMES[self.kind]]

    @property
    def title(self) -> str:
        """Number and kind of the devices, such as "8x TPU v5e"."""
        return f"{self.device_count}x {_MACHINE_NAMES[self.kind].partition(',')[0]}"


def _is_allowed_shape(kind: str, shape: tuple[int, ...]) -> bool:
    """Return whether devices can be linked in a shape, such as (2, 4) for "v5e" (8 chips)."""
    if not shape or min(shape) == 0:
        return False
    if kind == "h100":
        return len(shape) == 1 and shape[0] <= _MAX_H100_CARDS
    return math.prod(shape) == 1 or len(shape) == _NETWORK_DIMENSIONS[kind]


def compiler_version(target: Target) -> str:
    """Return the name and version of the package with a target's compiler, such as "libtpu 0.0.17".

    Raises:
      UsageError: the package is not installed; the message says how to install it.
    """
    if target.kind == "h100":
        extra, package = "cuda12", find_cuda_package()
    else:
        extra = "tpu"
        package = "libtpu" if find_spec("libtpu") else None
    if package is None:
        raise UsageError(
            f"--target {target.name}: its compiler is not installed; install it (Linux) with: "
            f'pip install "jax[{extra}]=={metadata.version("jax")}"'
        )
    try:
        return f"{package} {metadata.version(package)}"
    except metadata.PackageNotFoundError:
        return package


def devices_of(target: Target) -> list[Any]:
    """Return JAX's descriptions of a target's devices; programs can be compiled for them, not run.

    Call `compiler_version` first, and choose JAX's CPU (`JAX_PLATFORMS=cpu`) before importing JAX.

    Raises:
      RunError: the compiler does not know the target, or can't be loaded.
    """
    try:
        devices = _h100_cards(target) if target.kind == "h100" else _tpu_chips(target)
    except Exception as error:  # of a library that is loaded for a machine that is not here
        message = f"--target {target.name}: {first_line(error)}; choose another target"
        raise RunError(message) from error
    return devices[: target.device_count]


def _tpu_chips(target: Target) -> list[Any]:
    """Return JAX's descriptions of the chips in the TPU slice (linked chips) of a target.

    No slice has a single chip. If the target is one chip, the smallest slice is described.
    """
    for name, value in _SETTINGS_WITHOUT_TPU_MACHINE.items():
        os.environ.setdefault(name, value)
    from jax.experimental import topologies

    if target.device_count == 1:
        slice_shape = _SMALLEST_SLICE_SHAPE[target.kind]
    else:
        slice_shape = "x".join(map(str, target.shape))
    slice_name = f"{target.kind}:{slice_shape}"
    return list(topologies.get_topology_desc(slice_name, platform="tpu").devices)


def _h100_cards(target: Target) -> list[Any]:
    """Return JAX's descriptions of H100 cards in one machine."""
    from jax.experimental import topologies

    start_cuda_plugin()
    description = {"target_config": _H100_DESCRIPTION, "topology": f"1x1x{target.device_count}"}
    return list(topologies.get_topology_desc("", platform="cuda", **description).devices)
