"""Networks of plain Flax layers in our training, without their doing.

While `adapted` is open, calls of Flax's own layers are changed in two ways: batch normalisation
sees the batch of all devices, and convolutions are computed by matrix products on a CPU where we
have these, with the same result or, if that is asked for, in less precision: ours are then as well.
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

Pair = tuple[int, ...]  # along both axes of an image
_OF_A_BATCH = (nn.BatchNorm, BatchNorm, Dropout)


@contextlib.contextmanager
def adapted(axis: str | None, operands: Dtype | None = None) -> Iterator[None]:
    """Change the layers that are called in here.

    Args:
      axis: the mapped axis of the devices that share a batch; a layer that names one keeps it.
      operands: of convolutions that do not name them; see `conv2d`.
    """

    def intercept(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        with _holding(context.module, _changes(context.module, axis, operands)):
            return call(*args, **kwargs)

    with nn.intercept_methods(intercept):
        yield


def _changes(module: nn.Module, axis: str | None, operands: Dtype | None) -> dict[str, Any]:
    """Fields of a layer that are to have other values in its call."""
    if isinstance(module, _OF_A_BATCH) and module.axis_name is None:
        return {"axis_name": axis}
    if isinstance(module, Conv):
        return {"operands": module.operands or operands}
    fields = "conv_general_dilated", "conv_general_dilated_cls"
    if isinstance(module, nn.Conv) and all(getattr(module, name, None) is None for name in fields):
        return {fields[0]: partial(convolve, operands=operands)}
    return {}


@contextlib.contextmanager
def _holding(module: nn.Module, changes: dict[str, Any]) -> Iterator[None]:
    """The module itself has to be changed: a copy would be another child of its parent."""
    before = {name: getattr(module, name, None) for name in changes}
    try:
        _set(module, changes)
        yield
    finally:
        _set(module, before)


def _set(module: nn.Module, fields: dict[str, Any]) -> None:
    for name, value in fields.items():
        object.__setattr__(module, name, value)  # Flax refuses what would last


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
    """`lax.conv_general_dilated`, by matrix products on a CPU where we have these.

    Args:
      x: images, or arrays with another number of pixels' axes than two, as `options` say.
      kernel: weights; its inputs are the channels of a group.
      strides: along each axis of pixels.
      padding: "SAME", "VALID" or zeros before and after, along each axis.
      operands: see `adapted`.
      feature_group_count: groups of channels that have kernels of their own.
      options: all others of `lax.conv_general_dilated`, by name.
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
        even = strides[0] == strides[1] and pads[0] == pads[1]
        if even and has_products(x.shape, kernel.shape, strides[0], pads[0]):
            return conv2d(x, kernel, strides[0], padding=pads[0], operands=operands)
        if not _are_patches(x, size, strides, pads):
            return by_xla(x, kernel)
        by_products = _of_patches
    elif feature_group_count == x.shape[-1] == kernel.shape[-1] and _fit(pads, size):
        by_products = partial(_of_channels, strides=strides, padding=pads)
    else:
        return by_xla(x, kernel)
    return lax.platform_dependent(x, kernel, cpu=by_products, default=by_xla)


def _is_simple(x: Array, options: dict[str, Any]) -> bool:
    """Whether images are convolved in float32 or less, undilated, at no precision asked for."""
    dilations = (*(options.get("lhs_dilation") or ()), *(options.get("rhs_dilation") or ()))
    single = jnp.promote_types(x.dtype, jnp.float32) == jnp.float32
    return x.ndim == 4 and single and set(dilations) <= {1} and options.get("precision") is None


def _are_patches(x: Array, size: Pair, strides: Pair, padding: Paddings) -> bool:
    """Whether each pixel lies under the kernel once."""
    whole = all(extent % part == 0 for extent, part in zip(x.shape[1:3], size, strict=True))
    return size == strides and whole and padding == ((0, 0), (0, 0))


def _of_patches(x: Array, kernel: Array) -> Array:
    batch, height, width, channels = x.shape
    rows, columns, _, features = kernel.shape
    x = x.reshape(batch, height // rows, rows, width // columns, columns, channels)
    patches = x.swapaxes(2, 3).reshape(batch, height // rows, width // columns, -1)
    return patches @ kernel.reshape(-1, features)


def _of_channels(x: Array, kernel: Array, strides: Pair, padding: Paddings) -> Array:
    return depthwise(x, kernel[:, :, 0], padding)[:, :: strides[0], :: strides[1]]


def _fit(padding: Paddings, size: Pair) -> bool:
    return all(
        0 <= zeros < extent for pads, extent in zip(padding, size, strict=True) for zeros in pads
    )
