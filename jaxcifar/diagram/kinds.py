"""Names for the kinds of layers, in the form that torchsummary prints."""

from typing import Any

from flax import linen as nn

from jaxcifar.networks import layers

# Names without the number of spatial dimensions, by class. Other classes keep their class name.
_LINEN_NAMES = {
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
# The beginnings of the names of the Python modules that contain layers.
_LINEN_MODULE_PREFIX, _NNX_MODULE_PREFIX = "flax.linen.", "flax.nnx.nn."
# Normalisations for which thop counts four operations per output element.
NORMS_COUNTED_IN_FLOPS = ("BatchNorm", "InstanceNorm", "LayerNorm")


def layer_kind_of(module: Any, output_shape: tuple[int, ...]) -> str:
    """Return torchsummary's name for a module, such as "Conv2d", or else its class name.

    A subclass of a known layer has that layer's name. The number of dimensions of a normalisation,
    such as in "BatchNorm2d", comes from `output_shape`.
    """
    name = type(module).__name__
    for cls in type(module).__mro__:
        known_name = _torchsummary_name(cls)
        if known_name is not None:
            name = known_name
            break
    if name in ("Conv", "ConvTranspose"):
        kernel_size = module.kernel_size
        dimensions = 1 if isinstance(kernel_size, int) else len(kernel_size)
        return f"{name}{dimensions}d"
    if name in ("BatchNorm", "InstanceNorm"):
        dimensions = max(len(output_shape) - 1, 1)
        return f"{name}{dimensions}d"
    return name


def _torchsummary_name(cls: type) -> str | None:
    """Return torchsummary's name for a class of layers; None if torchsummary has no name."""
    if cls.__module__.startswith(_NNX_MODULE_PREFIX):
        return _NNX_NAMES.get(cls.__name__)
    return _LINEN_NAMES.get(cls)


def is_layer(module: Any) -> bool:
    """Return whether a module is a layer of Flax or jaxcifar, which is drawn as one box."""
    is_container_of_layers = isinstance(module, nn.Sequential)
    if is_container_of_layers:
        return False
    python_modules = {cls.__module__ for cls in type(module).__mro__}
    module_of_base_class = nn.Module.__module__  # also the base class of modules that are no layers
    python_modules.discard(module_of_base_class)
    is_layer_of_jaxcifar = layers.__name__ in python_modules
    flax_prefixes = (_LINEN_MODULE_PREFIX, _NNX_MODULE_PREFIX)
    is_layer_of_flax = any(name.startswith(flax_prefixes) for name in python_modules)
    return is_layer_of_jaxcifar or is_layer_of_flax
