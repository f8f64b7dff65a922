"""2-D convolution: by XLA on accelerators, by matrix products with fewer multiplications on a CPU.

On a CPU most of a training step's time goes into multiplications. Also, before jaxlib 0.12, XLA's
convolution is 10 to 100 times slower inside a loop than outside; matrix products are not.
"""

from functools import partial
from itertools import product

import jax
import jax.numpy as jnp
from jax import Array, lax

from jaxcifar.array_types import Float
from jaxcifar.kernels import general_convolution
from jaxcifar.kernels.direct_convolution import Padding, convolve_by_xla, convolve_directly
from jaxcifar.kernels.gradients import pointwise
from jaxcifar.kernels.winograd import Dtype, winograd
from jaxcifar.kernels.winograd_tiling import Extents
from jaxcifar.kernels.winograd_transforms import pad_to_extents
from jaxcifar.machine import onednn


# Compiled by itself, so that JAX traces and differentiates equal convolutions only once: this
# halves the time in which a ResNet is traced.
@partial(jax.jit, static_argnames=("stride", "padding", "product_dtype"))
def conv2d(
    x: Float[Array, "batch height width channels"],
    kernel: Float[Array, "size size channels features"],
    stride: int = 1,
    bias: Float[Array, "features"] | None = None,
    padding: Padding | None = None,
    product_dtype: Dtype | None = None,
) -> Float[Array, "batch out_height out_width features"]:
    """Convolve images with a square kernel; all arrays have the same dtype.

    Args:
      x: images.
      kernel: weights of the inputs in the square around each output.
      stride: along both axes.
      bias: added to every output; None for zeros.
      padding: zeros (before, after) along both axes; None for `size // 2` on each side.
      product_dtype: on a CPU, Winograd's method rounds the operands of its matrix products to this
        dtype; None for float32, even if the arrays have another dtype. If `product_dtype` and the
        arrays' dtype are bfloat16, a CPU with oneDNN uses `convolve_directly` instead.

    Returns:
      the outputs; out_height is ceil(height / stride) if an odd kernel has the default padding.
    """
    if bias is None:
        bias = jnp.zeros(kernel.shape[-1], x.dtype)
    if padding is None:
        padding = (len(kernel) // 2, len(kernel) // 2)
    convolve_elsewhere = partial(_convolve_by_xla, stride=stride, padding=padding)
    product_dtype = jnp.dtype(product_dtype or jnp.float32)
    geometry = _geometry(stride, padding)
    can_use_products = general_convolution.can_convolve_by_products(x, kernel, geometry)
    is_bfloat16 = x.dtype == jnp.bfloat16 and product_dtype == jnp.bfloat16
    # Without oneDNN, XLA's convolution of bfloat16 would be far slower than Winograd's method.
    if is_bfloat16 and can_use_products and onednn.is_on():
        convolve_on_cpu = partial(convolve_directly, stride=stride, padding=padding)
    elif uses_small_kernel_method(x.shape, kernel.shape, stride, padding):
        convolve_on_cpu = partial(
            _convolve_with_small_kernel, stride=stride, padding=padding, product_dtype=product_dtype
        )
    elif not can_use_products:
        return convolve_elsewhere(x, kernel, bias)
    else:
        convolve_on_cpu = partial(
            _convolve_with_any_kernel, geometry=geometry, product_dtype=product_dtype
        )
    return lax.platform_dependent(x, kernel, bias, cpu=convolve_on_cpu, default=convolve_elsewhere)


def uses_small_kernel_method(
    images_shape: tuple[int, ...], kernel_shape: tuple[int, ...], stride: int, padding: Padding
) -> bool:
    """Return True if `conv2d` on a CPU uses a method for small kernels for arrays of these shapes.

    There are such methods for 1x1 kernels without padding, for 2x2 and 3x3 kernels at stride 1, and
    for 3x3 kernels at stride 2 with up to one zero before the image. The module
    `general_convolution` computes all other convolutions.
    """
    kernel_size = kernel_shape[:2]
    if kernel_size == (1, 1):
        return padding == (0, 0)
    if stride == 1:
        is_supported = kernel_size in [(2, 2), (3, 3)]
    else:
        is_supported = stride == 2 and kernel_size == (3, 3) and padding[0] in (0, 1)
    output_extents = _geometry(stride, padding).output_extents(images_shape, kernel_shape)
    return is_supported and min(output_extents) > 0


def _geometry(stride: int, padding: Padding) -> general_convolution.Geometry:
    """Return the form of a convolution with equal strides and padding along both axes."""
    return general_convolution.Geometry((stride, stride), (padding, padding))


def _convolve_by_xla(x: Array, kernel: Array, bias: Array, stride: int, padding: Padding) -> Array:
    return convolve_by_xla(x, kernel, stride, (padding, padding)) + bias


def _convolve_with_any_kernel(
    x: Array,
    kernel: Array,
    bias: Array,
    geometry: general_convolution.Geometry,
    product_dtype: Dtype,
) -> Array:
    return general_convolution.convolve_by_products(x, kernel, geometry, product_dtype) + bias


def _convolve_with_small_kernel(
    x: Array,
    kernel: Array,
    bias: Array,
    stride: int,
    padding: Padding,
    product_dtype: Dtype,
) -> Array:
    if len(kernel) == 1:
        return pointwise(x[:, ::stride, ::stride], kernel[0, 0]) + bias
    leading_zeros = padding[0]
    output_extents = _geometry(stride, padding).output_extents(x.shape, kernel.shape)
    if stride == 2:  # equal to a 2x2 kernel at stride 1 on blocks of 2x2 pixels
        x = _space_to_depth(x)
        kernel = _space_to_depth_kernel(kernel, leading_zeros)
    if x.shape[-1] <= general_convolution.MAX_IM2COL_CHANNELS:
        return _convolve_by_im2col(x, kernel, bias, leading_zeros, output_extents)
    outputs = winograd(
        x.astype(jnp.float32),
        kernel.astype(jnp.float32),
        bias.astype(jnp.float32),
        leading_zeros,
        output_extents,
        product_dtype,
    )
    return outputs.astype(x.dtype)


def _space_to_depth(x: Array) -> Array:
    """Return images with each 2x2 block as one pixel: `[B, ceil(H / 2), ceil(W / 2), 4 C]`."""
    _, height, width, channels = x.shape
    block_rows, block_columns = (height + 1) // 2, (width + 1) // 2  # rounded up
    x = pad_to_extents(x, 0, (2 * block_rows, 2 * block_columns))
    blocks = x.reshape(-1, block_rows, 2, block_columns, 2, channels).swapaxes(2, 3)
    return blocks.reshape(-1, block_rows, block_columns, 4 * channels)


def _space_to_depth_kernel(kernel: Array, leading_zeros: int) -> Array:
    """Return a 2x2 kernel `[2, 2, 4 C, K]` that replaces a 3x3 kernel with stride 2.

    The new kernel is for the result of `_space_to_depth`, at stride 1, and gives the same output.
    `leading_zeros` is the number of zeros before the image, 0 or 1.
    """
    _, _, channels, features = kernel.shape
    pads = (leading_zeros, 1 - leading_zeros)
    kernel = jnp.pad(kernel, (pads, pads, (0, 0), (0, 0)))  # 4x4
    blocks = kernel.reshape(2, 2, 2, 2, channels, features).swapaxes(1, 2)
    return blocks.reshape(2, 2, 4 * channels, features)


def _convolve_by_im2col(
    x: Array, kernel: Array, bias: Array, leading_zeros: int, output_extents: Extents
) -> Array:
    """Convolve at stride 1 by one matrix product: the inputs of each output times the weights.

    To add the bias, each output has one more input, 1, whose weight is the bias. The images get
    `leading_zeros` zeros above and to the left. `output_extents` is the output's height and width.
    """
    kernel_size, features = len(kernel), kernel.shape[-1]
    batch = len(x)
    height, width = output_extents
    # With pixels last, the product for the kernel's gradient needs no transposed copies.
    padded_extents = [extent + kernel_size - 1 for extent in output_extents]
    channels_first = pad_to_extents(x, leading_zeros, padded_extents).transpose(3, 0, 1, 2)
    inputs = [  # for each row and column of the kernel: the inputs of all outputs
        channels_first[:, :, row : row + height, column : column + width]
        for row, column in product(range(kernel_size), repeat=2)
    ]
    ones = jnp.ones((1, batch, height, width), x.dtype)
    input_matrix = jnp.concatenate([*inputs, ones]).reshape(-1, batch * height * width)
    weights = jnp.concatenate([kernel.reshape(-1, features), bias[None]])
    outputs = input_matrix.T @ weights
    return outputs.reshape(batch, height, width, features)
