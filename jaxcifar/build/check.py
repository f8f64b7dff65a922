"""Check user code and training on small images before anything is trained."""

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
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

if TYPE_CHECKING:
    from jaxcifar.build.setup import Setup


def check_training(
    config: Config, parallel_runs: ParallelRuns, hyper: Hyperparameters, examples: Examples
) -> None:
    """Trace the training program, which finds errors in user code before anything is computed.

    If the first steps use smaller images, check that the network takes them.

    Raises:
      UsageError: user code fails or returns a wrong value, or the network can't take small images.
        The message is one line, with file and line of the user code.
    """
    program = parallel_runs.program
    if program.small_size:
        _check_small_images(config, program, hyper, examples)
    if not config.sources:
        return
    user_code = [(kind, getattr(config, kind)) for kind in USER_CODE_FIELDS]
    with explain_user_code_errors(*user_code):
        _check_rule(config, program, hyper)
        _check_augmentation(config, program, hyper)
        parallel_runs.trace(hyper, examples.images, examples.labels)


def _check_rule(config: Config, program: Program, hyper: Hyperparameters) -> None:
    require_effect(config, program.optimizer)
    rule = program.optimizer(hyper.learning_rate[0], **hyper.rule)
    if not isinstance(rule, optax.GradientTransformation):
        raise UsageError(
            f"--optimizer {config.optimizer}: returns {type(rule).__name__}, not an optax rule"
        )


def _check_small_images(
    config: Config, program: Program, hyper: Hyperparameters, examples: Examples
) -> None:
    size = config.small_size
    state = program.init.eval_shape(program, hyper, examples.images)
    images = jax.ShapeDtypeStruct((program.batch_size, size, size, 3), jnp.float32)
    model = network.for_one_device(program.model)
    try:
        jax.eval_shape(partial(network.predict, model), state.variables, images)
    except Exception as error:  # layers may raise anything
        raise UsageError(
            f"--small-size {size}: {config.network_title} takes no images of {size} pixels "
            f"({first_line(error)})"
        ) from error


def _check_augmentation(config: Config, program: Program, hyper: Hyperparameters) -> None:
    images_per_device = program.batch_size // program.mesh.size
    images = jax.ShapeDtypeStruct((images_per_device, 32, 32, 3), jnp.float32)
    augment = partial(program.augmentation, **hyper.augmentation)
    augmented = jax.eval_shape(augment, jax.random.key(0), images)
    shape = getattr(augmented, "shape", type(augmented).__name__)
    if shape != images.shape:
        raise UsageError(
            f"--augmentation {config.augmentation}: returns {shape} for images of shape "
            f"{images.shape}; it must return images of the same shape"
        )


def require_finite_start(
    setup: "Setup", config: Config, state: TrainState, hyper: Hyperparameters
) -> None:
    """Check that a run with user code has finite logits, loss and weights in the first step.

    Raises:
      UsageError: a logit, the loss or a weight is not finite.
    """
    if not config.sources:
        return
    options = ", ".join(f"--{kind} {getattr(config, kind)}" for kind, _ in config.sources)
    program, parallel_runs = setup.program, setup.parallel_runs
    first_images = setup.train.images[: program.mesh.size]
    if not _are_finite(predicting.predict(program, state.variables, hyper, first_images)):
        raise UsageError(f"{options}: the logits are not finite before the first step")
    order = program.epoch_order(hyper, np.int32(0), len(setup.train.labels))
    same_runs = [(state, hyper, order)] * parallel_runs.run_count
    states, hypers, orders = parallel_runs.join(same_runs)
    new_states, means = setup.train_steps(states, hypers, *setup.train, orders, np.int32(1))
    if not _are_finite(means["loss"]):
        raise UsageError(f"{options}: the loss of the first training step is not finite")
    if not _are_finite(new_states.params):
        raise UsageError(
            f"{options}: the weights are not finite after the first training step; check the "
            "gradients"
        )


def _are_finite(tree: PyTree) -> bool:
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))
