"""From a Config to what computes: the program and the arrays that it is run with."""

import dataclasses
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh

from jaxcifar.config import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.errors import UsageError
from jaxcifar.machine.sharing import AXIS, place
from jaxcifar.models import create_model
from jaxcifar.models.summary import Summary, summarize
from jaxcifar.training.optim import learning_rate_schedule
from jaxcifar.training.program import Hyperparameters, Program
from jaxcifar.training.together import Together


def make_program(config: Config, train_examples: int, devices: Sequence[jax.Device]) -> Program:
    """The program of a config on some devices.

    Raises:
      UsageError: the batch size does not fit the images or the devices.
    """
    if config.batch_size % len(devices):
        raise UsageError(
            f"--batch-size {config.batch_size}: must be a multiple of the {len(devices)} devices"
        )
    if config.batch_size > train_examples:
        raise UsageError(
            f"--batch-size {config.batch_size}: more than the {train_examples} training images"
        )
    return Program(
        model=create_model(config.arch, compute_dtype(config, devices[0]), config.dropout, AXIS),
        optimizer=config.optimizer,
        batch_size=config.batch_size,
        steps_per_epoch=train_examples // config.batch_size,
        mesh=Mesh(np.asarray(devices), (AXIS,)),
    )


def compute_dtype(config: Config, device: jax.Device) -> jnp.dtype:
    """What the network computes in: as asked for, or by the kind of device."""
    auto = "float32" if device.platform == "cpu" else "bfloat16"
    return jnp.dtype(auto if config.dtype == "auto" else config.dtype)


def make_hyperparameters(config: Config, dataset: Dataset, steps_per_epoch: int) -> Hyperparameters:
    """The arrays that a config and the statistics of its images come to."""
    schedule = learning_rate_schedule(config, steps_per_epoch)
    steps = jnp.arange(config.epochs * steps_per_epoch)
    return Hyperparameters(
        key=jax.random.key(config.seed),
        learning_rate=jnp.broadcast_to(schedule(steps), steps.shape).astype(jnp.float32),
        weight_decay=jnp.float32(config.weight_decay),
        momentum=jnp.float32(config.momentum),
        mean=jnp.asarray(dataset.mean if config.normalize else np.zeros(3), jnp.float32),
        std=jnp.asarray(dataset.std if config.normalize else np.ones(3), jnp.float32),
        augment=jnp.asarray(config.augment),
    )


@dataclasses.dataclass
class Setup:
    """What runs share that differ only in hyper-parameters: one program, images on the devices.

    Attributes:
      dataset: the images on the host.
      together: trains `at_once` runs at a time.
      train, val: the images on the devices.
    """

    dataset: Dataset
    together: Together
    train: Examples
    val: Examples
    _compiling: Future[Callable] | None = dataclasses.field(default=None, init=False)

    @classmethod
    def create(
        cls,
        config: Config,
        dataset: Dataset,
        at_once: int = 1,
        devices: Sequence[jax.Device] | None = None,
    ) -> Self:
        """Set up for `config` and all that equal it but for hyper-parameters.

        Args:
          config: what to train.
          dataset: its images, on the host.
          at_once: runs to train together.
          devices: to train on; all by default.

        Raises:
          UsageError: the batch size does not fit the images or the devices.
        """
        program = make_program(config, len(dataset.train.labels), devices or jax.devices())
        together = Together(program, at_once)
        return cls(
            dataset=dataset,
            together=together,
            train=place(dataset.train, together.replicated),
            val=place(dataset.val, program.replicated),
        )

    @property
    def program(self) -> Program:
        """That of one run."""
        return self.together.program

    def hyperparameters(self, config: Config) -> Hyperparameters:
        """Those of a run on these images, on the devices."""
        hp = make_hyperparameters(config, self.dataset, self.program.steps_per_epoch)
        return place(hp, self.program.replicated)

    def compile_ahead(self, hp: Hyperparameters) -> None:
        """Begin to compile the training program, in a thread beside what else a start takes.

        Args:
          hp: of a run; those of this setup have the same shapes.
        """
        if self._compiling is None:
            thread = ThreadPoolExecutor(max_workers=1)
            self._compiling = thread.submit(self.together.compiled, hp, *self.train)
            thread.shutdown(wait=False)  # takes no more work

    @property
    def train_steps(self) -> Callable:
        """`Together.train_steps` for these images, when `compile_ahead` has come to its end."""
        return self._compiling.result()

    @cached_property
    def test(self) -> Examples:
        """The test images, not touched before the first run is over."""
        return place(self.dataset.test, self.program.replicated)

    @cached_property
    def summary(self) -> Summary:
        """What the network is made of."""
        return summarize(self.program.model, self.dataset.train.images.shape[1:])
