"""Runs trained side by side, each to its end: the one loop with side effects."""

import os
import time
from collections.abc import Callable, Iterable, Iterator
from functools import partial
from threading import Event

import jax
import numpy as np

from jaxcifar.build.setup import Setup
from jaxcifar.errors import OutOfMemoryError, RunError, UsageError
from jaxcifar.machine import processes
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.runs.dispatches import count_seconds, dispatches
from jaxcifar.runs.pace import COMPILING, STARTING, TEST_PASSES, TESTING, TRAINING, VALIDATING
from jaxcifar.runs.run import Run
from jaxcifar.runs.saved import Result
from jaxcifar.runs.task import Outcome
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.training.state import Hyperparameters, TrainState

_AUTOSAVE_SECONDS = 300.0  # between two checkpoints within a long epoch


def fit_all(
    runs: Iterable[Run], setup: Setup, progress: TrainProgress, stop: Event
) -> Iterator[Outcome]:
    """Do runs that share a setup, as many at once as it is made for.

    Args:
      runs: taken one by one, as slots become free; opened already, or opened here.
      setup: fits each of them.
      progress: shows how far they are.
      stop: set to make it save everything and raise.

    Yields:
      how each ended, in any order.

    Raises:
      Interrupted: `stop` was set.
    """
    crew = _Crew(iter(runs), setup, progress, stop)
    try:
        yield from crew.outcomes()
    except BaseException as error:
        crew.close(error)
        raise


