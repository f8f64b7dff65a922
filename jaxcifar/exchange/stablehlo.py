"""Export a trained network as a StableHLO function that any device can compile."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from jaxcifar.build.model import create_model
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment, network

PLATFORMS = ("cpu", "cuda", "tpu")


def export_logits(classifier: Classifier) -> export.Exported:
    """Export a trained network as a function from images to logits, as `jax.export` does.

    The function maps `[N, H, W, 3] uint8` images to `[N, classes] float32` logits. N may be any
    number; H and W are the run's image size. The function contains the weights and computes in
    float32 on every device. The network gets one image at a time, because N is unknown during
    tracing. So user code that asks for the batch size, for example with `len`, does not fail.
    """
    model = create_model(classifier.config, len(classifier.class_names))
    variables = jax.device_get(classifier.variables)

    def logits(image: jax.Array) -> jax.Array:
        pixels = augment.pixels(image)
        normalized_image = augment.normalize(pixels, classifier.mean, classifier.std)
        constants = jax.tree.map(jnp.asarray, variables)
        return network.predict(model, constants, normalized_image[None])[0]

    image_size = classifier.config.image_size
    images_shape = export.symbolic_shape(f"batch, {image_size}, {image_size}, 3")
    images = jax.ShapeDtypeStruct(images_shape, jnp.uint8)
    logits_of_images = jax.jit(jax.vmap(logits))
    # By default, GPUs and TPUs round the operands of matrix products.
    with jax.default_matmul_precision("float32"):
        return export.export(logits_of_images, platforms=PLATFORMS)(images)


def write_stablehlo(classifier: Classifier, path: Path) -> None:
    """Write a trained network as StableHLO to a file that `jax.export.deserialize` can read.

    Raises:
      OSError: the file can't be written.
    """
    content = export_logits(classifier).serialize()
    with atomic_write(path) as file:
        file.write(content)
