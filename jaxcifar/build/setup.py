"""The setup of runs: a training program, images on the devices, and metrics."""

import dataclasses
import time
from collections.abc import Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from functools import cached_property, lru_cache
from typing import NamedTuple, Self

import jax
from jax.stages import Compiled

from jaxcifar.build.check import NetworkToCheck, check_network_once, check_training
from jaxcifar.build.host_images import (
    choose_steps_per_feed,
    describe_feeding,
    examples_to_feed,
    place_images,
)
from jaxcifar.build.make_program import make_program
from jaxcifar.build.rule_check import reject_incompatible_settings
from jaxcifar.build.training_labels import training_hyperparameters
from jaxcifar.build.update_rule import reject_unused_settings
from jaxcifar.build.user_metrics import MetricSet, UserMetric
from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.data import Dataset, Examples
from jaxcifar.diagram.network_summary import Summary, summarize
from jaxcifar.errors import UsageError
from jaxcifar.machine.environment import all_devices
from jaxcifar.machine.jax_settings import package_settings
from jaxcifar.machine.memory import check_memory
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.training.compiler_options import options_for_dtype
from jaxcifar.training.parallel_runs import ParallelRuns
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters


@lru_cache(maxsize=16)
def network_summary(program: Program) -> Summary:
    """Return the summary of a program's network; the network is traced once in each process."""
    return summarize(program.model, program.image_size)


def _has_images_of_config(dataset: Dataset, config: Config) -> bool:
    """Return True if a data set is what a config names: one of the catalog, or a user's images."""
    is_name_in_catalog = config.dataset in registry.KINDS["dataset"]
    if is_name_in_catalog:
        return dataset.is_from_catalog and config.dataset == dataset.name
    return not dataset.is_from_catalog


class _Compilation(NamedTuple):
    """The compiled training function, and the seconds that tracing and compiling took."""

    train_steps: Compiled
    seconds: float


