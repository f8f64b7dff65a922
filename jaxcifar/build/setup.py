"""From a Config and its images to what computes: the program, and what it is run with."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property
from typing import Self

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jax.stages import Compiled

from jaxcifar.build.check import check_training
from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.model import check_model, compute_dtype, create_model
from jaxcifar.build.update_rule import require_effect, update_rule
from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.network_summary import Summary, summarize
from jaxcifar.errors import UsageError
from jaxcifar.machine.environment import first_devices
from jaxcifar.machine.jax_settings import package_settings
from jaxcifar.machine.memory import check_memory
from jaxcifar.machine.sharing import AXIS, place_on_devices
from jaxcifar.training import network
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters
from jaxcifar.training.together import Together


def make_program(
    config: Config, num_classes: int, train_examples: int, devices: Sequence[jax.Device]
) -> Program:
    """The program of a config on some devices.

    Raises:
      UsageError: the batch size does not fit the images or devices, or user code can't be loaded.
    """
    if config.batch_size % len(devices):
        raise UsageError(
            f"--batch-size {config.batch_size}: must be a multiple of the {len(devices)} devices"
        )
    if config.batch_size > train_examples:
        raise UsageError(
            f"--batch-size {config.batch_size}: more than the {train_examples} training images"
        )
    dtype = compute_dtype(config, devices[0])
    # A CPU is fast at products of bfloat16, but slow at all else in it.
    products_only = dtype == jnp.bfloat16 and devices[0].platform == "cpu"
    return Program(
        model=create_model(config, num_classes, jnp.float32 if products_only else dtype, AXIS),
        optimizer=update_rule(config),
        augmentation=user_code.load(config, "augmentation"),
        averages=config.average > 0,
        small_size=config.small_size if config.small_size < 32 else None,
        batch_size=config.batch_size,
        steps_per_epoch=train_examples // config.batch_size,
        mesh=Mesh(np.asarray(devices), (AXIS,)),
        axis=AXIS,
        operands=dtype if products_only else None,
        identity=(
            config.arch,
            config.arch_args,
            user_code.digests(config, "arch"),
            config.dropout,
            num_classes,
            dtype,
        ),
    )


@dataclasses.dataclass
class Setup:
    """What runs share that differ only in hyper-parameters: one program, images on the devices.

    Attributes:
      dataset: the images on the host.
      together: trains `at_once` runs at a time.
      train, val: the images on the devices.
      summary: what the network is made of.
      metrics: what is measured of validation and test images.
    """

    dataset: Dataset
    together: Together
    train: Examples
    val: Examples
    summary: Summary
    metrics: MetricSet
    _compiling: Future[tuple[Compiled, float]] | None = dataclasses.field(default=None, init=False)

    @classmethod
    def create(
        cls,
        config: Config,
        dataset: Dataset,
        at_once: int = 1,
        devices: Sequence[jax.Device] | None = None,
        user_metrics: Sequence[UserMetric] = (),
    ) -> Self:
        """Set up for `config` and all that equal it but for hyper-parameters.

        Args:
          config: what to train.
          dataset: its images, on the host.
          at_once: runs to train together.
          devices: to train on; all by default.
          user_metrics: measured beside ours.

        Raises:
          UsageError: see `make_program`; or somebody's own code is at fault.
        """
        together = cls.checked(config, dataset, at_once, devices)
        metrics = MetricSet.tried(dataset.num_classes, user_metrics)
        return cls(
            dataset=dataset,
            together=together,
            train=place_on_devices(dataset.train, together.replicated),
            val=place_on_devices(dataset.val, together.program.replicated),
            summary=summarize(together.program.model),
            metrics=metrics,
        )

    @staticmethod
    def checked(
        config: Config, dataset: Dataset, at_once: int, devices: Sequence[jax.Device] | None = None
    ) -> Together:
        """What computes, seen to fit; nothing is compiled, no image goes to a device.

        Raises:
          UsageError: see `create`.
        """
        named = config.dataset in registry.KINDS["dataset"]
        if named != dataset.is_known or (named and config.dataset != dataset.name):
            raise UsageError(
                f"--dataset {config.dataset}: the images are others, of {dataset.title!r}; make "
                "the config with dataset=dataset.name, data_sha256=dataset.sha256"
            )
        train_examples, classes = len(dataset.train.labels), dataset.num_classes
        with user_code.refusing_late_imports(config):
            program = make_program(config, classes, train_examples, devices or first_devices(None))
            # Our own networks, as they are, need no seconds of tracing.
            if config.sources or config.alters_network:
                check_model(config, network.alone(program.model), classes)
            together = Together(program, at_once)
            hp = make_hyperparameters(config, dataset, program.steps_per_epoch)
            check_training(config, together, hp, dataset.train)
        return together

    @property
    def program(self) -> Program:
        """That of one run."""
        return self.together.program

    def config_of(self, config: Config) -> Config:
        """Return the config of a run with the digests of these images and of all its user code."""
        digest = None if self.dataset.is_known else self.dataset.sha256
        return dataclasses.replace(user_code.with_imports(config), data_sha256=digest)

    def title(self, config: Config) -> str:
        """What pictures of a run on these images are called."""
        return f"{config.network_title} on {self.dataset.title}"

    def hyperparameters(self, config: Config) -> Hyperparameters:
        """Those of a run on these images, on the host.

        Raises:
          UsageError: a user's update rule has no parameter for a setting.
        """
        require_effect(config, self.program.optimizer)
        return make_hyperparameters(config, self.dataset, self.program.steps_per_epoch)

    def place(self, hp: Hyperparameters) -> Hyperparameters:
        """Put hyper-parameters on the devices of one run."""
        return place_on_devices(hp, self.program.replicated)

    def compile_ahead(
        self, hp: Hyperparameters, say: Callable[[str], None] = lambda line: None
    ) -> None:
        """Begin to compile the training program, in a thread beside what else a start takes.

        Args:
          hp: of a run, on the devices; those of this setup have the same shapes.
          say: prints a warning if the program may not fit into memory.
        """
        if self._compiling is None:
            thread = ThreadPoolExecutor(max_workers=1)
            self._compiling = thread.submit(self._compile, hp, say)
            thread.shutdown(wait=False)  # takes no more work

    def _compile(self, hp: Hyperparameters, say: Callable[[str], None]) -> tuple[Compiled, float]:
        began = time.monotonic()
        with package_settings():  # those of a calling program may hold for its own thread alone
            compiled = self.together.compiled(hp, self.train.images, self.train.labels)
        seconds = time.monotonic() - began
        devices = self.together.sharding.mesh.local_devices
        what = f"a training step with --batch-size {self.program.batch_size}"
        check_memory(compiled, devices, what, say)
        return compiled, seconds

    @property
    def train_steps(self) -> Compiled:
        """`Together.train_steps` for these images, when `compile_ahead` has come to its end.

        Raises:
          RunError: the devices have too little memory for it.
        """
        assert self._compiling is not None  # `compile_ahead` comes first
        return self._compiling.result()[0]

    @property
    def seconds_to_compile(self) -> float:
        """What that took, from tracing to the program; less where it was kept from before."""
        assert self._compiling is not None
        return self._compiling.result()[1]

    @cached_property
    def test(self) -> Examples:
        """The test images, not touched before the first run is over."""
        return place_on_devices(self.dataset.test, self.program.replicated)
