"""Time a few training steps of a config, to estimate the time and memory of its run."""

import dataclasses
import math
import time
from collections.abc import Sequence
from typing import NamedTuple

import jax
import numpy as np

from jaxcifar.bench.timed_training import TimedTraining
from jaxcifar.build.host_images import images_for_init
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset, Examples
from jaxcifar.data.split import train_val_indices
from jaxcifar.machine.memory import program_bytes
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.pace import TEST_PASSES
from jaxcifar.training import predicting
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

_MIN_TIMED_SECONDS = 2.0  # of timed steps
_NOISE_NAME = "noise"
_UNUSED_SHA256 = "0" * 64  # of the images; no run is saved with the config that has it
_EVALUATION_PROGRAMS = 2  # for the validation images and for the test images


@dataclasses.dataclass(frozen=True)
class Trial:
    """The measured speed and memory of runs that share a program.

    Attributes:
      images: number of training, validation and test images.
      steps_per_epoch: training steps in an epoch.
      timed_steps: number of steps that were timed.
      step_seconds: seconds of a step of all runs that are trained together, on average over a run.
      evaluation_seconds: seconds to evaluate an image.
      compile_seconds: seconds to compile all programs; few if JAX's cache has them.
      runs_at_once: number of runs that are trained together.
      persistent_bytes: images, weights and optimizer state on one device; None if XLA does not say.
      step_bytes: additional memory in one step on one device, or None.
      dtype: precision that the network computes in.
    """

    images: tuple[int, int, int]
    steps_per_epoch: int
    timed_steps: int
    step_seconds: float
    evaluation_seconds: float
    compile_seconds: float
    runs_at_once: int
    persistent_bytes: int | None
    step_bytes: int | None
    dtype: str

    def seconds(self, epochs: int, runs: int = 1) -> float:
        """Estimate the seconds that runs take; compiling and writing files are not included.

        Args:
          epochs: number of epochs of each run.
          runs: number of runs.
        """
        groups_of_runs = math.ceil(runs / self.runs_at_once)
        training_seconds = groups_of_runs * epochs * self.steps_per_epoch * self.step_seconds
        _, val_images, test_images = self.images
        evaluated_images = runs * (epochs * val_images + TEST_PASSES * test_images)
        return training_seconds + evaluated_images * self.evaluation_seconds


class _StepTiming(NamedTuple):
    """Mean seconds of a training step, and the number of steps that were timed."""

    step_seconds: float
    timed_steps: int


class _EvaluationTiming(NamedTuple):
    """Seconds to evaluate one image, and to compile all programs that evaluate images."""

    image_seconds: float
    compile_seconds: float


