"""Compute the input of the dense layer that computes a network's logits."""

from collections.abc import Iterator

import jax
import numpy as np

from jaxcifar.errors import RunError, UsageError
from jaxcifar.training.head import LogitsAndCalls, dense_calls
from jaxcifar.training.network import Variables
from jaxcifar.training.predicting import EVAL_BATCH, eval_batch_size
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_MAX_RELATIVE_ERROR = 0.02  # rounding to bfloat16, which has 8 bits, gives less


def last_features(
    program: Program, variables: Variables, hyper: Hyperparameters, pixels: np.ndarray, title: str
) -> Iterator[np.ndarray]:
    """Yield the features of the images batch by batch, as arrays `[images of batch, D] float32`.

    The features of an image are the D inputs of the dense layer that computes the logits.

    Args:
      program: the compiled program of the network, for one device.
      variables: the network's arrays by collection.
      hyper: hyper-parameters; only the mean and deviation of images are used.
      pixels: images of the network's size, `[N, H, W, 3] uint8`.
      title: name of the network, for messages.

    Raises:
      UsageError: no dense layer computes the network's logits.
      RunError: a feature or logit is not finite.
    """
    # A power of two for few images, so that few programs are compiled.
    next_power_of_two = 2 ** (len(pixels) - 1).bit_length()
    batch_size = min(EVAL_BATCH, eval_batch_size(pixels.shape), next_power_of_two)
    image_shape = pixels.shape[1:]
    for start in range(0, len(pixels), batch_size):
        batch = pixels[start : start + batch_size]
        padded_batch = np.zeros((batch_size, *image_shape), np.uint8)
        padded_batch[: len(batch)] = batch
        images = jax.device_put(padded_batch, program.replicated)
        logits_and_calls = dense_calls(program, variables, hyper, images)
        features = _input_of_last_layer(logits_and_calls, title)[: len(batch)]
        if not np.isfinite(features).all():
            raise RunError(
                f"{title}: some features are not finite numbers; train with a lower learning rate"
            )
        yield features


def _input_of_last_layer(logits_and_calls: LogitsAndCalls, title: str) -> np.ndarray:
    """Return the inputs of the dense layer that computes the logits.

    It is the last dense layer from whose outputs the logits differ only by a scale and an offset.

    Raises:
      UsageError: there is no such layer.
      RunError: a logit is not finite.
    """
    logits = np.asarray(logits_and_calls.logits)
    if not np.isfinite(logits).all():
        raise RunError(
            f"{title}: the logits are not finite numbers; train with a lower learning rate"
        )
    for call in reversed(logits_and_calls.calls):
        if _differ_only_by_scale_and_offset(np.asarray(call.outputs), logits):
            return np.asarray(call.inputs)
    raise UsageError(
        f"{title}: has no features, because no dense layer (nn.Dense) computes its logits from one "
        "vector for each image; end the network with such a layer"
    )


def _differ_only_by_scale_and_offset(outputs: np.ndarray, logits: np.ndarray) -> bool:
    """Return True if a network's logits are a layer's outputs times a scale, plus an offset.

    The scale is one number for all images, and the offset is one number for each image. So a
    network may scale the outputs, or return log-probabilities.
    """
    outputs_without_offset = outputs - outputs.mean(-1, keepdims=True, dtype=np.float64)
    logits_without_offset = logits - logits.mean(-1, keepdims=True, dtype=np.float64)
    are_outputs_constant = not outputs_without_offset.any()
    are_logits_constant = not logits_without_offset.any()
    if are_outputs_constant:
        return are_logits_constant
    product_sum = (outputs_without_offset * logits_without_offset).sum()
    least_squares_scale = product_sum / (outputs_without_offset**2).sum()
    error = np.linalg.norm(logits_without_offset - least_squares_scale * outputs_without_offset)
    max_error = _MAX_RELATIVE_ERROR * np.linalg.norm(logits_without_offset)
    return bool(least_squares_scale != 0 and error <= max_error)
