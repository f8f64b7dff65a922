"""The convolution of Flax's layers: this package's matrix products on a CPU, otherwise XLA's.

On a CPU this package computes all float32 convolutions of images, whatever their kernel size,
strides, padding, dilation and groups. XLA computes transposed convolutions, convolutions along one
or three axes, of float64 arrays, and those with `precision` or `preferred_element_type`.
"""

from collections.abc import Sequence
from functools import partial
from typing import Any

from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.convolution import conv2d, uses_small_kernel_method
from jaxcifar.kernels.depthwise import depthwise
from jaxcifar.kernels.general_convolution import (
    Geometry,
    can_convolve_by_products,
    convolve_by_products,
)
from jaxcifar.kernels.rearrangements import Paddings, Pair
from jaxcifar.kernels.winograd import Dtype


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
    """Return the result of `lax.conv_general_dilated`; a CPU uses matrix products if it can.

    Args:
      x: images, or arrays with any number of spatial axes.
      kernel: weights; `inputs` is the number of channels in a group.
      strides: stride along each spatial axis.
      padding: "SAME", "VALID" or the zeros before and after, along each spatial axis.
      product_dtype: dtype to which a CPU rounds the operands of the products in Winograd's method;
        None for float32. Other methods ignore it.
      feature_group_count: number of groups of channels; each group has its own weights.
      options: other arguments of `lax.conv_general_dilated`.
    """

    def convolve_by_xla(x: Array, kernel: Array) -> Array:
        return lax.conv_general_dilated(
            x, kernel, strides, padding, feature_group_count=feature_group_count, **options
        )

    if not _is_image_convolution(x, options):
        return convolve_by_xla(x, kernel)
    geometry = _make_geometry(x, kernel, strides, padding, feature_group_count, options)
    if not can_convolve_by_products(x, kernel, geometry):
        return convolve_by_xla(x, kernel)
    if _is_computed_by_conv2d(x, kernel, geometry):
        stride, padding_of_sides = geometry.strides[0], geometry.padding[0]
        return conv2d(x, kernel, stride, padding=padding_of_sides, product_dtype=product_dtype)
    if _has_separate_patches(x, kernel, geometry):
        convolve_on_cpu = _convolve_patches
    elif _is_depthwise(x, kernel, geometry):
        convolve_on_cpu = partial(
            _convolve_each_channel, strides=geometry.strides, padding=geometry.padding
        )
    else:
        convolve_on_cpu = partial(
            convolve_by_products, geometry=geometry, product_dtype=product_dtype
        )
    return lax.platform_dependent(x, kernel, cpu=convolve_on_cpu, default=convolve_by_xla)


def _is_image_convolution(x: Array, options: dict[str, Any]) -> bool:
    """Return True if a convolution has two spatial axes, and no option that only XLA offers.

    Those options are `lhs_dilation`, `precision` and `preferred_element_type`; `options` are
    arguments of `lax.conv_general_dilated`.
    """
    input_dilation = options.get("lhs_dilation") or ()
    is_transposed = any(dilation != 1 for dilation in input_dilation)
    precision_options = options.get("precision"), options.get("preferred_element_type")
    has_default_precision = precision_options == (None, None)
    return x.ndim == 4 and has_default_precision and not is_transposed


def _is_computed_by_conv2d(x: Array, kernel: Array, geometry: Geometry) -> bool:
    """Return True if `conv2d` has a fast method for a convolution; height and width are alike."""
    has_equal_strides = geometry.strides[0] == geometry.strides[1]
    has_equal_padding = geometry.padding[0] == geometry.padding[1]
    if not has_equal_strides or not has_equal_padding:
        return False
    if geometry.groups != 1 or geometry.dilation != (1, 1):
        return False
    return uses_small_kernel_method(x.shape, kernel.shape, geometry.strides[0], geometry.padding[0])


def _make_geometry(
    x: Array,
    kernel: Array,
    strides: Sequence[int],
    padding: str | Sequence[tuple[int, int]],
    groups: int,
    options: dict[str, Any],
) -> Geometry:
    """Return a convolution's strides, padding, dilation and groups as a `Geometry`.

    The arguments are those of `lax.conv_general_dilated`.
    """
    dilation = tuple(options.get("rhs_dilation") or (1, 1))
    if isinstance(padding, str):
        read_extents = []  # pixels from the first that a kernel reads to the last
        for weight_count, distance in zip(kernel.shape[:2], dilation, strict=True):
            read_extents.append((weight_count - 1) * distance + 1)
        padding = lax.padtype_to_pads(x.shape[1:3], read_extents, strides, padding)
    pads = tuple((int(leading), int(trailing)) for leading, trailing in padding)
    return Geometry(tuple(strides), pads, dilation, groups)


def _has_separate_patches(x: Array, kernel: Array, geometry: Geometry) -> bool:
    """Return True if a kernel without padding divides the images into patches without overlap."""
    _, image_height, image_width, _ = x.shape
    kernel_height, kernel_width = kernel.shape[:2]
    divides_images = image_height % kernel_height == 0 and image_width % kernel_width == 0
    patches = Geometry(kernel.shape[:2], ((0, 0), (0, 0)))
    return divides_images and geometry == patches


def _convolve_patches(x: Array, kernel: Array) -> Array:
    """Convolve with a stride equal to the kernel's size, by one matrix product over all patches."""
    batch, height, width, channels = x.shape
    kernel_height, kernel_width, _, features = kernel.shape
    rows, columns = height // kernel_height, width // kernel_width  # of patches
    x = x.reshape(batch, rows, kernel_height, columns, kernel_width, channels)
    patches = x.swapaxes(2, 3).reshape(batch, rows, columns, -1)
    return patches @ kernel.reshape(-1, features)


def _convolve_each_channel(x: Array, kernel: Array, strides: Pair, padding: Paddings) -> Array:
    outputs_at_stride_1 = depthwise(x, kernel[:, :, 0], padding)
    return outputs_at_stride_1[:, :: strides[0], :: strides[1]]


def _is_depthwise(x: Array, kernel: Array, geometry: Geometry) -> bool:
    """Return True if each channel has one kernel, without dilation, and the padding is small.

    The padding on each side must be at least 0 and less than the kernel's size.
    """
    channels, features = x.shape[-1], kernel.shape[-1]
    has_one_kernel_per_channel = geometry.groups == channels and channels == features
    if geometry.groups == 1 or not has_one_kernel_per_channel:
        return False
    zeros_and_extents = zip(geometry.padding, kernel.shape[:2], strict=True)
    has_small_padding = all(
        min(zeros) >= 0 and max(zeros) < kernel_extent for zeros, kernel_extent in zeros_and_extents
    )
    return has_small_padding and geometry.dilation == (1, 1)
