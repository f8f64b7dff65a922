"""A trained network as one compiled function for any device: StableHLO, by `jax.export`."""

from pathlib import Path

import jax
import jax.numpy as jnp
from jax import export

from jaxcifar.build.model import create_model
from jaxcifar.machine.files import atomic_write
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training import augment, network

PLATFORMS = ("cpu", "cuda", "tpu")


def exported(classifier: Classifier) -> export.Exported:
    """Images `[N, 32, 32, 3] uint8` -> logits `[N, classes] float32`, for any N.

    The weights are constants in it, and it computes in float32 everywhere. The network sees one
    image at a time: that takes the batch's size out of its sight, which it may make use of in
    ways that only numbers allow (such as `len`).

    Args:
      classifier: of any network, somebody's own too.
    """
    model = create_model(classifier.config, len(classifier.class_names))
    variables = jax.device_get(classifier.variables)

    def logits(image: jax.Array) -> jax.Array:
        images = augment.normalize(augment.pixels(image), classifier.mean, classifier.std)
        constants = jax.tree.map(jnp.asarray, variables)
        return network.predict(model, constants, images[None])[0]

    shape = export.symbolic_shape("batch, 32, 32, 3")
    images = jax.ShapeDtypeStruct(shape, jnp.uint8)
    # Else a GPU or TPU would round the operands of products.
    with jax.default_matmul_precision("float32"):
        return export.export(jax.jit(jax.vmap(logits)), platforms=PLATFORMS)(images)


def write_stablehlo(classifier: Classifier, path: Path) -> None:
    """Write `exported`, which `jax.export.deserialize` reads.

    Raises:
      OSError: it can't be written.
    """
    content = exported(classifier).serialize()
    with atomic_write(path) as file:
        file.write(content)
