"""Export a trained network as a StableHLO function that any device can compile."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
from jax import export

from jaxcifar.config import registry
from jaxcifar.errors import UsageError, first_line
from jaxcifar.exchange.logits_function import logits_function, random_images
from jaxcifar.image_size import image_shape
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Classifier

PLATFORMS = ("cpu", "cuda", "tpu")
_COMPARED_IMAGES = 3
# Largest difference of logits, as a fraction of the largest logit. Rounding gives less, even in
# networks that compute in 16 bits.
_TOLERANCE = 5e-2


def export_logits(classifier: Classifier) -> export.Exported:
    """Export a trained network as a function from images to logits, as `jax.export` does.

    The function maps `[N, H, W, 3] uint8` images to `[N, classes] float32` logits. N may be any
    number; H and W are the run's image size. The function contains the weights and computes in
    float32 on every device. The network gets one image at a time, because N is unknown during
    tracing. So user code that asks for the batch size, for example with `len`, does not fail.
    """
    logits_of_batch = logits_function(classifier)
    variables = jax.device_get(classifier.variables)

    def logits(image: jax.Array) -> jax.Array:
        constants = jax.tree.map(jnp.asarray, variables)
        batch_of_one_image = image[None]
        batch_of_one_result = logits_of_batch(constants, batch_of_one_image)
        return batch_of_one_result[0]

    image_size = classifier.config.image_size
    images_shape = export.symbolic_shape(f"batch, {image_size}, {image_size}, 3")
    images = jax.ShapeDtypeStruct(images_shape, jnp.uint8)
    logits_of_each_image = jax.jit(jax.vmap(logits))
    # By default, GPUs and TPUs round the operands of matrix products.
    with jax.default_matmul_precision("float32"), _without_debug_prints():
        return export.export(logits_of_each_image, platforms=PLATFORMS)(images)


@contextmanager
def _without_debug_prints() -> Iterator[None]:
    """Make `jax.debug.print` and `callback` do nothing in a `with` block.

    A network that calls them can then be exported; StableHLO files can't contain such calls.
    """

    def do_nothing(*args: object, **options: object) -> None:
        pass

    original_functions = {name: getattr(jax.debug, name) for name in ("print", "callback")}
    try:
        for name in original_functions:
            setattr(jax.debug, name, do_nothing)
        yield
    finally:
        for name, function in original_functions.items():
            setattr(jax.debug, name, function)


def write_stablehlo(classifier: Classifier, path: Path) -> None:
    """Write a trained network as StableHLO to a file that `jax.export.deserialize` can read.

    Raises:
      UsageError: the network can't be exported, or its logits for an image depend on the other
        images of the batch.
      OSError: the file can't be written.
    """
    try:
        exported = export_logits(classifier)
        content = exported.serialize()
    except Exception as error:  # such as a callback to Python in a user's network
        reason = f"of {type(error).__name__}: {first_line(error)}"
        raise _export_error(reason) from error
    could_mix_images = registry.is_user_code(classifier.config.arch)
    if could_mix_images:
        _require_independent_images(classifier, exported)
    with atomic_write(path) as file:
        file.write(content)


def _require_independent_images(classifier: Classifier, exported: export.Exported) -> None:
    """Raise UsageError if the logits of an image depend on the other images of the batch.

    The exported function gives the network one image at a time. The logits must be the same if the
    network gets all images together.
    """
    images = random_images(_COMPARED_IMAGES, image_shape(classifier.config.image_size))
    with jax.default_matmul_precision("float32"):
        logits_of_batch = logits_function(classifier)
        compute_together = jax.jit(logits_of_batch, compiler_options=FAST_COMPILE_OPTIONS)
        expected_logits = np.asarray(compute_together(classifier.variables, images))
        compute_separately = jax.jit(exported.call, compiler_options=FAST_COMPILE_OPTIONS)
        logits = np.asarray(compute_separately(images))
    finite_logits = expected_logits[np.isfinite(expected_logits)]
    largest_logit = np.max(np.abs(finite_logits), initial=0.0)
    max_difference = _TOLERANCE * largest_logit
    if not np.allclose(logits, expected_logits, rtol=0, atol=max_difference, equal_nan=True):
        reason = (
            "its logits for an image depend on the other images of the batch, for example by "
            "x.mean(0) or by a BatchNorm that uses the batch in evaluation"
        )
        raise _export_error(reason)


def _export_error(reason: str) -> UsageError:
    return UsageError(
        f"the network can't be exported to StableHLO, because {reason}; use --to safetensors"
    )