@dataclasses.dataclass
class Setup:
    """The compiled program and the images that several runs share.

    The runs may differ in hyper-parameters, such as the learning rate.

    Attributes:
      dataset: the data set, on the host.
      parallel_runs: the training program for several runs at a time.
      train, val: training and validation images, on the devices if they fit, else on the host.
      summary: the network's layers and their sizes.
      metric_set: the metrics to measure on validation and test images.
    """

    dataset: Dataset
    parallel_runs: ParallelRuns
    train: Examples
    val: Examples
    summary: Summary
    metric_set: MetricSet
    _compilation: Future[_Compilation] | None = dataclasses.field(default=None, init=False)

    @classmethod
    def create(
        cls,
        config: Config,
        dataset: Dataset,
        run_count: int = 1,
        devices: Sequence[jax.Device] | None = None,
        user_metrics: Sequence[UserMetric] = (),
    ) -> Self:
        """Check a config and its images, and return the setup for training.

        Args:
          config: settings; the setup also suits configs that differ in hyper-parameters only.
          dataset: the images.
          run_count: number of runs to train at a time.
          devices: the devices to train on; None for all devices.
          user_metrics: metrics that the user defined.

        Raises:
          UsageError: the batch size does not fit the images or devices, or user code fails.
        """
        parallel_runs = cls.check(config, dataset, run_count, devices)
        steps_per_feed = choose_steps_per_feed(parallel_runs.program, dataset, run_count)
        program = dataclasses.replace(parallel_runs.program, steps_per_feed=steps_per_feed)
        parallel_runs = ParallelRuns(program, run_count)
        return cls(
            dataset=dataset,
            parallel_runs=parallel_runs,
            train=place_images(dataset.train, parallel_runs.replicated, steps_per_feed),
            val=place_images(dataset.val, program.replicated, steps_per_feed),
            summary=network_summary(program),
            metric_set=MetricSet.create(dataset.num_classes, user_metrics),
        )

    @staticmethod
    def check(
        config: Config,
        dataset: Dataset,
        run_count: int,
        devices: Sequence[jax.Device] | None = None,
    ) -> ParallelRuns:
        """Check a config, its images and its user code; return the training program.

        Nothing is compiled, and no image is moved to a device. The program trains `run_count` runs
        at a time.

        Raises:
          UsageError: the batch size does not fit the images or devices, or user code fails.
        """
        if not _has_images_of_config(dataset, config):
            raise UsageError(
                f"--dataset {config.dataset}: the images are from {dataset.title!r} instead; make "
                "the config with dataset=dataset.name, data_sha256=dataset.sha256"
            )
        if dataset.image_size != config.image_size:
            raise UsageError(
                f"--image-size {config.image_size}: the images of {dataset.title} have "
                f"{dataset.image_size}x{dataset.image_size} pixels; make the config with "
                "image_size=dataset.image_size"
            )
        train_examples, num_classes = len(dataset.train.labels), dataset.num_classes
        devices = devices or all_devices()
        with user_code.refusing_late_imports(config):
            program = make_program(config, num_classes, train_examples, devices)
            # Built-in networks without changes need no check, which takes seconds.
            if config.sources or config.alters_network:
                check_network_once(NetworkToCheck(program, config, num_classes))
            parallel_runs = ParallelRuns(program, run_count)
            hyper = training_hyperparameters(config, dataset, program.steps_per_epoch)
            check_training(config, parallel_runs, hyper, dataset.train)
        return parallel_runs

    @property
    def program(self) -> Program:
        """The training program of one run."""
        return self.parallel_runs.program

    def config_of(self, config: Config) -> Config:
        """Return a copy of a run's settings with the SHA-256 of the images and of all user code."""
        data_sha256 = None if self.dataset.is_from_catalog else self.dataset.sha256
        return dataclasses.replace(user_code.with_imports(config), data_sha256=data_sha256)

    def title(self, config: Config) -> str:
        """Return the title of a run's pictures, such as "CNN on CIFAR-10"."""
        return f"{config.network_title} on {self.dataset.title}"

    def hyperparameters(self, config: Config) -> Hyperparameters:
        """Return a run's hyper-parameters as arrays on the host, from its settings and the images.

        Raises:
          UsageError: a setting does not fit the user's update rule, or early stopping
            (`--patience`) is on although there are no validation images.
        """
        reject_unused_settings(config, self.program.optimizer)
        if config.patience > 0 and len(self.dataset.val.labels) == 0:
            reason = "has no effect without validation images"
            remedy = "leave it out, or give Dataset.from_arrays a val_fraction"
            reject("patience", config.patience, f"{reason}; {remedy}")
        hyper = training_hyperparameters(config, self.dataset, self.program.steps_per_epoch)
        reject_incompatible_settings(config, self.program, hyper)
        return hyper

    def place(self, hyper: Hyperparameters) -> Hyperparameters:
        """Return hyper-parameters placed on the devices of one run."""
        return place_on_devices(hyper, self.program.replicated)

    def examples_for_steps(
        self, orders: jax.Array, first_steps: Sequence[int], step_count: int
    ) -> Examples:
        """Return the images and labels to pass to `train_steps` for the next steps of each run.

        If all training images fit on the devices, all are returned; else only those of the steps.

        Args:
          orders: for each run, the order of the training images in this epoch, `[runs, images]`.
          first_steps: for each run, the number of steps that it has been trained for.
          step_count: number of steps to train.
        """
        if self.program.steps_per_feed is None:
            return self.train
        return examples_to_feed(self.parallel_runs, self.train, orders, first_steps, step_count)

    def compile_ahead(
        self, hyper: Hyperparameters, print_line: PrintLine = lambda line: None
    ) -> None:
        """Start to compile the training program in another thread; warn if memory may be short."""
        if self._compilation is None:
            thread = ThreadPoolExecutor(max_workers=1, thread_name_prefix="compile")
            self._compilation = thread.submit(self._compile, hyper, print_line)
            thread.shutdown(wait=False)  # the thread ends after this work

    def _compile(self, hyper: Hyperparameters, print_line: PrintLine) -> _Compilation:
        if self.program.steps_per_feed is not None:
            print_line(describe_feeding(self.dataset, self.program.mesh.local_devices))
        start = time.monotonic()
        with package_settings():  # JAX's settings in another thread may not hold in this one
            traced = self.parallel_runs.trace(hyper, self.train.images, self.train.labels)
            compiled = traced.lower().compile(compiler_options=options_for_dtype(self.program))
        seconds = time.monotonic() - start
        devices = self.parallel_runs.sharding.mesh.local_devices
        activity = f"a training step with --batch-size {self.program.batch_size}"
        if self.program.parts_per_batch > 1:
            activity += f" --accumulate {self.program.parts_per_batch}"
        check_memory(compiled, devices, activity, print_line)
        return _Compilation(compiled, seconds)

    @property
    def train_steps(self) -> Compiled:
        """The compiled function that trains for some steps; reading it waits for the compilation.

        Raises:
          RunError: the devices have too little memory for the program.
        """
        assert self._compilation is not None  # `compile_ahead` comes first
        return self._compilation.result().train_steps

    @property
    def seconds_to_compile(self) -> float:
        """Seconds that tracing and compiling took; few if JAX's cache had the compiled program."""
        assert self._compilation is not None
        return self._compilation.result().seconds

    @cached_property
    def test(self) -> Examples:
        """The test images, on the devices if all images fit there, else on the host."""
        return place_images(self.dataset.test, self.program.replicated, self.program.steps_per_feed)
