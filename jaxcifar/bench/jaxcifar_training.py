"""The training of this package, as a contestant of the benchmark."""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from jaxcifar.bench.work import CLASSES, Timing, Work, random_examples
from jaxcifar.build.setup import Setup
from jaxcifar.data import Dataset
from jaxcifar.machine.environment import use_cpu_cores
from jaxcifar.runs.dispatches import split_into_dispatches
from jaxcifar.runs.file_formats import Result
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.training import predicting


class JaxcifarTraining:
    """The training that `jaxcifar run` does, including augmentation and metrics."""

    def __init__(self, work: Work) -> None:
        use_cpu_cores(work.batch_size, parts=work.config.accumulate)
        self._work = work
        train, test = random_examples(work)
        mean, std = np.full(3, 0.5, np.float32), np.full(3, 0.25, np.float32)
        class_names = tuple(map(str, range(CLASSES)))
        self._dataset = Dataset("noise", "noise", class_names, train, test, test, mean, std)
        self._config = dataclasses.replace(
            work.config, dataset=self._dataset.name, data_sha256=self._dataset.sha256
        )
        self._setup = Setup.create(self._config, self._dataset, work.at_once)
        program, parallel_runs = self._setup.program, self._setup.parallel_runs
        self._hp = self._setup.place(self._setup.hyperparameters(self._config))
        self._setup.compile_ahead(self._hp)
        state = program.init(self._hp, train.images)
        order = program.epoch_order(self._hp, np.int32(0), len(train.labels))
        equal_runs = [(state, self._hp, order)] * work.at_once
        self._states, self._hps, self._orders = parallel_runs.join(equal_runs)
        self._variables = state.variables
        self._train_steps = self._setup.train_steps

    def train(self, steps: int) -> Timing:
        """Train all runs for `steps` steps; return the number of images and the seconds."""
        step = self._states.step
        first_step = jax.device_put(np.zeros_like(step), step.sharding)
        self._states = self._states.replace(step=first_step)
        began = time.perf_counter()
        trained_steps = 0
        for count in split_into_dispatches(steps, self._setup.program):
            positions = [trained_steps] * self._work.at_once  # the same in each run
            examples = self._setup.examples_for_steps(self._orders, positions, count)
            self._states, means = self._train_steps(
                self._states, self._hps, *examples, self._orders, np.int32(count)
            )
            trained_steps += count
        np.asarray(means["loss"])  # waits until all steps are done
        return Timing(steps * self._work.images_per_step, time.perf_counter() - began)

    @property
    def train_program(self) -> str:
        """The text of the compiled training program; empty if XLA does not give it."""
        return self._train_steps.as_text() or ""

    def evaluate(self, batches: int) -> Timing:
        """Predict all test images; return their number and the seconds.

        `batches` is ignored, because the compiled program always takes all test images.
        """
        began = time.perf_counter()
        images, labels = self._setup.val
        logits = predicting.predict(self._setup.program, self._variables, self._hp, images)
        self._setup.metric_set.measure(logits, labels)  # waits until all images are done
        return Timing(len(labels), time.perf_counter() - began)

    def peak_memory(self) -> int | None:
        """Return the maximum bytes used on an accelerator so far; None on a CPU."""
        return peak_device_memory()

    def whole_run(self, folder: Path) -> Result:
        """Train a whole run of two epochs that writes its files to `folder`; return its result."""
        return fit(Task(self._config, folder), lambda: self._dataset, Console(quiet=True))


def peak_device_memory() -> int | None:
    """Return the maximum bytes used on the first device so far; None if JAX does not report it."""
    stats = jax.devices()[0].memory_stats()
    return stats.get("peak_bytes_in_use") if stats else None
