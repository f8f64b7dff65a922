"""What is wrong with somebody's own update rule or augmentation, told before training."""

import jax
import jax.numpy as jnp
import optax

from jaxcifar import own_code
from jaxcifar.config import Config
from jaxcifar.errors import UsageError
from jaxcifar.training.program import Program


def check_training(config: Config, program: Program) -> None:
    """Trace them on arrays of the right shapes; nothing is computed.

    Raises:
      UsageError: one fails or gives something else than it must; in one line, with file and line.
    """
    scalar = jax.ShapeDtypeStruct((), jnp.float32)
    weights = {"kernel": jax.ShapeDtypeStruct((3, 4), jnp.float32)}
    with own_code.telling_of_own_code("optimizer", config.optimizer):
        rule = program.optimizer(0.1, 0.9, 5e-4)
        if not isinstance(rule, optax.GradientTransformation):
            raise UsageError(
                f"--optimizer {config.optimizer}: gives {type(rule).__name__}, not an optax rule"
            )

        def update(params: dict[str, jax.Array], *settings: jax.Array) -> dict[str, jax.Array]:
            rule = program.optimizer(*settings)
            return rule.update(params, rule.init(params), params)[0]

        jax.eval_shape(update, weights, scalar, scalar, scalar)
    images = jax.ShapeDtypeStruct((4, 32, 32, 3), jnp.float32)
    key = jax.eval_shape(lambda: jax.random.key(0))
    with own_code.telling_of_own_code("augmentation", config.augmentation):
        changed = jax.eval_shape(program.augmentation, key, images)
    if getattr(changed, "shape", None) != images.shape:
        shown = getattr(changed, "shape", type(changed).__name__)
        raise UsageError(
            f"--augmentation {config.augmentation}: gives {shown} for images of shape "
            f"{images.shape}; it must give images of the same shape"
        )
