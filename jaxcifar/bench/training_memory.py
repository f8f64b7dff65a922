"""The memory that training takes, as XLA reports it for the compiled training program."""

import dataclasses
from collections.abc import Sequence
from types import SimpleNamespace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from jax.stages import Traced

from jaxcifar.bench.work import CLASSES
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.image_size import image_shape
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.machine.memory import program_bytes
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program

_CIFAR10_TRAIN_IMAGES = 45_000  # of CIFAR-10
# Of the pixels; they do not affect what is compiled.
_PIXEL_STATISTICS = SimpleNamespace(mean=np.full(3, 0.5), std=np.full(3, 0.25))


@dataclasses.dataclass(frozen=True)
class TrainingMemory:
    """Bytes that training takes on one device.

    Attributes:
      persistent_bytes: training images, weights and optimizer state.
      step_bytes: additional memory during one step.
      dtype: precision that the network computes in.
    """

    persistent_bytes: int
    step_bytes: int
    dtype: str


class TracedTraining(NamedTuple):
    """The training program of a config, traced for devices that may be absent.

    Attributes:
      program: the training program of one run.
      parallel_runs: one or more runs that are trained together by one program.
      traced: the program of all these runs, as JAX has traced it.
    """

    program: Program
    parallel_runs: ParallelRuns
    traced: Traced


def trace_training(
    config: Config,
    devices: Sequence[jax.Device],
    run_count: int = 1,
    *,
    images_are_on_devices: bool = False,
) -> TracedTraining:
    """Return the traced training program of a config, for as many images as CIFAR-10 has.

    Args:
      config: settings of the run.
      devices: devices to compile for.
      run_count: number of runs that are trained together.
      images_are_on_devices: True if the program will get images of which each device has a copy;
        False to let JAX choose where the images are.

    Raises:
      UsageError: the batch size does not fit the devices, or user code can't be loaded.
    """
    image_count = max(_CIFAR10_TRAIN_IMAGES, config.batch_size)
    program = make_program(config, CLASSES, image_count, devices)
    hyper = make_hyperparameters(config, _PIXEL_STATISTICS, program.steps_per_epoch)
    parallel_runs = ParallelRuns(program, run_count)
    sharding = parallel_runs.replicated if images_are_on_devices else None
    shape_of_images = image_count, *image_shape(config.image_size)
    images = jax.ShapeDtypeStruct(shape_of_images, jnp.uint8, sharding=sharding)
    labels = jax.ShapeDtypeStruct((image_count,), jnp.int32, sharding=sharding)
    traced = parallel_runs.trace(hyper, images, labels)
    return TracedTraining(program, parallel_runs, traced)


def training_memory(config: Config, device: jax.Device) -> TrainingMemory | None:
    """Return the memory that training with a config takes on one device.

    The training program is compiled but not run.

    Args:
      config: settings of the run.
      device: device to compile for.

    Returns:
      the memory, or None if XLA does not report it for this kind of device.

    Raises:
      UsageError: the config's network or update rule can't be loaded.
    """
    training = trace_training(config, [device])
    compiled = training.traced.lower().compile(
        compiler_options=FAST_COMPILE_OPTIONS  # which do not change the memory
    )
    step_bytes = program_bytes(compiled)
    if step_bytes is None:
        return None
    persistent_bytes = compiled.memory_analysis().argument_size_in_bytes
    return TrainingMemory(persistent_bytes, step_bytes, str(training.program.dtype))
