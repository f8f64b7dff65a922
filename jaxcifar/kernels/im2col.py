"""Convolution by one matrix product: the inputs of each output times the weights (im2col)."""

from itertools import product

import jax.numpy as jnp
from jax import Array

from jaxcifar.array_types import Float32


def convolve_by_im2col(
    x: Float32[Array, "batch height width channels"],
    kernel: Float32[Array, "rows columns channels features"],
) -> Float32[Array, "batch out_height out_width features"]:
    """Convolve images without padding, at stride 1, by one product of two matrices.

    One matrix has all inputs of an output in each row; the other matrix has the weights.
    """
    rows, columns, _, features = kernel.shape
    batch, image_height, image_width, _ = x.shape
    height = image_height - rows + 1
    width = image_width - columns + 1
    # With pixels last, the product for the kernel's gradient needs no transposed copies.
    channels_first = x.transpose(3, 0, 1, 2)
    inputs = [
        channels_first[:, :, row : row + height, column : column + width]
        for row, column in product(range(rows), range(columns))
    ]
    input_matrix = jnp.concatenate(inputs).reshape(-1, batch * height * width)
    outputs = input_matrix.T @ kernel.reshape(-1, features)
    return outputs.reshape(batch, height, width, features)
