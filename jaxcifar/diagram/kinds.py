"""Names for the kinds of layers, in the form that torchsummary prints."""

from typing import Any

from flax import linen as nn

from jaxcifar.networks import layers

# Names without the number of spatial dimensions, by class. Other classes keep their class name.
_NAMES = {
    layers.Conv: "Conv2d",
    layers.Dense: "Linear",
    layers.MaxPool: "MaxPool2d",
    layers.MaxBlurPool: "MaxBlurPool2d",
    layers.BatchNorm: "BatchNorm",
    nn.BatchNorm: "BatchNorm",
    nn.InstanceNorm: "InstanceNorm",
    nn.Conv: "Conv",
    nn.ConvTranspose: "ConvTranspose",
    nn.Dense: "Linear",
    nn.DenseGeneral: "Linear",
    nn.Embed: "Embedding",
    nn.MultiHeadDotProductAttention: "MultiheadAttention",
}
# The same for layers of Flax NNX, by name: its import takes time.
_NNX_NAMES = {
    "Conv": "Conv",
    "ConvTranspose": "ConvTranspose",
    "Linear": "Linear",
    "LinearGeneral": "Linear",
    "BatchNorm": "BatchNorm",
    "InstanceNorm": "InstanceNorm",
    "Embed": "Embedding",
    "MultiHeadAttention": "MultiheadAttention",
}
_LINEN, _NNX = "flax.linen.", "flax.nnx.nn."  # the modules that contain layers
# Normalisations for which thop counts four operations per output element.
COUNTED_NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm")


def kind_of(module: Any, output_shape: tuple[int, ...]) -> str:
    """Return torchsummary's name for a module, such as "Conv2d", or else its class name.

    A subclass of a known layer has that layer's name. The number of dimensions of a normalisation,
    such as in "BatchNorm2d", comes from `output_shape`.
    """
    classes = type(module).__mro__
    known_names = (_known_name(cls) for cls in classes)
    name = next(filter(None, known_names), classes[0].__name__)
    if name in ("Conv", "ConvTranspose"):
        size = module.kernel_size
        dimensions = 1 if isinstance(size, int) else len(size)
        return f"{name}{dimensions}d"
    if name in ("BatchNorm", "InstanceNorm"):
        dimensions = max(len(output_shape) - 1, 1)
        return f"{name}{dimensions}d"
    return name


def _known_name(cls: type) -> str | None:
    if cls.__module__.startswith(_NNX):
        return _NNX_NAMES.get(cls.__name__)
    return _NAMES.get(cls)


def is_layer(module: Any) -> bool:
    """Return whether a module is a layer of Flax or jaxcifar, which is drawn as one box."""
    if isinstance(module, nn.Sequential):
        return False
    sources = {cls.__module__ for cls in type(module).__mro__}
    sources.discard(nn.Module.__module__)  # the base class of every module
    return any(source == layers.__name__ or source.startswith((_LINEN, _NNX)) for source in sources)