class _Crew:
    """The runs being trained: R slots in the arrays of `Together`, some of them idle."""

    def __init__(
        self, runs: Iterator[Run], setup: Setup, progress: TrainProgress, stop: Event
    ) -> None:
        self._waiting, self._setup = runs, setup
        self._progress, self._stop = progress, stop
        self._slots: list[Run | None] = [None] * setup.together.at_once
        self._states: TrainState | None = None  # of all slots
        self._hps: Hyperparameters | None = None
        self._means: dict[str, np.ndarray] = {}  # training loss and accuracy of all slots

    @property
    def _at_work(self) -> list[tuple[int, Run]]:
        return [(slot, run) for slot, run in enumerate(self._slots) if run]

    def outcomes(self) -> Iterator[Outcome]:
        """Yield tasks as they end."""
        while True:
            try:
                yield from self._fill_slots()
                if not self._at_work:
                    return
                self._train()
                yield from self._end_epochs()
            except OutOfMemoryError as error:
                yield from self._give_up(error)

    def _fill_slots(self) -> Iterator[Outcome]:
        """Give idle slots to runs that still need training."""
        newcomers: dict[int, Run] = {}
        for slot in range(len(self._slots)):
            while self._slots[slot] is None and (run := next(self._waiting, None)):
                try:
                    with self._progress.during(STARTING):
                        run.open()
                        if run.result is None:
                            run.start(self._setup)
                            self._progress.resumed(run)
                except (RunError, UsageError) as error:
                    run.close(error)
                    self._progress.given_up(run, self._setup)
                    yield Outcome(run.task, error=error)
                    continue
                if run.result is not None:
                    run.close()
                    yield Outcome(run.task, run.result)
                elif run.trained:
                    if outcome := self._end(run, partial(self._finish, run, run.state)):
                        yield outcome
                else:
                    self._slots[slot] = newcomers[slot] = run
        if newcomers:
            self._join(newcomers)

    def _join(self, newcomers: dict[int, Run]) -> None:
        together = self._setup.together
        with self._progress.during(STARTING):
            if self._states is None:  # idle slots compute what the first run does
                first = next(iter(newcomers.values()))
                trees = [(first.state, first.hp)] * together.at_once
            else:
                trees = together.split((self._states, self._hps))
            for slot, run in newcomers.items():
                trees[slot] = (run.state, run.hp)
                del run.state  # not a copy to be kept beside the one in training
            self._states, self._hps = together.join(trees)

    def _train(self) -> None:
        """Train to where the first run ends an epoch, or blows up."""
        with self._progress.during(COMPILING):
            advance = self._stepper()
        with self._progress.during(TRAINING):
            self._dispatch([run for _, run in self._at_work], advance)

    def _dispatch(self, at_work: list[Run], advance: Callable[[int], dict[str, jax.Array]]) -> None:
        left = min(run.steps_left for run in at_work)
        saved = last = time.monotonic()
        running: dict[str, jax.Array] = {}
        dispatched = counted = 0  # steps
        for count in dispatches(left, self._setup.program):
            overdue = time.monotonic() - saved > _AUTOSAVE_SECONDS
            stop, save = processes.any_process(self._stop.is_set(), overdue)
            if stop or save:  # the steps in flight are saved, and so must be their seconds
                jax.block_until_ready(running)
                last = count_seconds(at_work, last)
                if running and not np.isfinite(running["loss"]).all():
                    break  # never save a state that is not finite
            if stop:
                self._interrupt()
            if save:
                self._save()
                saved = time.monotonic()
            before, running = running, advance(count)
            left -= count
            dispatched += count
            for run in at_work:
                run.step += count
            # Waiting for the dispatch before keeps one in flight and the host in touch.
            waited = before if left else running
            if not waited:
                continue
            losses = np.asarray(waited["loss"])[[slot for slot, _ in self._at_work]]
            last = count_seconds(at_work, last)
            steps = dispatched - (count if left else 0) - counted
            counted += steps
            self._progress.show(at_work, steps * self._setup.program.batch_size, losses)
            if not np.isfinite(losses).all():
                break
        self._means = jax.device_get(running)

    def _stepper(self) -> Callable[[int], dict[str, jax.Array]]:
        """Return a function that trains all slots for some steps, and returns the epoch's means."""
        setup, together = self._setup, self._setup.together
        someone = self._at_work[0][1]
        orders = together.join([self._order(run or someone) for run in self._slots])
        train_steps = setup.train_steps  # waits for compiling, so that no epoch's time has it

        def advance(count: int) -> dict[str, jax.Array]:
            self._states, means = train_steps(
                self._states, self._hps, *setup.train, orders, np.int32(count)
            )
            return means

        return advance

    def _order(self, run: Run) -> jax.Array:
        examples = len(self._setup.train.labels)
        return self._setup.program.epoch_order(run.hp, np.int32(run.step), examples)

    def _give_up(self, error: OutOfMemoryError) -> Iterator[Outcome]:
        """End the runs at work, whose states are lost; waiting runs take their slots."""
        at_work, self._slots = self._at_work, [None] * len(self._slots)
        self._states = self._hps = None
        for _, run in at_work:
            # The traceback of the first error keeps arrays alive.
            untraced = OutOfMemoryError(str(error))
            run.close(untraced)
            self._progress.given_up(run, self._setup)
            yield Outcome(run.task, error=untraced)

    def _end_epochs(self) -> Iterator[Outcome]:
        """Write down what was reached; slots of runs that are over become idle."""
        with self._progress.during(TRAINING):
            states = self._setup.together.split(self._states)
        for slot, run in self._at_work:
            outcome = self._end(run, partial(self._write_down, run, states[slot], slot))
            if outcome:
                self._slots[slot] = None
                yield outcome

    def _write_down(self, run: Run, state: TrainState, slot: int) -> Result | None:
        trained = {name: float(values[slot]) for name, values in self._means.items()}
        run.require_finite("training", trained["loss"])
        if run.epoch_over:
            with self._progress.looking(VALIDATING, len(self._setup.val.labels)):
                row = run.end_epoch(state, trained)
            run.observers.epoch(row)
        return self._finish(run, state) if run.trained else None

    def _finish(self, run: Run, state: TrainState) -> Result:
        images = TEST_PASSES * len(self._setup.dataset.test.labels)
        with self._progress.looking(TESTING, images):
            return run.finish(state)

    def _end(self, run: Run, last_act: Callable[[], Result | None]) -> Outcome | None:
        """Call `last_act`, and return the outcome of the run; None if the run is not over."""
        try:
            result = last_act()
        except (RunError, UsageError) as error:  # the latter if a user's metric fails
            run.close(error)
            self._progress.given_up(run, self._setup)
            return Outcome(run.task, error=error)
        if result is None:
            return None
        run.observers.finished(result)
        run.close()
        return Outcome(run.task, result)

    def _save(self) -> None:
        for state, run in zip(self._setup.together.split(self._states), self._slots, strict=True):
            if run:
                run.save(state)

    def _interrupt(self) -> None:
        self._save()
        runs = [run for _, run in self._at_work]
        for run in runs:
            run.wait()
        if not any(run.step for run in runs):
            raise Interrupted("stopped before the first step; the same command starts anew")
        saved = f"everything is saved in {os.path.commonpath([run.task.path for run in runs])}"
        raise Interrupted(f"stopped; {saved}: the same command goes on from here")

    def close(self, error: BaseException) -> None:
        """Close all active runs, because of an error that ends them."""
        for _, run in self._at_work:
            run.close(error)
