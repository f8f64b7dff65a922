"""The training loop, which trains several runs at a time and writes their files."""

import time
from collections.abc import Iterable, Iterator, Sequence
from threading import Event

import jax
import numpy as np
from jax.stages import Compiled

from jaxcifar.build.setup import Setup
from jaxcifar.errors import OutOfMemoryError, RunError, UsageError
from jaxcifar.machine import processes
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.dispatches import split_into_dispatches
from jaxcifar.runs.pace import COMPILING, STARTING, TRAINING, VALIDATING
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Outcome, Task, stopped_message
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.training.state import Hyperparameters, TrainState

Means = dict[str, jax.Array]  # mean training loss and accuracy of each run since its epoch began
_AUTOSAVE_SECONDS = 300.0  # between two checkpoints within a long epoch


def fit_all(
    runs: Iterable[Run],
    setup: Setup,
    progress: TrainProgress,
    stop_event: Event,
    later_tasks: Sequence[Task] = (),
) -> Iterator[Outcome]:
    """Train runs that share one compiled program; yield the outcome of each run when it ends.

    Args:
      runs: the runs to train. When one of them ends, the next one starts.
      setup: the program and images of all runs, and the number of runs at a time.
      progress: shows the progress.
      stop_event: the caller sets this event to save all runs and stop.
      later_tasks: runs of the study that use other programs, for the message after a stop.

    Raises:
      Interrupted: `stop_event` was set, and all runs are saved.
    """
    loop = _TrainingLoop(iter(runs), setup, progress, stop_event)
    loop.later_tasks = later_tasks
    try:
        yield from loop.train_all()
    except BaseException as error:
        for run in loop.active_runs.values():
            run.close(error)
        raise


