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

_MAX_RELATIVE_ERROR = 0.02  # relative; bfloat16 has 8 bits


def last_features(
    program: Program, variables: Variables, hyper: Hyperparameters, pixels: np.ndarray, title: str
) -> Iterator[np.ndarray]:
    """Yield the features of all images, in batches `[n, D] float32`.

    The features of an image are the inputs of the dense layer that computes the logits.

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
    for start in range(0, len(pixels), batch_size):
        block = pixels[start : start + batch_size]
        padded = np.zeros((batch_size, *pixels.shape[1:]), np.uint8)
        padded[: len(block)] = block
        images = jax.device_put(padded, program.replicated)
        logits_and_calls = dense_calls(program, variables, hyper, images)
        features = _input_of_last_layer(logits_and_calls, title)[: len(block)]
        if not np.isfinite(features).all():
            raise RunError(
                f"{title}: some features are not finite numbers; train with a lower learning rate"
            )
        yield features


def _input_of_last_layer(logits_and_calls: LogitsAndCalls, title: str) -> np.ndarray:
    """Return the input of the last dense layer whose output is proportional to the logits."""
    logits = np.asarray(logits_and_calls.logits)
    if not np.isfinite(logits).all():
        raise RunError(
            f"{title}: the logits are not finite numbers; train with a lower learning rate"
        )
    for call in reversed(logits_and_calls.calls):
        if _are_proportional(np.asarray(call.outputs), logits):
            return np.asarray(call.inputs)
    raise UsageError(
        f"{title}: has no features, because no dense layer (nn.Dense) computes its logits from one "
        "vector for each image; end the network with such a layer"
    )


def _are_proportional(outputs: np.ndarray, logits: np.ndarray) -> bool:
    """Return True if a network's logits are a layer's outputs times a number, plus an offset.

    The number is the same for all images, and the offset may differ between images. So a network
    may scale the outputs, or return log-probabilities.
    """
    centred_outputs = outputs - outputs.mean(-1, keepdims=True, dtype=np.float64)
    centred_logits = logits - logits.mean(-1, keepdims=True, dtype=np.float64)
    if not centred_outputs.any():
        return not centred_logits.any()
    factor = (centred_outputs * centred_logits).sum() / (centred_outputs**2).sum()
    error = np.linalg.norm(centred_logits - factor * centred_outputs)
    max_error = _MAX_RELATIVE_ERROR * np.linalg.norm(centred_logits)
    return bool(factor != 0 and error <= max_error)
