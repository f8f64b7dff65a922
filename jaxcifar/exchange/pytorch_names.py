"""What our networks' arrays are called in PyTorch, and how they lie there; both ways.

The names are read off the modules in `torch_modules`: the layers that have arrays stand in the
same order there as in our layer table.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.exchange.torch_modules import require_known, torch_network
from jaxcifar.exchange.written_out import is_mirrored, plain, written_out
from jaxcifar.machine.extras import import_extra

COUNTER = "num_batches_tracked"  # a number that PyTorch's BatchNorm keeps and needs for nothing

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_CONV, _DENSE = (3, 2, 0, 1), (1, 0)

Pixels = tuple[int, int, int]  # height, width and channels of an image


@dataclasses.dataclass(frozen=True)
class Place:
    """Where an array lies here and in PyTorch.

    Attributes:
      ours: such as `params/Conv_0/kernel`.
      theirs: such as `conv1.weight`.
      shape: ours.
      axes: of ours, in the order in which PyTorch has them.
      pixels: `(height, width, channels)` of the image that a dense layer takes flattened, in this
        order; PyTorch flattens channels, height, width, which is as long.
    """

    ours: str
    theirs: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    pixels: Pixels | None = None

    @property
    def their_shape(self) -> tuple[int, ...]:
        """In PyTorch."""
        return tuple(self.shape[axis] for axis in self.axes)

    def to_theirs(self, array: np.ndarray) -> np.ndarray:
        """Ours as PyTorch has it."""
        if self.pixels:
            array = array.reshape(*self.pixels, -1).transpose(2, 0, 1, 3).reshape(self.shape)
        return np.array(array.transpose(self.axes), order="C")

    def to_ours(self, array: np.ndarray) -> np.ndarray:
        """The inverse of `to_theirs`."""
        array = array.transpose(np.argsort(self.axes))
        if self.pixels:
            height, width, channels = self.pixels
            array = array.reshape(channels, height, width, -1).transpose(1, 2, 0, 3)
        return np.array(array.reshape(self.shape), order="C")


def places(config: Config, classes: int, arrays: Mapping[str, Any]) -> list[Place]:
    """Where each array of a network lies.

    Args:
      config: names the network, one of ours.
      classes: number of classes.
      arrays: the network's arrays by their names, of which only shapes are looked at.

    Raises:
      UsageError: it has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    layers = _layers(config, classes)
    found = []
    for ours, array in arrays.items():
        _, *path, leaf = ours.split("/")
        layer = layers["/".join(path)]
        axes = {4: _CONV, 2: _DENSE}.get(len(array.shape), (0,))
        pixels = layer.pixels if leaf == "kernel" else None
        theirs = f"{layer.name}.{_LEAVES[leaf]}"
        found.append(Place(ours, theirs, array.shape, axes, pixels))
    return found


@dataclasses.dataclass(frozen=True)
class _TorchLayer:
    """A layer of a PyTorch module.

    Attributes:
      name: such as `layer1.0.conv1`.
      pixels: of the image that it takes flattened, if it does.
    """

    name: str
    pixels: Pixels | None


@cache
def _layers(config: Config, classes: int) -> dict[str, _TorchLayer]:
    """Return the layers that have arrays, by our names such as `ResBlock_0/Conv_1`."""
    require_known(config.arch)
    torch = import_extra("torch")
    model = create_model(config, classes)
    ours = [layer for layer in summarize(model).layers if layer.params]
    with torch.device("meta"):  # without memory for weights, as only names are asked for
        network = torch_network(config.arch, model)
    theirs = [name for name, module in network.named_modules() if name and module._parameters]
    layers, channels = {}, 3
    for layer, name in zip(ours, theirs, strict=True):
        pixels = None
        if layer.kind == "Linear" and layer.input_shape[-1] > channels:
            side = math.isqrt(layer.input_shape[-1] // channels)
            pixels = (side, side, channels)
        layers["/".join(layer.path)] = _TorchLayer(name, pixels)
        channels = layer.output_shape[-1]
    return layers


def to_pytorch(
    config: Config, classes: int, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A network's arrays by name, here -> in PyTorch's names and layouts.

    All that a PyTorch module of these layers has is there: a scale of ones, where ours has none,
    and what mirrored partners share, for both.

    Raises:
      UsageError: it has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    if is_mirrored(config):
        config, arrays = plain(config), written_out(arrays)
    where = places(config, classes, arrays)
    state = {place.theirs: place.to_theirs(np.asarray(arrays[place.ours])) for place in where}
    for place in where:
        if place.theirs.endswith("running_var"):
            norm = place.theirs.removesuffix("running_var")
            state[norm + COUNTER] = np.zeros((), np.int64)
            state.setdefault(f"{norm}weight", np.ones(place.shape, np.float32))
    return state


def scales_of_one(where: Sequence[Place]) -> set[str]:
    """What PyTorch calls the scales that its normalisations have and ours are without."""
    names = {place.theirs for place in where}
    norms = (name.removesuffix("running_var") for name in names if name.endswith("running_var"))
    return {f"{norm}weight" for norm in norms} - names
