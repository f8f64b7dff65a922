"""2-D convolution: by XLA on accelerators, by matrix products with fewer multiplications on a CPU.

On a CPU most of a training step's time goes into multiplications. Also, XLA's convolution is ten
times slower inside a loop than outside; matrix products are not.
"""

from functools import partial
from itertools import product

import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.gradients import pointwise
from jaxcifar.kernels.winograd import Dtype, Extents, padded, winograd

_FEW_CHANNELS = 8  # with so few channels, products over channels only are inefficient

Padding = tuple[int, int]  # zeros before and after, the same along both axes


def conv2d(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    stride: int = 1,
    bias: Float[Array, "features"] | None = None,
    padding: Padding | None = None,
    operands: Dtype | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with a square kernel; all arrays have the same dtype.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      stride: 1 or 2, along both axes.
      bias: added to every output; None for zeros.
      padding: zeros (before, after) along both axes; None for `size // 2` on each side.
      operands: dtype to which a CPU rounds the operands of matrix products in Winograd's method;
        None for float32, even if the arrays have another dtype.

    Returns:
      the outputs; out_height is ceil(height / stride) if an odd kernel has the default padding.
    """
    bias = jnp.zeros(kernel.shape[-1], x.dtype) if bias is None else bias
    padding = padding or (len(kernel) // 2,) * 2
    by_xla = partial(_by_xla, stride=stride, padding=padding)
    if not has_products(x.shape, kernel.shape, stride, padding):
        return by_xla(x, kernel, bias)
    operands = jnp.dtype(operands or jnp.float32)
    by_products = partial(_by_products, stride=stride, padding=padding, operands=operands)
    return lax.platform_dependent(x, kernel, bias, cpu=by_products, default=by_xla)


def has_products(
    shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, padding: Padding
) -> bool:
    """Return True if `conv2d` uses matrix products on a CPU for images of this shape."""
    size = kernel_shape[:2]
    if size == (1, 1):
        return padding == (0, 0)
    if stride == 1:
        is_supported = size in [(2, 2), (3, 3)]
    else:
        is_supported = stride == 2 and size == (3, 3) and padding[0] in (0, 1)
    return is_supported and min(_extents(shape, size, stride, padding)) > 0


def _extents(shape: tuple[int, ...], size: Extents, stride: int, padding: Padding) -> Extents:
    """Return the height and width of a convolution's output."""
    height, width = (
        (given + sum(padding) - part) // stride + 1
        for given, part in zip(shape[1:3], size, strict=True)
    )
    return height, width


def _by_xla(x: Array, kernel: Array, bias: Array, stride: int, padding: Padding) -> Array:
    pads, layout = (padding, padding), ("NHWC", "HWIO", "NHWC")
    return lax.conv_general_dilated(x, kernel, (stride,) * 2, pads, None, None, layout) + bias


def _by_products(
    x: Array,
    kernel: Array,
    bias: Array,
    stride: int,
    padding: Padding,
    operands: Dtype,
) -> Array:
    if len(kernel) == 1:
        return pointwise(x[:, ::stride, ::stride], kernel[0, 0]) + bias
    before, extents = padding[0], _extents(x.shape, kernel.shape[:2], stride, padding)
    if stride == 2:  # equal to a 2x2 kernel at stride 1 on blocks of 2x2 pixels
        x, kernel = _blocks(x), _kernel_of_blocks(kernel, before)
    if x.shape[-1] <= _FEW_CHANNELS:
        return _unrolled(x, kernel, bias, before, extents)
    float32_arrays = (array.astype(jnp.float32) for array in (x, kernel, bias))
    return winograd(*float32_arrays, before, extents, operands).astype(x.dtype)


def _blocks(x: Array) -> Array:
    """Return images with each 2x2 block as one pixel: `[B, ceil(H / 2), ceil(W / 2), 4 C]`."""
    height, width = (-(-extent // 2) for extent in x.shape[1:3])
    x = padded(x, 0, (2 * height, 2 * width))
    x = x.reshape(-1, height, 2, width, 2, x.shape[-1]).swapaxes(2, 3)
    return x.reshape(-1, height, width, 4 * x.shape[-1])


def _kernel_of_blocks(kernel: Array, first: int) -> Array:
    """Return a 2x2 kernel for 2x2 blocks, `[2, 2, 4 C, K]`, equal to a 3x3 kernel at stride 2.

    `first` is the number of zeros before the image, 0 or 1.
    """
    _, _, channels, features = kernel.shape
    pad = (first, 1 - first)
    kernel = jnp.pad(kernel, (pad, pad, (0, 0), (0, 0)))
    kernel = kernel.reshape(2, 2, 2, 2, channels, features).swapaxes(1, 2)
    return kernel.reshape(2, 2, 4 * channels, features)


def _unrolled(x: Array, kernel: Array, bias: Array, before: int, extents: Extents) -> Array:
    """Convolve by one matrix product, where the bias is the weight of an added constant input 1."""
    size, features = len(kernel), kernel.shape[-1]
    batch, (height, width) = len(x), extents
    # With pixels last, the product for the kernel's gradient needs no transposed copies.
    x = padded(x, before, [extent + size - 1 for extent in extents]).transpose(3, 0, 1, 2)
    places = product(range(size), repeat=2)
    shifted = [x[:, :, i : i + height, j : j + width] for i, j in places]
    ones = jnp.ones((1, batch, height, width), x.dtype)
    pixels = jnp.concatenate([*shifted, ones]).reshape(-1, batch * height * width)
    weights = jnp.concatenate([kernel.reshape(-1, features), bias[None]])
    return (pixels.T @ weights).reshape(batch, height, width, features)
