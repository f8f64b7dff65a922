"""What kinds of layers there are: torchsummary's names for modules."""

from flax import linen as nn

from jaxcifar.networks import layers

# By class, a name without its number of spatial dimensions; other classes go by their own name.
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
# Those for whose outputs thop counts four operations each.
COUNTED_NORMS = ("BatchNorm", "InstanceNorm", "LayerNorm")


def kind_of(module: nn.Module, output_shape: tuple[int, ...]) -> str:
    """Torchsummary's name for a module if it has one, else its class's.

    Args:
      module: a class derived from one with a name goes by that name.
      output_shape: of one image, channels last.
    """
    classes = type(module).__mro__
    known = next((cls for cls in classes if cls in _NAMES), None)
    name = _NAMES[known] if known else classes[0].__name__
    if name in ("Conv", "ConvTranspose"):
        size = module.kernel_size
        return f"{name}{1 if isinstance(size, int) else len(size)}d"
    if name in ("BatchNorm", "InstanceNorm"):
        return f"{name}{max(len(output_shape) - 1, 1)}d"
    return name


def is_layer(module: nn.Module) -> bool:
    """Whether it is one of Flax's or our layers, whose inside needs no drawing."""
    homes = [cls.__module__ for cls in type(module).__mro__ if issubclass(cls, nn.Module)]
    ours = layers.__name__ in homes
    flax = any(home.startswith("flax.linen.") and home != nn.Module.__module__ for home in homes)
    return (ours or flax) and not isinstance(module, nn.Sequential)
