"""The memory that training takes, as XLA reports it for the compiled training program."""

import dataclasses
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np

from jaxcifar.bench.work import CLASSES
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config.experiment import Config
from jaxcifar.image_size import image_shape
from jaxcifar.machine.compilations import FAST_COMPILE_OPTIONS
from jaxcifar.machine.memory import program_bytes
from jaxcifar.training.parallel_runs import ParallelRuns

EXAMPLES = 45_000  # training images of CIFAR-10
# Of the pixels; they do not affect what is compiled.
STATISTICS = SimpleNamespace(mean=np.full(3, 0.5), std=np.full(3, 0.25))


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
    examples = max(EXAMPLES, config.batch_size)
    program = make_program(config, CLASSES, examples, [device])
    hyper = make_hyperparameters(config, STATISTICS, program.steps_per_epoch)
    images = jax.ShapeDtypeStruct((examples, *image_shape(config.image_size)), jnp.uint8)
    labels = jax.ShapeDtypeStruct((examples,), jnp.int32)
    lowered = ParallelRuns(program, run_count=1).trace(hyper, images, labels).lower()
    compiled = lowered.compile(
        compiler_options=FAST_COMPILE_OPTIONS  # which do not change the memory
    )
    step_bytes = program_bytes(compiled)
    if step_bytes is None:
        return None
    persistent_bytes = compiled.memory_analysis().argument_size_in_bytes
    return TrainingMemory(persistent_bytes, step_bytes, str(program.dtype))
