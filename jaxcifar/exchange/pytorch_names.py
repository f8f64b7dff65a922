"""Convert the names and layouts of networks' arrays between jaxcifar and PyTorch.

PyTorch's names are read from the modules in `torch_modules`.
"""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from functools import cache
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import Layer, summarize
from jaxcifar.exchange.mirrored_weights import (
    config_without_mirroring,
    is_mirrored,
    without_mirroring,
)
from jaxcifar.exchange.torch_modules import require_pytorch_module, torch_network
from jaxcifar.machine.extras import import_extra

BATCH_COUNTER = "num_batches_tracked"  # PyTorch's BatchNorm stores this number; we set it to 0

_VARIANCE = "running_var"  # in PyTorch, only BatchNorm has this array
_PYTORCH_ARRAY_NAMES = {  # last part of jaxcifar's name -> last part of PyTorch's name
    "kernel": "weight",
    "scale": "weight",
    "bias": "bias",
    "mean": "running_mean",
    "var": _VARIANCE,
}
# Number of axes -> jaxcifar's axes in PyTorch's order: of a vector, dense and convolution kernel.
_AXES_IN_PYTORCH_ORDER = {1: (0,), 2: (1, 0), 4: (3, 2, 0, 1)}

MapShape = tuple[int, int, int]  # height, width and channels of a feature map


@dataclasses.dataclass(frozen=True)
class ArrayMapping:
    """The names and layouts of one array of a network, in jaxcifar and in PyTorch.

    Attributes:
      jaxcifar_name: the array's name in jaxcifar, such as `params/Conv_0/kernel`.
      pytorch_name: the array's name in PyTorch, such as `conv1.weight`.
      shape: the array's shape in jaxcifar.
      axes: numbers of the axes in jaxcifar, in the order that PyTorch uses.
      shape_before_flattening: height, width and channels of the feature map that is flattened for
        a dense layer; None for other layers. jaxcifar flattens in this order, and PyTorch with the
        channels first.
    """

    jaxcifar_name: str
    pytorch_name: str
    shape: tuple[int, ...]
    axes: tuple[int, ...]
    shape_before_flattening: MapShape | None = None

    @property
    def pytorch_shape(self) -> tuple[int, ...]:
        """The shape of the array in PyTorch."""
        return tuple(self.shape[axis] for axis in self.axes)

    def to_pytorch_layout(self, array: np.ndarray) -> np.ndarray:
        """Convert an array from jaxcifar's layout to PyTorch's layout."""
        if self.shape_before_flattening:
            channels_last = array.reshape(*self.shape_before_flattening, -1)
            channels_first = channels_last.transpose(2, 0, 1, 3)
            array = channels_first.reshape(self.shape)
        return np.array(array.transpose(self.axes), order="C")

    def to_jaxcifar_layout(self, array: np.ndarray) -> np.ndarray:
        """Convert an array from PyTorch's layout to jaxcifar's layout."""
        array = array.transpose(np.argsort(self.axes))
        if self.shape_before_flattening:
            height, width, channels = self.shape_before_flattening
            channels_first = array.reshape(channels, height, width, -1)
            array = channels_first.transpose(1, 2, 0, 3)  # channels last
        return np.array(array.reshape(self.shape), order="C")


