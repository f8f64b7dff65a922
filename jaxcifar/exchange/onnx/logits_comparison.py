"""Compare the logits of an ONNX graph, by ONNX Runtime, with the logits of its network, by JAX."""

import importlib
from typing import Any

import jax
import numpy as np

from jaxcifar.errors import RunError, first_line
from jaxcifar.exchange.logits_function import LogitsFunction, random_images
from jaxcifar.exchange.onnx.function_graph import IMAGES
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS

_BATCH_SIZES = (1, 3)
# Largest difference of logits, as a fraction of the largest logit. Rounding in float32 gives 1e-5
# or less. A network that computes in 16 bits is rounded in JAX, but not in the graph.
_TOLERANCE, _TOLERANCE_OF_16_BITS = 1e-3, 5e-2
_SMALLEST_DIFFERENCE = 1e-6  # that counts, for networks whose logits are all near zero


def compare_logits_if_possible(
    content: bytes, function: LogitsFunction, variables: Any, image_shape: tuple[int, ...]
) -> bool:
    """Compare the logits of an ONNX graph with the network's, for random images.

    Args:
      content: the ONNX file.
      function: the network, which maps variables and uint8 images to logits.
      variables: the network's variables.
      image_shape: the shape of one image.

    Returns:
      True if the logits were compared; False if ONNX Runtime is not installed.

    Raises:
      RunError: the logits differ by more than rounding, or ONNX Runtime can't run the graph.
    """
    try:
        onnxruntime = importlib.import_module("onnxruntime")
    except ImportError:
        return False
    images = random_images(max(_BATCH_SIZES), image_shape)
    session = _session_of_graph(onnxruntime, content)
    for image_count in _BATCH_SIZES:
        batch = images[:image_count]
        try:
            [logits] = session.run(None, {IMAGES: batch})
        except Exception as error:
            reason = f"ONNX Runtime can't run it for a batch of {image_count} ({first_line(error)})"
            raise _refusal(reason) from error
        with jax.default_matmul_precision("float32"):
            compiled_quickly = jax.jit(function, compiler_options=FAST_COMPILE_OPTIONS)
            traced = compiled_quickly.trace(variables, batch)
            expected_logits = np.asarray(traced.lower().compile()(variables, batch))
        computes_in_16_bits = "f16[" in str(traced.jaxpr)  # float16 or bfloat16
        tolerance = _TOLERANCE_OF_16_BITS if computes_in_16_bits else _TOLERANCE
        require_equal_logits(logits, expected_logits, tolerance)
    return True


def _session_of_graph(onnxruntime: Any, content: bytes) -> Any:
    """Return an `onnxruntime.InferenceSession` for the content of an ONNX file."""
    no_messages = 4  # our message alone reports a failure
    options = onnxruntime.SessionOptions()
    options.log_severity_level = no_messages
    try:
        return onnxruntime.InferenceSession(content, options, ["CPUExecutionProvider"])
    except Exception as error:  # of several types
        reason = f"ONNX Runtime can't load it ({first_line(error)})"
        raise _refusal(reason) from error


def require_equal_logits(logits: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Raise RunError if the logits of an ONNX graph differ from the network's by too much.

    Args:
      logits: logits of the graph.
      expected: logits of the network.
      tolerance: largest difference, as a fraction of the largest expected logit.
    """
    these_logits = f"its logits for a batch of {len(expected)}"
    if logits.shape != expected.shape:
        shapes = f"{list(logits.shape)}, not {list(expected.shape)}"
        reason = f"{these_logits} have the shape {shapes}"
        raise _refusal(reason)
    is_finite = np.isfinite(expected)
    if not np.array_equal(logits[~is_finite], expected[~is_finite], equal_nan=True):
        reason = f"{these_logits} are finite where the network's are not"
        raise _refusal(reason)
    largest_logit = np.max(np.abs(expected[is_finite]), initial=0.0)
    difference = np.max(np.abs(logits[is_finite] - expected[is_finite]), initial=0.0)
    largest_difference = tolerance * largest_logit + _SMALLEST_DIFFERENCE
    is_close = difference <= largest_difference
    if not is_close:  # NaN too
        reason = (
            f"{these_logits} differ from the network's by {difference:.2g} (the largest logit is "
            f"{largest_logit:.2g})"
        )
        raise _refusal(reason)


def _refusal(reason: str) -> RunError:
    """Return the error for an ONNX graph that does not compute what its network computes."""
    return RunError(
        f"no file was written, because the ONNX graph is wrong: {reason}; use --to stablehlo"
    )
