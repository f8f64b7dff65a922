"""Decide whether a program's compiled functions contain loops over steps or chunks of images."""

from functools import cache
from typing import Protocol

from flax import linen as nn
from jax.sharding import Mesh

from jaxcifar.training import network


class NetworkOnDevices(Protocol):
    """The fields of a training `Program` on which `compiles_loops` depends."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def mesh(self) -> Mesh: ...

    @property
    def image_size(self) -> int: ...


@cache
def compiles_loops(program: NetworkOnDevices) -> bool:
    """Return True if a program's compiled functions should loop over steps on the device.

    The result is False for a network with convolutions on a CPU. There, XLA's convolutions are 10
    to 100 times slower inside a loop than outside, before jaxlib 0.12.
    """
    platform = program.mesh.devices.flat[0].platform
    if platform != "cpu":
        return True
    return not network.has_convolution(program.model, platform, program.image_size)
