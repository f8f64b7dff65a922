"""The reference networks."""

from flax import linen as nn

from jaxcifar.models.cnn import CNN
from jaxcifar.models.layers import Dtype
from jaxcifar.models.resnet import ResNet


def create_model(
    arch: str, dtype: Dtype, dropout: float = 0.0, axis_name: str | None = None
) -> nn.Module:
    """The network called `arch`: "cnn" or "resnet18" (which has no dropout).

    In training its batches are shared by the devices along the mapped axis `axis_name`, if any.
    """
    if arch == "cnn":
        return CNN(dropout=dropout, dtype=dtype, axis_name=axis_name)
    return ResNet(dtype=dtype, axis_name=axis_name)
