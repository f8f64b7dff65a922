"""What our networks' arrays are called in PyTorch, and how they lie there; both ways.

ResNet-18 has the names that ResNets for CIFAR usually have, which are those of kuangliu's
pytorch-cifar; the others have those of the modules in `torch_modules`.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
from flax import linen as nn

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.exchange.pytorch_mirrored import is_mirrored, plain, written_out

KNOWN = ("cnn", "resnet18", "fastnet")
COUNTER = "num_batches_tracked"  # a number that PyTorch's BatchNorm keeps and needs for nothing

_LEAVES = {
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": "running_var",
}
_CONV, _DENSE = (3, 2, 0, 1), (1, 0)
_STAGE = 7  # modules of a stage of the CNN: twice convolution, norm and ReLU, and a pool

Pair = tuple[str, str]  # a layer's name here and in PyTorch


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
    pixels: tuple[int, int, int] | None = None

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


def require_known(config: Config) -> None:
    """Refuse a network that nothing is known of in PyTorch's words.

    Raises:
      UsageError: it is somebody's own.
    """
    if config.arch not in KNOWN:
        raise UsageError(
            f"--arch {config.arch}: of {', '.join(KNOWN)} alone it is known what PyTorch and ONNX "
            "call their layers; stablehlo and safetensors take any network"
        )


def places(config: Config, classes: int, arrays: Mapping[str, Any]) -> list[Place]:
    """Where each array of a network lies.

    Args:
      config: names the network, one of ours.
      classes: that it tells apart.
      arrays: the network's own by their names, of which only shapes are looked at.

    Raises:
      UsageError: it is not one of ours.
    """
    require_known(config)
    model = create_model(config, classes)
    names = dict(_LAYERS[config.arch](model))
    return [_place(model, names, ours, array.shape) for ours, array in arrays.items()]


def to_pytorch(
    config: Config, classes: int, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """A network's arrays by name, here -> in PyTorch's names and layouts.

    All that a PyTorch module of these layers has is there: a scale of ones, where ours has none,
    and what mirrored partners share, for both.

    Raises:
      UsageError: it is not one of ours.
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


def _place(model: nn.Module, names: Mapping[str, str], ours: str, shape: tuple[int, ...]) -> Place:
    _, *path, leaf = ours.split("/")
    layer = "/".join(path)
    axes = {4: _CONV, 2: _DENSE}.get(len(shape), (0,))
    pixels = None
    if layer == "Dense_0" and leaf == "kernel" and hasattr(model, "hidden"):
        extent = 32 // 2 ** len(model.widths)
        pixels = (extent, extent, model.widths[-1])
    return Place(ours, f"{names[layer]}.{_LEAVES[leaf]}", shape, axes, pixels)


def _cnn(model: nn.Module) -> Iterator[Pair]:
    for number in range(2 * len(model.widths)):
        first = _STAGE * (number // 2) + 3 * (number % 2)
        yield f"Conv_{number}", f"features.{first}"
        yield f"BatchNorm_{number}", f"features.{first + 1}"
    yield "Dense_0", "classifier.1"
    yield f"BatchNorm_{2 * len(model.widths)}", "classifier.2"
    yield "Dense_1", "classifier.5"


def _resnet18(model: nn.Module) -> Iterator[Pair]:
    yield from (("Conv_0", "conv1"), ("BatchNorm_0", "bn1"))
    blocks = [(stage, block) for stage, n in enumerate(model.blocks, 1) for block in range(n)]
    for number, (stage, block) in enumerate(blocks):
        layers = {**_TWO, "shortcut": "shortcut.0", "shortcut_norm": "shortcut.1"}
        for ours, theirs in layers.items():
            yield f"ResBlock_{number}/{ours}", f"layer{stage}.{block}.{theirs}"
    yield "Dense_0", "linear"


def _fastnet(model: nn.Module) -> Iterator[Pair]:
    yield "Whitening_0", "whitening"
    for number, depth in enumerate(model.group_depths):
        for layer in range(depth):
            for ours, theirs in (("Conv", "conv"), ("BatchNorm", "bn")):
                whole = f"ConvGroup_{number}/{ours}_{layer}"
                yield whole, f"layer{number + 1}.{theirs}{layer + 1}"
    yield "Dense_0", "linear"


_TWO = {"Conv_0": "conv1", "BatchNorm_0": "bn1", "Conv_1": "conv2", "BatchNorm_1": "bn2"}
_LAYERS = {"cnn": _cnn, "resnet18": _resnet18, "fastnet": _fastnet}
