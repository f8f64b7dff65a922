"""Adapt Flax's own layers to this package's training; the user's network stays unchanged.

Inside `adapt_layers`, batch normalisation uses the batch of all devices. On a CPU, convolutions use
this package's matrix products, which are faster.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float, Int32
from jaxcifar.kernels.convolution import conv2d, uses_matrix_products
from jaxcifar.kernels.depthwise import Paddings, depthwise
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.networks.layers import BatchNorm, Conv, Dropout
from jaxcifar.networks.nnx_network import NNXNetwork

HeightAndWidth = tuple[int, ...]
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
      axis: name of the mapped axis of the devices that share a batch; None for a single device. A
        layer that names an axis itself keeps its axis. But if the program does not map over that
        axis, Flax's BatchNorm gets `axis`.
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
    """Return the new values of a layer's fields during a call, by the field's name; often none.

    `axis` is the mapped axis of the devices that share a batch; None for a single device. On a CPU,
    the inputs of matrix products are rounded to `product_dtype`; None means no rounding.
    """
    if isinstance(module, _LAYERS_WITH_AXIS_NAME) and module.axis_name is None:
        return {"axis_name": axis}
    if isinstance(module, nn.BatchNorm) and not _is_mapped_axis(module.axis_name):
        # Code for `jax.pmap` names its axis of devices, such as "batch": that is `axis` here.
        return {"axis_name": axis}
    if isinstance(module, NNXNetwork):
        return {"change_layer": partial(_change_nnx_layer, axis=axis, product_dtype=product_dtype)}
    if isinstance(module, Conv):
        return {"product_dtype": module.product_dtype or product_dtype}
    if isinstance(module, nn.Conv):
        user_functions = [getattr(module, name, None) for name in _FLAX_CONVOLUTION_FIELDS]
        if all(function is None for function in user_functions):
            return {"conv_general_dilated": partial(convolve, product_dtype=product_dtype)}
    return {}


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


def convolve(
    x: Float[Array, "batch *pixels channels"],
    kernel: Float[Array, "*size inputs features"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    product_dtype: Dtype | None = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Float[Array, "batch *out_pixels features"]:
    """Compute `lax.conv_general_dilated`; on a CPU use matrix products where possible.

    Args:
      x: images, or arrays with any number of spatial axes.
      kernel: weights; `inputs` is the number of channels in a group.
      strides: stride along each spatial axis.
      padding: "SAME", "VALID" or the zeros before and after, along each spatial axis.
      product_dtype: on a CPU, the inputs of matrix products are rounded to this dtype, unless None.
      feature_group_count: number of groups of channels; each group has its own weights.
      options: other arguments of `lax.conv_general_dilated`.
    """

    def convolve_by_xla(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, feature_group_count=feature_group_count, **options
        )

    if not _is_float32_image_convolution(x, options):
        return convolve_by_xla(x, kernel)
    kernel_size, strides = kernel.shape[:2], tuple(strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], kernel_size, strides, padding)
    pads = tuple((int(leading), int(trailing)) for leading, trailing in padding)
    if feature_group_count == 1:
        is_square = strides[0] == strides[1] and pads[0] == pads[1]
        if is_square and uses_matrix_products(x.shape, kernel.shape, strides[0], pads[0]):
            return conv2d(x, kernel, strides[0], padding=pads[0], product_dtype=product_dtype)
        if not _has_separate_patches(x, kernel_size, strides, pads):
            return convolve_by_xla(x, kernel)
        convolve_by_products = _convolve_patches
    else:
        is_depthwise = feature_group_count == x.shape[-1] and kernel.shape[-1] == x.shape[-1]
        if not is_depthwise or not _is_padding_below_kernel_size(pads, kernel_size):
            return convolve_by_xla(x, kernel)
        convolve_by_products = partial(_convolve_each_channel, strides=strides, padding=pads)
    return lax.platform_dependent(x, kernel, cpu=convolve_by_products, default=convolve_by_xla)


def _is_float32_image_convolution(x: Array, options: dict[str, Any]) -> bool:
    """Return True if a convolution of images can be computed by float32 matrix products.

    There must be two spatial axes, no dilation, a dtype of at most 32 bits and no argument
    `precision`. `options` are arguments of `lax.conv_general_dilated`.
    """
    input_dilation = options.get("lhs_dilation") or ()
    kernel_dilation = options.get("rhs_dilation") or ()
    is_undilated = all(dilation == 1 for dilation in (*input_dilation, *kernel_dilation))
    fits_float32 = jnp.promote_types(x.dtype, jnp.float32) == jnp.float32
    has_default_precision = options.get("precision") is None
    return x.ndim == 4 and fits_float32 and is_undilated and has_default_precision


def _has_separate_patches(
    x: Array, kernel_size: HeightAndWidth, strides: HeightAndWidth, padding: Paddings
) -> bool:
    """Return True if a kernel without padding divides the images into patches without overlap."""
    _, image_height, image_width, _ = x.shape
    kernel_height, kernel_width = kernel_size
    divides_images = image_height % kernel_height == 0 and image_width % kernel_width == 0
    return kernel_size == strides and divides_images and padding == ((0, 0), (0, 0))


def _convolve_patches(x: Array, kernel: Array) -> Array:
    """Convolve with a stride equal to the kernel's size, by one matrix product over all patches."""
    batch, height, width, channels = x.shape
    kernel_height, kernel_width, _, features = kernel.shape
    rows, columns = height // kernel_height, width // kernel_width  # of patches
    x = x.reshape(batch, rows, kernel_height, columns, kernel_width, channels)
    patches = x.swapaxes(2, 3).reshape(batch, rows, columns, -1)
    return patches @ kernel.reshape(-1, features)


def _convolve_each_channel(
    x: Array, kernel: Array, strides: HeightAndWidth, padding: Paddings
) -> Array:
    outputs_at_stride_1 = depthwise(x, kernel[:, :, 0], padding)
    return outputs_at_stride_1[:, :: strides[0], :: strides[1]]


def _is_padding_below_kernel_size(padding: Paddings, kernel_size: HeightAndWidth) -> bool:
    """Return True if the padding on each side is at least 0 and less than the kernel's size."""
    for zeros, kernel_extent in zip(padding, kernel_size, strict=True):
        if min(zeros) < 0 or max(zeros) >= kernel_extent:
            return False
    return True
