"""Time a few training steps of a config, to estimate the time and memory of its run."""

import dataclasses
import time
from collections.abc import Sequence

import jax
import numpy as np

from jaxcifar.build.host_images import first_images
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset, Examples
from jaxcifar.data.split import train_val_indices
from jaxcifar.machine.memory import program_bytes
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.dispatches import dispatch_sizes
from jaxcifar.runs.pace import TEST_PASSES
from jaxcifar.training import predicting
from jaxcifar.training.state import Hyperparameters, TrainState

_ENOUGH_SECONDS = 2.0  # of timed steps
_NOISE = "noise"
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
      at_once: number of runs that are trained together.
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
    at_once: int
    persistent_bytes: int | None
    step_bytes: int | None
    dtype: str

    def seconds(self, epochs: int, runs: int = 1) -> float:
        """Return the estimated seconds of runs of some epochs, without compiling and files."""
        rounds = -(-runs // self.at_once)  # rounded up
        training = rounds * epochs * self.steps_per_epoch * self.step_seconds
        _, val, test = self.images
        evaluated = runs * (epochs * val + TEST_PASSES * test)
        return training + evaluated * self.evaluation_seconds


def noise_like(config: Config) -> tuple[Config, Dataset]:
    """Return images of noise with the numbers of images of a data set of the catalogue.

    The speed of training does not depend on the content of images.

    Args:
      config: settings; `dataset` names a data set of the catalogue.

    Returns:
      the config with the name of these images, and the images.
    """
    known = CATALOG[config.dataset]
    classes = len(known.class_names)
    labels = {
        split: np.repeat(np.arange(classes, dtype=np.int32), count)
        for split, count in known.class_counts.items()
    }
    train, val = train_val_indices(
        labels["train"], config.val_fraction, config.train_examples, config.fold
    )
    rng = np.random.default_rng(0)

    def examples(chosen: np.ndarray) -> Examples:
        images = rng.integers(0, 256, (len(chosen), 32, 32, 3), np.uint8)
        return Examples(images, chosen)

    dataset = Dataset(
        name=_NOISE,
        title=_NOISE,
        class_names=known.class_names,
        train=examples(labels["train"][train]),
        val=examples(labels["train"][val]),
        test=examples(labels["test"]),
        mean=np.full(3, 0.5, np.float32),
        std=np.full(3, 0.25, np.float32),
    )
    # No run is saved with this config, so the SHA-256 of the images is not needed.
    named = dataclasses.replace(config, dataset=_NOISE, data_sha256="0" * 64)
    return named, dataset


def try_steps(
    config: Config,
    dataset: Dataset,
    at_once: int,
    devices: Sequence[jax.Device],
    print_line: PrintLine,
) -> Trial:
    """Compile the programs of a run, time a few steps, and return what was measured.

    Nothing is written, apart from JAX's cache of compiled programs.

    Args:
      config: settings of the run.
      dataset: its images, or noise.
      at_once: number of runs that are trained together.
      devices: devices to train on.
      print_line: prints a warning if memory is short.

    Raises:
      UsageError: the batch size does not fit the images or devices, or user code fails.
      RunError: the devices have too little memory for the program.
    """
    setup = Setup.create(config, dataset, at_once, devices)
    program = setup.program
    hyper = setup.place(setup.hyperparameters(config))
    setup.compile_ahead(hyper, print_line)
    state = program.init(hyper, first_images(program, dataset.train.images))
    steps = _TimedSteps(setup, hyper, state, at_once)
    train_seconds, timed = steps.measure(first_step=0)
    if program.small_size is not None:  # the first steps use smaller images
        full_size_seconds, more = steps.measure(first_step=int(hyper.small_steps))
        share = config.small_part
        train_seconds = share * train_seconds + (1 - share) * full_size_seconds
        timed += more
    first, second = (_seconds_to_evaluate(setup, hyper, state) for _ in range(2))
    compiling = setup.seconds_to_compile + _EVALUATION_PROGRAMS * max(0.0, first - second)
    sizes = setup.train_steps.memory_analysis()
    few_images = min(predicting.EVAL_BATCH, len(dataset.test.labels))
    return Trial(
        images=(len(dataset.train.labels), len(dataset.val.labels), len(dataset.test.labels)),
        steps_per_epoch=program.steps_per_epoch,
        timed_steps=timed,
        step_seconds=train_seconds,
        evaluation_seconds=second / few_images,
        compile_seconds=compiling,
        at_once=at_once,
        persistent_bytes=None if sizes is None else sizes.argument_size_in_bytes,
        step_bytes=program_bytes(setup.train_steps),
        dtype=str(program.dtype),
    )


class _TimedSteps:
    """The compiled training program, with states to time its steps on."""

    def __init__(
        self, setup: Setup, hyper: Hyperparameters, state: TrainState, at_once: int
    ) -> None:
        program = setup.program
        order = program.epoch_order(hyper, np.int32(0), len(setup.train.labels))
        joined = setup.parallel_runs.join([(state, hyper, order)] * at_once)
        self._setup = setup
        self._states, self._hypers, self._orders = joined

    def measure(self, first_step: int) -> tuple[float, int]:
        """Return the mean seconds of a step from `first_step` on, and the number of timed steps.

        The first step is not counted, because it is often slow.
        """
        steps_per_epoch = self._setup.program.steps_per_epoch
        step = self._states.step
        first = jax.device_put(np.full_like(step, first_step), step.sharding)
        self._states = self._states.replace(step=first)
        self._train(1)
        steps = 1
        while True:
            seconds = self._train(steps)
            if seconds >= _ENOUGH_SECONDS or steps >= steps_per_epoch:
                return seconds / steps, steps
            steps = min(2 * steps, steps_per_epoch)

    def _train(self, steps: int) -> float:
        began = time.perf_counter()
        trained, at_once = 0, len(self._orders)
        for count in dispatch_sizes(steps, self._setup.program):
            examples = self._setup.images_for(self._orders, [trained] * at_once, count)
            self._states, means = self._setup.train_steps(
                self._states, self._hypers, *examples, self._orders, np.int32(count)
            )
            trained += count
        np.asarray(means["loss"])  # waits until all steps are done
        return time.perf_counter() - began


def _seconds_to_evaluate(setup: Setup, hyper: Hyperparameters, state: TrainState) -> float:
    """Return the seconds to evaluate a chunk of the test images, with compiling the first time."""
    images = setup.dataset.test.images[: predicting.EVAL_BATCH]
    began = time.perf_counter()
    np.asarray(predicting.predict(setup.program, state.variables, hyper, images))
    return time.perf_counter() - began
