"""Adapt Flax's own layers to this package's training; the user's network stays unchanged.

Inside `adapt_layers`, batch normalisation uses the batch of all devices. On a CPU, convolutions use
this package's matrix products, which are faster (`networks/flax_convolution.py`).
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Int32
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.networks.flax_convolution import convolve
from jaxcifar.networks.layers import BatchNorm, Conv, Dropout
from jaxcifar.networks.nnx_network import NNXNetwork

_LAYERS_WITH_AXIS_NAME = (nn.BatchNorm, BatchNorm, Dropout)
_FLAX_CONVOLUTION_FIELDS = ("conv_general_dilated", "conv_general_dilated_cls")
# The fields that switch Flax's layers from training to evaluation.
_MODE_FIELDS = {nn.BatchNorm: "use_running_average", nn.Dropout: "deterministic"}


@contextlib.contextmanager
def adapt_layers(
    axis: str | None,
    product_dtype: Dtype | None = None,
    first_position: Int32[Array, ""] | None = None,
) -> Iterator[None]:
    """Adapt Flax's layers to several devices and fast CPU convolutions, in a `with` block.

    While a network is called in the block, its batch normalisation uses the batch of all devices.
    On a CPU its convolutions use this package's matrix products.

    Args:
      axis: name of the mapped axis of the devices that share a batch; None for a single device.
        Layers use this axis if they do not name an axis themselves. A BatchNorm of Flax also uses
        it in place of an axis that the program does not map over.
      product_dtype: on a CPU, convolutions round the inputs of their matrix products to this
        dtype; None for no rounding. A layer that has a `product_dtype` already keeps it.
      first_position: position of the network's first image in the whole batch, if the batch is
        computed in parts; otherwise None. Dropout draws its random numbers by position.
    """

    def intercept(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        changes = _field_changes(context.module, axis, product_dtype)
        if isinstance(context.module, Dropout) and first_position is not None:
            changes |= {"first_position": first_position}
        with _change_fields_temporarily(context.module, changes):
            return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


def _field_changes(
    module: nn.Module, axis: str | None, product_dtype: Dtype | None
) -> dict[str, Any]:
    """Return the new values of a layer's fields during a call, by the field's name.

    `axis` is the mapped axis of the devices that share a batch; None for a single device. On a CPU,
    the inputs of matrix products are rounded to `product_dtype`; None means no rounding.
    """
    names_no_axis = isinstance(module, _LAYERS_WITH_AXIS_NAME) and module.axis_name is None
    # Code for `jax.pmap` names its axis of devices, such as "batch": that is `axis` here.
    names_unknown_axis = isinstance(module, nn.BatchNorm) and not _is_mapped_axis(module.axis_name)
    if names_no_axis or names_unknown_axis:
        return {"axis_name": axis}
    if isinstance(module, NNXNetwork):
        return {"change_layer": partial(_change_nnx_layer, axis=axis, product_dtype=product_dtype)}
    if isinstance(module, Conv):
        return {"product_dtype": module.product_dtype or product_dtype}
    if isinstance(module, nn.Conv) and not _has_user_convolution(module):
        return {"conv_general_dilated": partial(convolve, product_dtype=product_dtype)}
    return {}


def _has_user_convolution(layer: nn.Conv) -> bool:
    """Return True if the user has given the layer a function that computes its convolution."""
    return any(getattr(layer, field, None) is not None for field in _FLAX_CONVOLUTION_FIELDS)


def _change_nnx_layer(layer: Any, axis: str | None, product_dtype: Dtype | None) -> None:
    """Adapt a layer of Flax NNX to several devices and fast CPU convolutions, in place.

    `axis` is the mapped axis of the devices that share a batch; None for a single device. On a CPU,
    the inputs of matrix products are rounded to `product_dtype`; None means no rounding.
    """
    from flax import nnx  # an import that takes time, and that other networks do not need

    if isinstance(layer, nnx.BatchNorm) and not _is_mapped_axis(layer.axis_name):
        layer.axis_name = axis
    if isinstance(layer, nnx.Conv) and layer.conv_general_dilated is lax.conv_general_dilated:
        layer.conv_general_dilated = partial(convolve, product_dtype=product_dtype)


def _is_mapped_axis(axis: str | Sequence[str] | None) -> bool:
    """Return True if the program that JAX traces now maps over the axis (or axes) of this name."""
    try:
        return axis is not None and lax.axis_size(axis) > 0
    except NameError:  # raised by JAX
        return False


@contextlib.contextmanager
def _change_fields_temporarily(module: nn.Module, changes: dict[str, Any]) -> Iterator[None]:
    """Set fields of a layer in a `with` block, and then set them back to their old values.

    `changes` has the new value of each field, by the field's name.
    """
    # The module itself is changed, because a copy would be another child of its parent.
    original_fields = {name: getattr(module, name, None) for name in changes}
    try:
        _set_fields(module, changes)
        yield
    finally:
        _set_fields(module, original_fields)


def _set_fields(module: nn.Module, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        object.__setattr__(module, name, value)  # Flax forbids ordinary assignment


class SequentialNetwork(nn.Module):
    """A `nn.Sequential` as a network that is called as `network(images, train)`.

    Attributes:
      network: the layers. If a BatchNorm or Dropout layer has no mode (training or evaluation) of
        its own, `train` decides its mode.
    """

    network: nn.Sequential

    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch classes"]:
        def set_mode(
            call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
        ) -> Any:
            for layer_class, mode_field in _MODE_FIELDS.items():
                is_layer = isinstance(context.module, layer_class)
                if is_layer and getattr(context.module, mode_field, None) is None:
                    kwargs = {mode_field: not train, **kwargs}
            return call(*args, **kwargs)

        with nn.intercept_methods(set_mode):
            return self.network(images)