def random_dataset_like(config: Config) -> tuple[Config, Dataset]:
    """Return a config with a data set of random images as large as its own, and this data set.

    The speed of training does not depend on the content of images.

    Args:
      config: settings; `dataset` names a data set of the catalogue.

    Returns:
      a copy of `config` that names the random data set, and the random data set.
    """
    catalog_entry = CATALOG[config.dataset]
    train_labels, test_labels = catalog_entry.labels("train"), catalog_entry.labels("test")
    train_indices, val_indices = train_val_indices(
        train_labels, config.val_fraction, config.train_examples, config.fold
    )
    rng = np.random.default_rng(0)

    def random_images(labels: np.ndarray) -> Examples:
        images = rng.integers(0, 256, (len(labels), 32, 32, 3), np.uint8)
        return Examples(images, labels)

    dataset = Dataset(
        name=_NOISE_NAME,
        title=_NOISE_NAME,
        class_names=catalog_entry.class_names,
        train=random_images(train_labels[train_indices]),
        val=random_images(train_labels[val_indices]),
        test=random_images(test_labels),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    noise_config = dataclasses.replace(config, dataset=_NOISE_NAME, data_sha256=_UNUSED_SHA256)
    return noise_config, dataset


def time_trial_steps(
    config: Config,
    dataset: Dataset,
    runs_at_once: int,
    devices: Sequence[jax.Device],
    print_line: PrintLine,
) -> Trial:
    """Compile the programs of a run, time a few steps, and return the measured speed and memory.

    No file is written, apart from JAX's cache of compiled programs.

    Args:
      config: settings of the run.
      dataset: the data set of the run, or random images of the same size.
      runs_at_once: number of runs that are trained together.
      devices: devices to train on.
      print_line: prints a warning if memory is short.

    Raises:
      UsageError: the batch size does not fit the images or devices, or user code fails.
      RunError: the devices have too little memory for the program.
    """
    setup = Setup.create(config, dataset, runs_at_once, devices)
    program = setup.program
    hyper = setup.place(setup.hyperparameters(config))
    setup.compile_ahead(hyper, print_line)
    state = program.init(hyper, images_for_init(program, dataset.train.images))
    training = TimedTraining(setup, hyper, state)
    steps = _measure_mean_step(config, program, training, hyper)
    evaluation = _measure_evaluation(setup, hyper, state)
    memory_analysis = setup.train_steps.memory_analysis()
    persistent_bytes = memory_analysis.argument_size_in_bytes if memory_analysis else None
    return Trial(
        images=(len(dataset.train.labels), len(dataset.val.labels), len(dataset.test.labels)),
        steps_per_epoch=program.steps_per_epoch,
        timed_steps=steps.timed_steps,
        step_seconds=steps.step_seconds,
        evaluation_seconds=evaluation.image_seconds,
        compile_seconds=setup.seconds_to_compile + evaluation.compile_seconds,
        runs_at_once=runs_at_once,
        persistent_bytes=persistent_bytes,
        step_bytes=program_bytes(setup.train_steps),
        dtype=str(program.dtype),
    )


def _measure_mean_step(
    config: Config, program: Program, training: TimedTraining, hyper: Hyperparameters
) -> _StepTiming:
    """Return the mean seconds of a step over a whole run, and the number of timed steps.

    If the first part of the run uses smaller images, steps with both sizes are timed.
    """
    timing_at_start = _measure_step(training, first_step=0)
    starts_with_smaller_images = program.small_size is not None
    if not starts_with_smaller_images:
        return timing_at_start
    small_timing = timing_at_start
    full_timing = _measure_step(training, first_step=int(hyper.small_steps))
    small_fraction = config.small_fraction  # of the run's steps
    full_fraction = 1 - small_fraction
    mean_step_seconds = (
        small_fraction * small_timing.step_seconds + full_fraction * full_timing.step_seconds
    )
    return _StepTiming(mean_step_seconds, small_timing.timed_steps + full_timing.timed_steps)


def _measure_step(training: TimedTraining, first_step: int) -> _StepTiming:
    """Train some steps, and return the mean seconds of a step and the number of timed steps.

    The timed steps take at least `_MIN_TIMED_SECONDS`, or are a whole epoch. The first step is not
    timed, because it is often slow.

    Args:
      training: the training of all runs.
      first_step: number of the first step in the run, from 0. The first steps of a run may use
        smaller images.
    """
    steps_per_epoch = training.steps_per_epoch
    training.continue_at(first_step)
    training.train(steps=1)
    timed_steps = 1
    while True:
        seconds = training.train(timed_steps)
        if seconds >= _MIN_TIMED_SECONDS or timed_steps >= steps_per_epoch:
            return _StepTiming(seconds / timed_steps, timed_steps)
        timed_steps = min(2 * timed_steps, steps_per_epoch)


def _measure_evaluation(
    setup: Setup, hyper: Hyperparameters, state: TrainState
) -> _EvaluationTiming:
    """Return the times to evaluate and to compile; a batch is predicted twice to measure them."""
    seconds_with_compiling = _seconds_to_predict_batch(setup, hyper, state)
    batch_seconds = _seconds_to_predict_batch(setup, hyper, state)
    seconds_to_compile_once = max(0.0, seconds_with_compiling - batch_seconds)
    images_in_batch = min(predicting.EVAL_BATCH, len(setup.dataset.test.labels))
    return _EvaluationTiming(
        image_seconds=batch_seconds / images_in_batch,
        compile_seconds=_EVALUATION_PROGRAMS * seconds_to_compile_once,
    )


def _seconds_to_predict_batch(setup: Setup, hyper: Hyperparameters, state: TrainState) -> float:
    """Return the seconds to predict a batch of test images; the first call also compiles."""
    images = setup.dataset.test.images[: predicting.EVAL_BATCH]
    start_time = time.perf_counter()
    np.asarray(predicting.predict(setup.program, state.variables, hyper, images))
    return time.perf_counter() - start_time
