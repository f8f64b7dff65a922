"""What a network is made of: layer table, parameters, sizes and FLOPs, read off its trace.

The table has the form of torchsummary and the FLOPs follow thop, as the reference report has
them: shapes are channels first with -1 for the batch, a row a layer in the order in which the
layers finish, multiply-accumulates of convolutions and dense layers (bias not counted) plus four
operations for each output element of a BatchNorm.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcifar.models.cnn import CNN
from jaxcifar.models.layers import BatchNorm, Conv, Dense, Dropout, MaxPool, ReLU
from jaxcifar.models.resnet import ResBlock, ResNet

IMAGE_SHAPE = (32, 32, 3)
_FLOAT_BYTES = 4
_MIB = 2**20
_KINDS = {
    Conv: "Conv2d",
    Dense: "Linear",
    ReLU: "ReLU",
    MaxPool: "MaxPool2d",
    Dropout: "Dropout",
    ResBlock: "ResBlock",
}


@dataclasses.dataclass(frozen=True)
class Layer:
    """One call of a module while the network is traced.

    Attributes:
      kind: torchsummary's name for it.
      path: names of the modules that it lies in, outermost first, and its own.
      input_shape, output_shape: of one image, channels last.
      params: its own parameters.
      flops: by thop's convention, for one image.
      stride: of a convolution, else 1.
    """

    kind: str
    path: tuple[str, ...]
    input_shape: tuple[int, ...]
    output_shape: tuple[int, ...]
    params: int
    flops: int
    stride: int = 1


def trace_layers(model: nn.Module) -> list[Layer]:
    """The layers of a network in the order in which they finish; nothing is computed."""
    layers: list[Layer] = []

    def record(call: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext) -> Any:
        output = call(*args, **kwargs)
        if context.method_name == "__call__" and not isinstance(context.module, CNN | ResNet):
            layers.append(_layer(context.module, args[0], output))
        return output

    def run() -> Any:
        with nn.intercept_methods(record):
            return model.init(jax.random.key(0), jnp.zeros((1, *IMAGE_SHAPE)), train=False)

    jax.eval_shape(run)
    return layers


def _layer(module: nn.Module, x: jax.Array, y: jax.Array) -> Layer:
    if isinstance(module, BatchNorm):
        kind = "BatchNorm2d" if y.ndim == 4 else "BatchNorm1d"
    else:
        kind = _KINDS[type(module)]
    own = module.variables.get("params", {}) if kind != "ResBlock" else {}
    flops = 0
    if isinstance(module, Conv | Dense):
        positions = y.size // y.shape[-1]
        flops = positions * own["kernel"].size
    elif isinstance(module, BatchNorm):
        flops = 4 * y.size
    return Layer(
        kind=kind,
        path=module.path,
        input_shape=x.shape[1:],
        output_shape=y.shape[1:],
        params=sum(p.size for p in own.values()),
        flops=flops,
        stride=getattr(module, "stride", 1),
    )


def count_flops(layers: Sequence[Layer]) -> int:
    """FLOPs of one image by thop's convention."""
    return sum(layer.flops for layer in layers)


def count_macs(layers: Sequence[Layer]) -> int:
    """Multiply-accumulates of the convolutions and dense layers for one image."""
    return sum(layer.flops for layer in layers if layer.kind in ("Conv2d", "Linear"))


def count_params(layers: Sequence[Layer]) -> int:
    """Trainable parameters."""
    return sum(layer.params for layer in layers)


def layer_table(layers: Sequence[Layer]) -> str:
    """The table in torchsummary's form, with totals, sizes and FLOPs below it."""
    rule, double = "-" * 64, "=" * 64
    lines = [rule, f"{'Layer (type)':>20}  {'Output Shape':>25} {'Param #':>15}", double]
    for number, layer in enumerate(layers, start=1):
        name = f"{layer.kind}-{number}"
        lines.append(f"{name:>20}  {_channels_first(layer.output_shape):>25} {layer.params:>15,}")
    params = count_params(layers)
    sizes = {
        "Input": math.prod(IMAGE_SHAPE) * _FLOAT_BYTES / _MIB,
        # torchsummary counts every listed output twice: once forward, once for its gradient.
        "Forward/backward pass": sum(math.prod(layer.output_shape) for layer in layers)
        * (2 * _FLOAT_BYTES / _MIB),
        "Params": params * _FLOAT_BYTES / _MIB,
    }
    lines += [double, f"Total params: {params:,}", f"Trainable params: {params:,}"]
    lines += ["Non-trainable params: 0", rule]
    lines += [f"{name} size (MB): {size:.2f}" for name, size in sizes.items()]
    lines += [f"Estimated Total Size (MB): {sum(sizes.values()):.2f}", rule]
    lines += [f"FLOPs: {count_flops(layers):,}", rule]
    return "\n".join(lines) + "\n"


def _channels_first(shape: tuple[int, ...]) -> str:
    *spatial, channels = shape
    return str([-1, channels, *spatial])
