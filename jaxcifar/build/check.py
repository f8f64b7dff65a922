"""Check networks, user code and training on small images before anything is trained."""

import dataclasses
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.build.augmentation import check_augmentation, check_augmented_values
from jaxcifar.build.model import check_model
from jaxcifar.build.rule_check import check_rule, learning_rate_note
from jaxcifar.build.update_rule import reject_unused_settings
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import USER_CODE_FIELDS
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.data import Examples
from jaxcifar.errors import UsageError, first_line
from jaxcifar.image_size import image_shape
from jaxcifar.machine.sharing import PyTree, place_on_devices
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.training import network, predicting
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

if TYPE_CHECKING:
    from jaxcifar.build.setup import Setup

_IMAGES_PER_DEVICE = 4  # images for each device, to look at the first logits
_PROBABILITY_TOLERANCE = 0.01  # of sums of probabilities in bfloat16


@dataclasses.dataclass(frozen=True)
class NetworkToCheck:
    """A network to check; equal programs and numbers of classes make two of these equal."""

    program: Program
    config: Config = dataclasses.field(compare=False)
    num_classes: int


# The runs of a study share their program, and tracing a network takes seconds.
@lru_cache(maxsize=16)
def check_network_once(network_to_check: NetworkToCheck) -> None:
    """Check a network by `check_model`, unless an equal network has passed in this process."""
    model = network.copy_for_one_device(network_to_check.program.model)
    check_model(network_to_check.config, model, network_to_check.num_classes)


def check_training(
    config: Config, parallel_runs: ParallelRuns, hyper: Hyperparameters, examples: Examples
) -> None:
    """Find errors in user code before training, by tracing the training program for shapes only.

    If the first steps train on smaller images (`--small-size`), also check that the network takes
    these images. `examples` are the training images and labels; only their shapes are used.

    Raises:
      UsageError: user code fails or returns a wrong value, or the network can't take small images.
        The message is one line, with file and line of the user code.
    """
    program = parallel_runs.program
    begins_with_small_images = program.small_size is not None
    if begins_with_small_images:
        _check_small_images(config, program, hyper, examples)
    has_user_code = bool(config.sources)
    if not has_user_code:
        return
    reject_unused_settings(config, program.optimizer)
    check_rule(config, program, hyper)
    with explain_user_code_errors(("augmentation", config.augmentation)):
        check_augmentation(config, program, hyper)
    kinds_and_names = [(kind, getattr(config, kind)) for kind in USER_CODE_FIELDS]
    with explain_user_code_errors(*kinds_and_names):
        parallel_runs.trace(hyper, examples.images, examples.labels)


def _check_small_images(
    config: Config, program: Program, hyper: Hyperparameters, examples: Examples
) -> None:
    """Raise UsageError if the network can't take images of the size `--small-size`.

    `--small-size` reduces the images of the first training steps, to save time.
    """
    size = config.small_size
    state = program.init.eval_shape(program, hyper, examples.images)
    images = jax.ShapeDtypeStruct((program.batch_size, *image_shape(size)), jnp.float32)
    model = network.copy_for_one_device(program.model)
    try:
        jax.eval_shape(partial(network.predict, model), state.variables, images)
    except Exception as error:  # layers may raise anything
        raise UsageError(
            f"--small-size {size}: {config.network_title} takes no images of {size} pixels "
            f"({first_line(error)}); choose another size, or use --small-fraction 0"
        ) from error


def require_finite_start(
    setup: "Setup", config: Config, state: TrainState, hyper: Hyperparameters, print_line: PrintLine
) -> None:
    """Try one training step of a run with user code; check that its results are finite numbers.

    Runs without user code are not checked. A line is printed if the network seems to return
    probabilities instead of logits, or if the update rule and the schedule both adapt the learning
    rate. `state` is the training state before the first step.

    Raises:
      UsageError: a logit, the loss or a weight is not finite, or a user's augmentation returns
        values that can't be pixels.
    """
    if not config.sources:
        return
    options = ", ".join(f"--{kind} {getattr(config, kind)}" for kind, _ in config.sources)
    _check_first_logits(setup, config, state, hyper, options, print_line)
    note = learning_rate_note(config, setup.program, hyper)
    if note:
        print_line(note)
    first_batch = _first_training_images(setup, setup.program.batch_size)
    check_augmented_values(config, setup.program, hyper, *first_batch)
    _check_first_step(setup, state, hyper, options)


def _first_training_images(setup: "Setup", count: int) -> Examples:
    """Return the first `count` training images with their labels, on the devices of one run.

    The images in `setup.train` can't be used here: if several runs are trained together, these
    images may be on fewer devices.
    """
    images, labels = setup.dataset.train
    return place_on_devices(Examples(images[:count], labels[:count]), setup.program.replicated)


def _check_first_logits(
    setup: "Setup",
    config: Config,
    state: TrainState,
    hyper: Hyperparameters,
    options: str,
    print_line: PrintLine,
) -> None:
    """Check that the logits of a few images are finite before the first step.

    A line is printed if the logits look like probabilities. `options` are the options that name
    user code, with which the error message begins.

    Raises:
      UsageError: a logit is NaN or infinite.
    """
    program = setup.program
    first_images, _ = _first_training_images(setup, _IMAGES_PER_DEVICE * program.mesh.size)
    logits = np.asarray(predicting.predict(program, state.variables, hyper, first_images))
    if not _are_finite(logits):
        raise UsageError(
            f"{options}: the logits are not finite before the first step; check the network"
        )
    if _are_probabilities(logits):
        print_line(
            f"--arch {config.arch}: the outputs look like probabilities (they are positive and sum "
            "to 1); return the logits, without softmax, because the loss contains it."
        )


def _check_first_step(
    setup: "Setup", state: TrainState, hyper: Hyperparameters, options: str
) -> None:
    """Train a copy of the run for one step; check that its loss and weights are finite after it.

    Raises:
      UsageError: the loss or a weight is not finite. The message begins with `options`.
    """
    program, parallel_runs = setup.program, setup.parallel_runs
    order = program.epoch_order(hyper, np.int32(0), len(setup.train.labels))
    run_count = parallel_runs.run_count
    copies_of_run = [(state, hyper, order)] * run_count
    states, hypers, orders = parallel_runs.join(copies_of_run)
    examples = setup.examples_for_steps(orders, first_steps=[0] * run_count, step_count=1)
    new_states, mean_metrics = setup.train_steps(states, hypers, *examples, orders, np.int32(1))
    if not _are_finite(mean_metrics["loss"]):
        raise UsageError(
            f"{options}: the loss of the first training step is not finite; check the network in "
            "training mode, and the augmentation"
        )
    if not _are_finite(new_states.params):
        raise UsageError(
            f"{options}: the weights are not finite after the first training step; check the "
            "network's gradients, and the update rule"
        )


def _are_finite(tree: PyTree) -> bool:
    return all(np.isfinite(np.asarray(leaf)).all() for leaf in jax.tree.leaves(tree))


def _are_probabilities(outputs: np.ndarray) -> bool:
    """Return True if a network's outputs `[N, classes]` are positive and sum to 1 per image."""
    sum_to_one = np.isclose(outputs.sum(axis=1), 1.0, atol=_PROBABILITY_TOLERANCE)
    return bool((outputs >= 0).all() and sum_to_one.all())
