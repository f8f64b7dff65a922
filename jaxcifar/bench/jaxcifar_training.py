"""The training of this package, as a contestant of the benchmark."""

import dataclasses
import time
from pathlib import Path

import jax
import numpy as np
from rich.console import Console

from jaxcifar.bench.timed_training import TimedTraining
from jaxcifar.bench.work import CLASSES, Timing, Work, random_examples
from jaxcifar.build.setup import Setup
from jaxcifar.data import Dataset
from jaxcifar.machine.environment import use_cpu_cores
from jaxcifar.runs.file_formats import Result
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.training import predicting


class JaxcifarTraining:
    """The training that `jaxcifar run` does, including augmentation and metrics."""

    def __init__(self, work: Work) -> None:
        use_cpu_cores(work.batch_size, parts_per_batch=work.config.accumulate)
        self._work = work
        train, test = random_examples(work)
        channel_mean = np.full(3, 0.5, np.float32)
        channel_std = np.full(3, 0.25, np.float32)
        class_names = tuple(map(str, range(CLASSES)))
        self._dataset = Dataset(
            name="noise",
            title="noise",
            class_names=class_names,
            train=train,
            val=test,
            test=test,
            mean=channel_mean,
            std=channel_std,
        )
        self._config = dataclasses.replace(
            work.config, dataset=self._dataset.name, data_sha256=self._dataset.sha256
        )
        self._setup = Setup.create(self._config, self._dataset, work.runs_at_once)
        self._hyper = self._setup.place(self._setup.hyperparameters(self._config))
        self._setup.compile_ahead(self._hyper)
        state = self._setup.program.init(self._hyper, train.images)
        self._training = TimedTraining(self._setup, self._hyper, state)
        self._variables = state.variables

    def train(self, steps: int) -> Timing:
        """Train all runs for `steps` steps; return the number of images and the seconds."""
        self._training.continue_at(step=0)
        seconds = self._training.train(steps)
        return Timing(steps * self._work.images_per_step, seconds)

    @property
    def train_program(self) -> str:
        """The text of the compiled training program; empty if XLA does not give it."""
        return self._setup.train_steps.as_text() or ""

    def evaluate(self, batches: int) -> Timing:
        """Predict all test images; return their number and the seconds.

        `batches` is ignored, because the compiled program always takes all test images.
        """
        start_time = time.perf_counter()
        images, labels = self._setup.val
        logits = predicting.predict(self._setup.program, self._variables, self._hyper, images)
        self._setup.metric_set.measure(logits, labels)  # waits until all images are done
        return Timing(len(labels), time.perf_counter() - start_time)

    def peak_memory(self) -> int | None:
        """Return the maximum bytes used on an accelerator so far; None on a CPU."""
        return peak_device_memory()

    def whole_run(self, folder: Path) -> Result:
        """Train a whole run of two epochs that writes its files to `folder`; return its result."""
        return fit(Task(self._config, folder), lambda: self._dataset, Console(quiet=True))


def peak_device_memory() -> int | None:
    """Return the maximum bytes used on the first device so far; None if JAX does not report it."""
    memory_statistics = jax.devices()[0].memory_stats()
    return memory_statistics.get("peak_bytes_in_use") if memory_statistics else None
