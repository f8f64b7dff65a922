"""Names for the kinds of layers, in the form that torchsummary prints."""

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
# Normalisations for which thop counts four operations per output element.
COUNTED_NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm")


def kind_of(module: nn.Module, output_shape: tuple[int, ...]) -> str:
    """Return torchsummary's name for a module, such as "Conv2d", or else its class name.

    A subclass of a known layer has that layer's name. The number of dimensions of a normalisation,
    such as in "BatchNorm2d", comes from `output_shape`.
    """
    classes = type(module).__mro__
    known_class = next((cls for cls in classes if cls in _NAMES), None)
    name = _NAMES[known_class] if known_class else classes[0].__name__
    if name in ("Conv", "ConvTranspose"):
        size = module.kernel_size
        dimensions = 1 if isinstance(size, int) else len(size)
        return f"{name}{dimensions}d"
    if name in ("BatchNorm", "InstanceNorm"):
        dimensions = max(len(output_shape) - 1, 1)
        return f"{name}{dimensions}d"
    return name


def is_layer(module: nn.Module) -> bool:
    """Return whether a module is a layer of Flax or jaxcifar, which is drawn as one box."""
    if isinstance(module, nn.Sequential):
        return False
    sources = {cls.__module__ for cls in type(module).__mro__ if issubclass(cls, nn.Module)}
    sources.remove(nn.Module.__module__)  # the base class of every module
    return any(source == layers.__name__ or source.startswith("flax.linen.") for source in sources)
