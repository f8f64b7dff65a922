"""What is wrong with somebody's own code, told before anything is trained."""

from functools import partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np
import optax

from jaxcifar.build.update_rule import require_effect
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import USER_CODE_FIELDS
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.data import Examples
from jaxcifar.errors import UsageError, first_line
from jaxcifar.machine.sharing import PyTree
from jaxcifar.training import network, predicting
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState
from jaxcifar.training.together import Together

if TYPE_CHECKING:
    from jaxcifar.build.setup import Setup


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
    named = [(kind, getattr(config, kind)) for kind in USER_CODE_FIELDS]
    with explain_user_code_errors(*named):
        _check_rule(config, together.program, hp)
        _check_augmentation(config, together.program, hp)
        together.traced(hp, examples.images, examples.labels)


def _check_rule(config: Config, program: Program, hp: Hyperparameters) -> None:
    require_effect(config, program.optimizer)
    rule = program.optimizer(hp.learning_rate[0], **hp.rule)
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


def _check_augmentation(config: Config, program: Program, hp: Hyperparameters) -> None:
    part = program.batch_size // program.mesh.size
    images = jax.ShapeDtypeStruct((part, 32, 32, 3), jnp.float32)
    augment = partial(program.augmentation, **hp.augmentation)
    changed = jax.eval_shape(augment, jax.random.key(0), images)
    if getattr(changed, "shape", None) != images.shape:
        shown = getattr(changed, "shape", type(changed).__name__)
        raise UsageError(
            f"--augmentation {config.augmentation}: gives {shown} for images of shape "
            f"{images.shape}; it must give images of the same shape"
        )


def require_finite_start(
    setup: "Setup", config: Config, state: TrainState, hp: Hyperparameters
) -> None:
    """Try a step with somebody's own code, on a copy, after looking at the first logits.

    Args:
      setup: fits the run; its program is being compiled.
      config: names the code.
      state: before the first step.
      hp: of the run, on the devices.

    Raises:
      UsageError: something is not finite.
    """
    if not config.sources:
        return
    whose = ", ".join(f"--{kind} {getattr(config, kind)}" for kind, _ in config.sources)
    program, together = setup.program, setup.together
    some = setup.train.images[: program.mesh.size]
    if not _are_finite(predicting.predict(program, state.variables, hp, some)):
        raise UsageError(f"{whose}: the logits are not finite before the first step")
    order = program.epoch_order(hp, np.int32(0), len(setup.train.labels))
    states, hps, orders = together.join([(state, hp, order)] * together.at_once)
    after, means = setup.train_steps(states, hps, *setup.train, orders, np.int32(1))
    if not _are_finite(means["loss"]):
        raise UsageError(f"{whose}: the loss of the first training step is not finite")
    if not _are_finite(after.params):
        raise UsageError(
            f"{whose}: the first training step leaves weights that are not finite; look at the "
            "gradients"
        )


def _are_finite(tree: PyTree) -> bool:
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))
