"""What is wrong with somebody's own code, told before anything is trained."""

from functools import partial

import jax
import jax.numpy as jnp
import optax

from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import NAMED
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.data import Examples
from jaxcifar.errors import UsageError, first_line
from jaxcifar.training import network
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters
from jaxcifar.training.together import Together


def check_training(
    config: Config, together: Together, hp: Hyperparameters, examples: Examples
) -> None:
    """Trace what will be compiled where it may not fit: nothing is computed.

    Args:
      config: names the code.
      together: of its program.
      hp: hyper-parameters of a run.
      examples: training images and labels.

    Raises:
      UsageError: something fails or gives something else than it must; in one line, with file and
        line.
    """
    if together.program.small_size:
        _check_small_images(config, together.program, hp, examples)
    if not config.sources:
        return
    named = [(kind, getattr(config, kind)) for kind in NAMED]
    with explain_user_code_errors(*named):
        _check_rule(config, together.program, hp)
        _check_augmentation(config, together.program)
        together.traced(hp, examples.images, examples.labels)


def _check_rule(config: Config, program: Program, hp: Hyperparameters) -> None:
    rule = program.optimizer(hp.learning_rate[0], *hp.rule)
    if not isinstance(rule, optax.GradientTransformation):
        raise UsageError(
            f"--optimizer {config.optimizer}: gives {type(rule).__name__}, not an optax rule"
        )


def _check_small_images(
    config: Config, program: Program, hp: Hyperparameters, examples: Examples
) -> None:
    size, state = config.small_size, program.init.eval_shape(program, hp, examples.images)
    images = jax.ShapeDtypeStruct((program.batch_size, size, size, 3), jnp.float32)
    try:
        jax.eval_shape(
            partial(network.predict, network.alone(program.model)), state.variables, images
        )
    except Exception as error:  # whatever the network's layers raise
        raise UsageError(
            f"--small-size {size}: {config.network_title} takes no images of {size} pixels "
            f"({first_line(error)})"
        ) from error


def _check_augmentation(config: Config, program: Program) -> None:
    part = program.batch_size // program.mesh.size
    images = jax.ShapeDtypeStruct((part, 32, 32, 3), jnp.float32)
    changed = jax.eval_shape(program.augmentation, jax.random.key(0), images)
    if getattr(changed, "shape", None) != images.shape:
        shown = getattr(changed, "shape", type(changed).__name__)
        raise UsageError(
            f"--augmentation {config.augmentation}: gives {shown} for images of shape "
            f"{images.shape}; it must give images of the same shape"
        )
