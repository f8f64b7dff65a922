"""Constants that replace others when nodes of an ONNX graph are folded."""

import numpy as np


def combined_constant(operation: str, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return the constant of the single "Mul" or "Add" node that can replace two such nodes."""
    first_exact = first.astype(np.float64)
    combined = first_exact * second if operation == "Mul" else first_exact + second
    return combined.astype(np.float32)


def one_number_per_channel(
    constant: np.ndarray, axis_count: int, channel_count: int
) -> np.ndarray | None:
    """Return a constant as one number for each channel; None if it may differ within a channel.

    Args:
      constant: an array that is added to a layer's output, or multiplied with it. Its shape may be
        smaller than the output's: then it broadcasts.
      axis_count: number of axes of the layer's output; axis 1 has the channels.
      channel_count: number of channels.
    """
    is_scalar = constant.ndim == 0
    if is_scalar:
        return np.full(channel_count, constant, np.float64)
    if constant.ndim != axis_count:
        return None
    batch_size, channel_size, *spatial_sizes = constant.shape
    may_differ_within_channel = any(size != 1 for size in (batch_size, *spatial_sizes))
    fits_channels = channel_size in (1, channel_count)
    if may_differ_within_channel or not fits_channels:
        return None
    numbers = constant.reshape(channel_size).astype(np.float64)
    return np.broadcast_to(numbers, (channel_count,))


def scaled_along_axis(weights: np.ndarray, factors: np.ndarray, axis: int) -> np.ndarray:
    """Multiply an array by one factor for each position along an axis; return float32."""
    factor_shape = [1] * weights.ndim
    factor_shape[axis] = len(factors)
    scaled: np.ndarray = weights * factors.reshape(factor_shape)
    return scaled.astype(np.float32)
