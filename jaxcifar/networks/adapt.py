"""Adapt Flax's own layers to this package's training; the user's network stays unchanged.

Inside `adapted`, batch normalisation uses the batch of all devices, and convolutions on a CPU use
this package's matrix products, which are faster.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.convolution import conv2d, has_products
from jaxcifar.kernels.depthwise import Paddings, depthwise
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.networks.layers import BatchNorm, Conv, Dropout

Pair = tuple[int, ...]  # a number for the height and a number for the width
_BATCH_LAYERS = (nn.BatchNorm, BatchNorm, Dropout)
_FLAX_CONVOLUTION_FIELDS = ("conv_general_dilated", "conv_general_dilated_cls")


@contextlib.contextmanager
def adapted(axis: str | None, operands: Dtype | None = None) -> Iterator[None]:
    """Adapt Flax's layers to several devices and fast CPU convolutions, in a `with` block.

    Args:
      axis: mapped axis of the devices that share a batch, or None; a layer with its own axis keeps
        that axis.
      operands: dtype of the operands of matrix products, see `conv2d`; a layer with its own
        `operands` keeps them.
    """

    def intercept(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        with _fields_changed(context.module, _changes(context.module, axis, operands)):
            return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


def _changes(module: nn.Module, axis: str | None, operands: Dtype | None) -> dict[str, Any]:
    """Return name -> value of the layer fields that must change while the layer is called."""
    if isinstance(module, _BATCH_LAYERS) and module.axis_name is None:
        return {"axis_name": axis}
    if isinstance(module, Conv):
        return {"operands": module.operands or operands}
    users_functions = [getattr(module, name, None) for name in _FLAX_CONVOLUTION_FIELDS]
    if isinstance(module, nn.Conv) and users_functions == [None, None]:
        return {"conv_general_dilated": partial(convolve, operands=operands)}
    return {}


@contextlib.contextmanager
def _fields_changed(module: nn.Module, changes: dict[str, Any]) -> Iterator[None]:
    # The module itself is changed, because a copy would be another child of its parent.
    before = {name: getattr(module, name, None) for name in changes}
    try:
        _set(module, changes)
        yield
    finally:
        _set(module, before)


def _set(module: nn.Module, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        object.__setattr__(module, name, value)  # Flax forbids ordinary assignment


def convolve(
    x: Float[Array, "batch *pixels channels"],
    kernel: Float[Array, "*size inputs features"],
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    *,
    operands: Dtype | None = None,
    feature_group_count: int = 1,
    **options: Any,
) -> Float[Array, "batch *out_pixels features"]:
    """Compute `lax.conv_general_dilated`; on a CPU use matrix products where possible.

    Args:
      x: images, or arrays with any number of spatial axes.
      kernel: weights; `inputs` is the number of channels in a group.
      strides: stride along each spatial axis.
      padding: "SAME", "VALID" or the zeros before and after, along each spatial axis.
      operands: dtype of the operands of matrix products, see `conv2d`.
      feature_group_count: number of groups of channels; each group has its own weights.
      options: other arguments of `lax.conv_general_dilated`.
    """

    def by_xla(x: Array, kernel: Array) -> Array:
        groups = feature_group_count
        return lax.conv_general_dilated(
            x, kernel, strides, padding, feature_group_count=groups, **options
        )

    if not _is_simple(x, options):
        return by_xla(x, kernel)
    size, strides = kernel.shape[:2], tuple(strides)
    if isinstance(padding, str):
        padding = lax.padtype_to_pads(x.shape[1:3], size, strides, padding)
    pads = tuple((int(before), int(after)) for before, after in padding)
    if feature_group_count == 1:
        is_square = strides[0] == strides[1] and pads[0] == pads[1]
        if is_square and has_products(x.shape, kernel.shape, strides[0], pads[0]):
            return conv2d(x, kernel, strides[0], padding=pads[0], operands=operands)
        if not _are_patches(x, size, strides, pads):
            return by_xla(x, kernel)
        by_products = _convolve_patches
    elif feature_group_count == x.shape[-1] == kernel.shape[-1] and _is_within(pads, size):
        by_products = partial(_convolve_channels, strides=strides, padding=pads)
    else:
        return by_xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_products, default=by_xla)


def _is_simple(x: Array, options: dict[str, Any]) -> bool:
    """Return True for a convolution of images, up to 32 bits, without dilation or set precision."""
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    fits_float32 = jnp.promote_types(x.dtype, jnp.float32) == jnp.float32
    is_undilated = set(dilations) <= {1}
    return x.ndim == 4 and fits_float32 and is_undilated and options.get("precision") is None


def _are_patches(x: Array, size: Pair, strides: Pair, padding: Paddings) -> bool:
    """Return True if the kernel's positions divide the images into patches without overlap."""
    has_remainder = x.shape[1] % size[0] or x.shape[2] % size[1]
    return size == strides and not has_remainder and padding == ((0, 0), (0, 0))


def _convolve_patches(x: Array, kernel: Array) -> Array:
    batch, height, width, channels = x.shape
    rows, columns, _, features = kernel.shape
    x = x.reshape(batch, height // rows, rows, width // columns, columns, channels)
    patches = x.swapaxes(2, 3).reshape(batch, height // rows, width // columns, -1)
    return patches @ kernel.reshape(-1, features)


def _convolve_channels(x: Array, kernel: Array, strides: Pair, padding: Paddings) -> Array:
    return depthwise(x, kernel[:, :, 0], padding)[:, :: strides[0], :: strides[1]]


def _is_within(padding: Paddings, size: Pair) -> bool:
    """Return True if the padding on each side is at least 0 and less than the kernel's size."""
    height, width = size
    return all(0 <= zeros < height for zeros in padding[0]) and all(
        0 <= zeros < width for zeros in padding[1]
    )