class _TrainingLoop:
    """The runs in training. Their arrays are stacked; a run's index in the stack is its slot."""

    def __init__(
        self, runs: Iterator[Run], setup: Setup, progress: TrainProgress, stop_event: Event
    ) -> None:
        self._waiting_runs, self._setup = runs, setup
        self.later_tasks: Sequence[Task] = ()
        self._progress, self._stop_event = progress, stop_event
        self._slots: list[Run | None] = [None] * setup.parallel_runs.run_count
        self._states: TrainState | None = None  # of all slots
        self._hypers: Hyperparameters | None = None
        self._epoch_means: Means = {}
        self._seconds_counted_until = self._last_save_time = 0.0

    @property
    def active_runs(self) -> dict[int, Run]:
        """The runs in training, by slot (index in the stacked arrays)."""
        return {slot: run for slot, run in enumerate(self._slots) if run}

    def train_all(self) -> Iterator[Outcome]:
        while True:
            try:
                yield from self._fill_free_slots()
                if not self.active_runs:
                    return
                self._train_until_epoch_end()
                yield from self._end_epochs()
            except OutOfMemoryError as error:
                yield from self._fail_active_runs(error)

    def _fill_free_slots(self) -> Iterator[Outcome]:
        """Start waiting runs until no slot is free; yield the outcomes of runs that end at once."""
        started_runs: dict[int, Run] = {}
        free_slots = [slot for slot, run in enumerate(self._slots) if run is None]
        while free_slots and (run := next(self._waiting_runs, None)):
            outcome_without_training = self._open_and_start(run)
            if outcome_without_training is not None:
                yield outcome_without_training
                continue
            slot = free_slots.pop(0)
            self._slots[slot] = started_runs[slot] = run
        if started_runs:
            self._load_states(started_runs)

    def _open_and_start(self, run: Run) -> Outcome | None:
        """Start a run and return None, or return its outcome if it can't start or was finished."""
        try:
            with self._progress.during(STARTING):
                run.open()
                if run.result is None:
                    run.start(self._setup)
                    self._progress.skip_finished_epochs(run)
        except (RunError, UsageError) as error:
            return self._close_failed(run, error)
        if run.result is not None:
            run.close()
            return Outcome(run.task, run.result)
        return self._test_and_close(run, run.state) if run.is_trained else None

    def _load_states(self, started_runs: dict[int, Run]) -> None:
        """Write states and hyper-parameters of new runs to their slots of the stacked arrays."""
        parallel_runs = self._setup.parallel_runs
        with self._progress.during(STARTING):
            if self._states is None:  # free slots train a copy of the first run, which is not used
                first_run = next(iter(started_runs.values()))
                arrays_of_slots = [(first_run.state, first_run.hyper)] * parallel_runs.run_count
            else:
                arrays_of_slots = parallel_runs.split((self._states, self._hypers))
            for slot, run in started_runs.items():
                arrays_of_slots[slot] = (run.state, run.hyper)
                del run.state  # else a second copy would stay in memory
            self._states, self._hypers = parallel_runs.join(arrays_of_slots)

    def _train_until_epoch_end(self) -> None:
        """Train all runs until one of them ends an epoch, or a loss is infinite or NaN."""
        program = self._setup.program
        with self._progress.during(COMPILING):
            run_for_free_slots = next(iter(self.active_runs.values()))
            runs = [run or run_for_free_slots for run in self._slots]
            examples = len(self._setup.train.labels)
            orders = [program.epoch_order(run.hyper, np.int32(run.step), examples) for run in runs]
            stacked_orders = self._setup.parallel_runs.join(orders)
            train_steps = self._setup.train_steps  # waits here: compiling is not training time
        with self._progress.during(TRAINING):
            for steps, means in self._dispatch(train_steps, stacked_orders):
                losses = self._wait_for_losses(means)
                image_count = steps * program.batch_size
                self._progress.show(list(self.active_runs.values()), image_count, losses)
                if not np.isfinite(losses).all():
                    return

    def _dispatch(self, train_steps: Compiled, orders: jax.Array) -> Iterator[tuple[int, Means]]:
        """Call the program until a run ends an epoch; yield each call's steps and mean losses."""
        self._seconds_counted_until = self._last_save_time = time.monotonic()
        runs = self.active_runs.values()
        previous_call: tuple[int, Means] | None = None
        steps_left = min(run.steps_left for run in runs)
        for steps in split_into_dispatches(steps_left, self._setup.program):
            can_go_on = self._save_if_due(has_trained=previous_call is not None)
            if not can_go_on:
                break
            trained_steps = [run.step if run else 0 for run in self._slots]
            examples = self._setup.examples_for_steps(orders, trained_steps, steps)
            self._states, self._epoch_means = train_steps(
                self._states, self._hypers, *examples, orders, np.int32(steps)
            )
            for run in runs:
                run.step += steps
            if previous_call is not None:
                yield previous_call  # after the next call has begun, so that no device waits
            previous_call = steps, self._epoch_means
        if previous_call is not None:
            yield previous_call

    def _save_if_due(self, has_trained: bool) -> bool:
        """Save all runs every 5 minutes and at a stop; return False if a loss is NaN or inf."""
        is_overdue = time.monotonic() - self._last_save_time > _AUTOSAVE_SECONDS
        should_stop, should_save = processes.any_process(self._stop_event.is_set(), is_overdue)
        if not should_stop and not should_save:
            return True
        # The checkpoint will contain the steps in progress, so their seconds are counted first.
        if has_trained and not np.isfinite(self._wait_for_losses(self._epoch_means)).all():
            return False
        states = self._setup.parallel_runs.split(self._states)
        for slot, run in self.active_runs.items():
            run.save(states[slot])
        if should_stop:
            self._raise_interrupted()
        self._last_save_time = time.monotonic()
        return True

    def _wait_for_losses(self, means: Means) -> np.ndarray:
        """Return the loss of each run, and count the time since the last call as training time."""
        losses = np.asarray(means["loss"])[list(self.active_runs)]
        now = time.monotonic()
        for run in self.active_runs.values():
            run.epoch_seconds += now - self._seconds_counted_until
            run.runs_together = len(self.active_runs)
        self._seconds_counted_until = now
        return losses

    def _end_epochs(self) -> Iterator[Outcome]:
        """Validate the runs whose epoch is over; yield the outcomes of runs that end with it."""
        with self._progress.during(TRAINING):
            states = self._setup.parallel_runs.split(self._states)
            means_of_slots = jax.device_get(self._epoch_means)
        for slot, run in self.active_runs.items():
            means_of_run = {name: float(means[slot]) for name, means in means_of_slots.items()}
            final_outcome = self._end_epoch(run, states[slot], means_of_run)
            if final_outcome is not None:
                self._slots[slot] = None
                yield final_outcome

    def _end_epoch(self, run: Run, state: TrainState, means: dict[str, float]) -> Outcome | None:
        """Validate a run if its epoch is over; return its outcome, or None if training goes on."""
        try:
            run.fail_if_not_finite("training", means["loss"])
            if run.is_epoch_over:
                with self._progress.evaluating(VALIDATING, len(self._setup.val.labels)):
                    metrics_of_epoch = run.end_epoch(state, means)
                run.observers.epoch(metrics_of_epoch)
        except (RunError, UsageError) as error:  # a UsageError if a user's metric fails
            return self._close_failed(run, error)
        return self._test_and_close(run, state) if run.is_trained else None

    def _test_and_close(self, run: Run, state: TrainState) -> Outcome:
        try:
            with self._progress.testing(run, self._setup):
                result = run.finish(state)
        except (RunError, UsageError) as error:
            return self._close_failed(run, error)
        run.observers.finished(result)
        run.close()
        return Outcome(run.task, result)

    def _close_failed(self, run: Run, error: RunError | UsageError) -> Outcome:
        run.close(error)
        self._progress.skip_failed_run(run, self._setup)
        return Outcome(run.task, error=error)

    def _fail_active_runs(self, error: OutOfMemoryError) -> Iterator[Outcome]:
        failed_runs = self.active_runs.values()  # their states are lost
        self._slots = [None] * len(self._slots)
        self._states = self._hypers = None
        for run in failed_runs:
            # A new error, because the traceback of the first one keeps arrays alive.
            yield self._close_failed(run, OutOfMemoryError(str(error)))

    def _raise_interrupted(self) -> None:
        runs = self.active_runs.values()
        for run in runs:
            run.wait()
        waiting_tasks = [*(run.task for run in self._waiting_runs), *self.later_tasks]
        has_trained = any(run.step > 0 for run in runs)
        raise Interrupted(stopped_message([run.task for run in runs], waiting_tasks, has_trained))
