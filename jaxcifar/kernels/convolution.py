"""2-D convolution: XLA's own on accelerators, by fewer multiplications on a CPU.

On a CPU the multiplications bound a training step, and within a loop XLA's convolution is an order
of magnitude slower than outside. Matrix products have neither trouble.
"""

from functools import partial

import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels.gradients import pointwise
from jaxcifar.kernels.winograd import Dtype, Extents, padded, winograd

_FEW_CHANNELS = 8  # up to here a product over channels alone is too thin

Padding = tuple[int, int]  # zeros before and after, along either axis


def conv2d(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    stride: int = 1,
    bias: Float[Array, "features"] | None = None,
    padding: Padding | None = None,
    operands: Dtype | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve with a square kernel; all arrays have the same dtype.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      stride: 1 or 2, along both axes.
      bias: is added to every output.
      padding: zeros before and after, along either axis; `size // 2` on every side by default.
      operands: what the operands of Winograd's products are rounded to, on a CPU; float32 by
        default, whatever the dtype.

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
    """Whether `conv2d` has matrix products for arguments of these shapes, on a CPU."""
    size = kernel_shape[:2]
    if size == (1, 1):
        return padding == (0, 0)
    in_blocks = (size, stride) == ((3, 3), 2) and padding[0] in (0, 1)
    fits = in_blocks or (stride == 1 and size in [(2, 2), (3, 3)])
    return fits and min(_extents(shape, size, stride, padding)) > 0


def _extents(shape: tuple[int, ...], size: Extents, stride: int, padding: Padding) -> Extents:
    """Height and width of the output."""
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
    if stride == 2:  # the same as a 2x2 kernel on 2x2 blocks of pixels
        x, kernel = _blocks(x), _kernel_of_blocks(kernel, before)
    if x.shape[-1] <= _FEW_CHANNELS:
        return _unrolled(x, kernel, bias, before, extents)
    single = (array.astype(jnp.float32) for array in (x, kernel, bias))
    return winograd(*single, before, extents, operands).astype(x.dtype)


def _blocks(x: Array) -> Array:
    """`[B, H, W, C]` -> `[B, ceil(H / 2), ceil(W / 2), 4 C]`, zeros behind an odd extent."""
    height, width = (-(-extent // 2) for extent in x.shape[1:3])
    x = padded(x, 0, (2 * height, 2 * width))
    x = x.reshape(-1, height, 2, width, 2, x.shape[-1]).swapaxes(2, 3)
    return x.reshape(-1, height, width, 4 * x.shape[-1])


def _kernel_of_blocks(kernel: Array, first: int) -> Array:
    """`[3, 3, C, K]` -> `[2, 2, 4 C, K]`, with `first` zeros before and the others behind."""
    _, _, channels, features = kernel.shape
    pad = (first, 1 - first)
    kernel = jnp.pad(kernel, (pad, pad, (0, 0), (0, 0)))
    kernel = kernel.reshape(2, 2, 2, 2, channels, features).swapaxes(1, 2)
    return kernel.reshape(2, 2, 4 * channels, features)


def _unrolled(x: Array, kernel: Array, bias: Array, before: int, extents: Extents) -> Array:
    """One product over all pixels under the kernel, and a one for the bias."""
    size, features = len(kernel), kernel.shape[-1]
    batch, (height, width) = len(x), extents
    # Pixels last: the kernel's gradient is then a product of matrices as they lie in memory.
    x = padded(x, before, [extent + size - 1 for extent in extents]).transpose(3, 0, 1, 2)
    spots = [x[:, :, i : i + height, j : j + width] for i in range(size) for j in range(size)]
    ones = jnp.ones((1, batch, height, width), x.dtype)
    pixels = jnp.concatenate([*spots, ones]).reshape(-1, batch * height * width)
    weights = jnp.concatenate([kernel.reshape(-1, features), bias[None]])
    return (pixels.T @ weights).reshape(batch, height, width, features)
