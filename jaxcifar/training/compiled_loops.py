"""Decide whether a program's compiled functions contain loops over steps or chunks of images."""

from functools import cache
from typing import Protocol

from flax import linen as nn
from jax.sharding import Mesh

from jaxcifar.training import network


class NetworkOnDevices(Protocol):
    """The parts of a `Program` that the decision depends on."""

    @property
    def model(self) -> nn.Module: ...

    @property
    def mesh(self) -> Mesh: ...

    @property
    def image_size(self) -> int: ...


@cache
def compiles_loops(program: NetworkOnDevices) -> bool:
    """Return True unless the program runs on a CPU and its network contains a convolution.

    On a CPU, XLA's convolutions are ten times slower inside a loop.
    """
    platform = program.mesh.devices.flat[0].platform
    if platform != "cpu":
        return True
    return not network.has_convolution(program.model, platform, program.image_size)
