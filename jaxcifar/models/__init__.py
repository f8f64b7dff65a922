"""The reference networks."""

from flax import linen as nn

from jaxcifar.models.cnn import CNN
from jaxcifar.models.layers import Dtype
from jaxcifar.models.resnet import ResNet


def create_model(arch: str, dtype: Dtype, dropout: float = 0.0) -> nn.Module:
    """The network called `arch`: "cnn" or "resnet18" (which has no dropout)."""
    if arch == "cnn":
        return CNN(dropout=dropout, dtype=dtype)
    return ResNet(dtype=dtype)