def array_mappings(
    config: Config, class_count: int, abstract_arrays: Mapping[str, Any]
) -> list[ArrayMapping]:
    """Return the names and layouts of each array of a network in jaxcifar and in PyTorch.

    Args:
      config: the config that names the network.
      class_count: number of classes.
      abstract_arrays: the network's arrays by name; only their shapes are used.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    layers = _pytorch_layers_by_name(config, class_count)
    mappings = []
    for jaxcifar_name, array in abstract_arrays.items():
        # A name has the collection, the path of the layer and the kind of array.
        _collection, *layer_path, array_kind = jaxcifar_name.split("/")
        layer_name = "/".join(layer_path)
        layer = layers[layer_name]
        is_kernel = array_kind == "kernel"
        mapping = ArrayMapping(
            jaxcifar_name=jaxcifar_name,
            pytorch_name=f"{layer.name}.{_PYTORCH_ARRAY_NAMES[array_kind]}",
            shape=array.shape,
            axes=_AXES_IN_PYTORCH_ORDER[len(array.shape)],
            shape_before_flattening=layer.shape_before_flattening if is_kernel else None,
        )
        mappings.append(mapping)
    return mappings


@dataclasses.dataclass(frozen=True)
class _TorchLayer:
    """A layer of a PyTorch module.

    Attributes:
      name: the layer's name, such as `layer1.0.conv1`.
      shape_before_flattening: height, width and channels of the feature map that is flattened for
        the layer; None for a layer without flattening.
    """

    name: str
    shape_before_flattening: MapShape | None


@cache
def _pytorch_layers_by_name(config: Config, class_count: int) -> dict[str, _TorchLayer]:
    """Return the layers that have weights in the PyTorch module of a network.

    Returns:
      a layer's name in jaxcifar, such as `ResBlock_0/Conv_1` -> its layer in PyTorch.
    """
    require_pytorch_module(config.arch)
    torch = import_extra("torch")
    model = create_model(config, class_count)
    layers = summarize(model, config.image_size).layers
    layers_with_weights = [layer for layer in layers if layer.params]
    with torch.device("meta"):  # only names are needed, so no memory for weights
        network = torch_network(config.arch, model, image_size=config.image_size)
    pytorch_names = [
        name for name, module in network.named_modules() if name and module._parameters
    ]
    input_channels = 3  # of the next layer
    pytorch_layers = {}
    # Names and types of layers differ between the two frameworks, so layers are paired by order:
    # each PyTorch module is written with its layers in the order of our layer table.
    for layer, pytorch_name in zip(layers_with_weights, pytorch_names, strict=True):
        jaxcifar_name = "/".join(layer.path)
        shape_before_flattening = _shape_of_flattened_map(layer, input_channels)
        pytorch_layers[jaxcifar_name] = _TorchLayer(pytorch_name, shape_before_flattening)
        input_channels = layer.output_shape[-1]
    return pytorch_layers


def _shape_of_flattened_map(layer: Layer, channels: int) -> MapShape | None:
    """Return the shape of the feature map that is flattened to the inputs of a dense layer.

    Return None if the layer has other inputs. The feature map is square and has `channels`
    channels.
    """
    input_count = layer.input_shape[-1]
    gets_flattened_map = layer.kind == "Linear" and input_count > channels
    if not gets_flattened_map:
        return None
    pixel_count = input_count // channels
    height = width = math.isqrt(pixel_count)
    return height, width, channels


def to_pytorch(
    config: Config, class_count: int, arrays: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """Convert a network's arrays to PyTorch's names and layouts.

    Arrays that only the PyTorch module has are added: a normalisation without a scale gets a scale
    of ones. In a mirrored network, weights that two filters share are written twice.

    Args:
      config: the config that names the network.
      class_count: number of classes.
      arrays: the network's arrays by jaxcifar's names.

    Returns:
      the arrays by PyTorch's names.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    if is_mirrored(config):
        config = config_without_mirroring(config)
        arrays = without_mirroring(arrays)
    mappings = array_mappings(config, class_count, arrays)
    state_dict: dict[str, np.ndarray] = {}
    for mapping in mappings:
        array = np.asarray(arrays[mapping.jaxcifar_name])
        state_dict[mapping.pytorch_name] = mapping.to_pytorch_layout(array)
    variances = [mapping for mapping in mappings if mapping.pytorch_name.endswith(_VARIANCE)]
    for variance in variances:
        batch_norm_prefix = variance.pytorch_name.removesuffix(_VARIANCE)
        state_dict[batch_norm_prefix + BATCH_COUNTER] = np.zeros((), np.int64)
        scale_name = f"{batch_norm_prefix}weight"
        if scale_name not in state_dict:
            state_dict[scale_name] = np.ones(variance.shape, np.float32)
    return state_dict


def names_of_unit_scales(mappings: Sequence[ArrayMapping]) -> set[str]:
    """Return the PyTorch names of the scales that exist in PyTorch but not in jaxcifar.

    They belong to normalisations that have no scale in jaxcifar, so all their elements must be 1.
    """
    pytorch_names = {mapping.pytorch_name for mapping in mappings}
    variance_names = [name for name in pytorch_names if name.endswith(_VARIANCE)]
    scale_names = {name.removesuffix(_VARIANCE) + "weight" for name in variance_names}
    return scale_names - pytorch_names
