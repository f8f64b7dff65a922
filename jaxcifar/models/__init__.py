"""The reference networks."""

from flax import linen as nn

from jaxcifar.models.cnn import CNN
from jaxcifar.models.layers import Dtype
from jaxcifar.models.resnet import ResNet


def create_model(
    arch: str,
    dtype: Dtype,
    dropout: float = 0.0,
    axis_name: str | None = None,
    num_classes: int = 10,
) -> nn.Module:
    """The network called `arch`: "cnn" or "resnet18" (which has no dropout).

    In training its batches are shared by the devices along the mapped axis `axis_name`, if any.
    """
    if arch == "cnn":
        return CNN(num_classes=num_classes, dropout=dropout, dtype=dtype, axis_name=axis_name)
    return ResNet(num_classes=num_classes, dtype=dtype, axis_name=axis_name)
