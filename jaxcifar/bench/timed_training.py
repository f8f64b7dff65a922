"""Train some steps of one or more runs, and measure the time, for the benchmark and `--dry-run`."""

import time

import jax
import numpy as np

from jaxcifar.build.setup import Setup
from jaxcifar.runs.dispatches import split_into_dispatches
from jaxcifar.training.state import Hyperparameters, TrainState


class TimedTraining:
    """The compiled training program, with the training states of all runs, to time its steps."""

    def __init__(self, setup: Setup, hyper: Hyperparameters, state: TrainState) -> None:
        """Prepare runs that are trained together, all from the same state and on the same images.

        Args:
          setup: the compiled program, the number of runs that it trains, and the images.
          hyper: hyper-parameters of each run.
          state: training state that each run begins with.
        """
        order = setup.program.epoch_order(hyper, np.int32(0), len(setup.train.labels))
        parallel_runs = setup.parallel_runs
        joined_runs = parallel_runs.join([(state, hyper, order)] * parallel_runs.run_count)
        self.states, self._hypers, self._orders = joined_runs
        self._setup = setup

    @property
    def steps_per_epoch(self) -> int:
        """Number of training steps in an epoch."""
        return self._setup.program.steps_per_epoch

    def continue_at(self, step: int) -> None:
        """Make all runs continue at a step of training; steps are counted from 0."""
        last_step = self.states.step
        next_step = jax.device_put(np.full_like(last_step, step), last_step.sharding)
        self.states = self.states.replace(step=next_step)

    def train(self, steps: int) -> float:
        """Train all runs for `steps` steps, and return the seconds."""
        start_time = time.perf_counter()
        trained_steps = 0
        for step_count in split_into_dispatches(steps, self._setup.program):
            run_count = self._setup.parallel_runs.run_count
            first_steps = [trained_steps] * run_count  # the same in each run
            examples = self._setup.examples_for_steps(self._orders, first_steps, step_count)
            self.states, mean_metrics = self._setup.train_steps(
                self.states, self._hypers, *examples, self._orders, np.int32(step_count)
            )
            trained_steps += step_count
        np.asarray(mean_metrics["loss"])  # waits until all steps are done
        return time.perf_counter() - start_time
