"""The one loop with side effects: epochs, progress, metrics, checkpoints, resume, result."""

import dataclasses
import math
import threading
import time
from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from rich.console import Console

from jaxcifar import environment
from jaxcifar.assemble import make_hyperparameters, make_program
from jaxcifar.checkpoint import Checkpoints, Restored
from jaxcifar.config import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.errors import RunError
from jaxcifar.interrupt import Interrupted, stop_signal
from jaxcifar.progress import TrainProgress
from jaxcifar.result import best_epoch, decimal, describe, run_figures, tested_figures
from jaxcifar.run_folder import Row, RunFolder
from jaxcifar.summary import trace_layers
from jaxcifar.train import Hyperparameters, Program, TrainState, Variables, evaluate

_AUTOSAVE_SECONDS = 300.0  # between two checkpoints within a long epoch


def fit(config: Config, dataset: Dataset, folder: RunFolder, console: Console) -> dict[str, Any]:
    """Train what `config` says in `folder`, going on where an earlier call was stopped.

    Returns:
      the content of `result.json`.

    Raises:
      Interrupted: after SIGINT or SIGTERM, with the state saved.
      RunError: the loss is not finite, or something can't be written; earlier checkpoints stay.
      UsageError: the batch size does not fit the images or the devices.
    """
    program = make_program(config, len(dataset.train.labels), jax.devices())
    hp = make_hyperparameters(config, dataset, program.steps_per_epoch)
    hp = jax.device_put(hp, program.replicated)
    with Checkpoints(folder.checkpoints) as checkpoints, stop_signal(console) as stop:
        run = _Run(config, dataset, folder, console, program, hp, checkpoints, stop)
        run.resume()
        run.train()
        return run.finish()


@dataclasses.dataclass
class _Run:
    """One call of `fit`: what stays the same, and below it what moves on."""

    config: Config
    dataset: Dataset
    folder: RunFolder
    console: Console
    program: Program
    hp: Hyperparameters
    checkpoints: Checkpoints
    stop: threading.Event

    state: TrainState = dataclasses.field(init=False)
    step: int = 0  # the host's copy of `state.step`
    saved_step: int = 0
    history: list[Row] = dataclasses.field(default_factory=list)
    epoch_seconds: float = 0.0  # spent training in the current epoch, earlier calls included
    wall_seconds_before: float = 0.0  # spent by earlier calls
    began: float = dataclasses.field(default_factory=time.monotonic)
    # Asked for at the start: the files may have moved on by the end of a long run.
    git_commit: str | None = dataclasses.field(default_factory=environment.git_commit)

    def resume(self) -> None:
        """Start from the newest good checkpoint, or from the seed."""
        self.state = self.program.init(self.hp)
        restored = self.checkpoints.newest(self.state, self._say)
        if restored is not None:
            self._take(restored)
            self._say(f"resuming after step {self.step} (epoch {self._epoch}).")
        self.folder.write_history(self.history)

    def _take(self, restored: Restored) -> None:
        self.state, notes = restored
        self.step = self.saved_step = int(self.state.step)
        self.history = notes["history"]
        self.epoch_seconds = notes["epoch_seconds"]
        self.wall_seconds_before = notes["wall_seconds"]

    def _say(self, line: str) -> None:
        self.console.print(line, highlight=False, soft_wrap=True)

    @property
    def _epoch(self) -> int:
        """The epoch that the next step is in, from 1."""
        return self.step // self.program.steps_per_epoch + 1

    def _step_after(self, epoch: int) -> int:
        return epoch * self.program.steps_per_epoch

    @property
    def _wall_seconds(self) -> float:
        return self.wall_seconds_before + time.monotonic() - self.began

    def train(self) -> None:
        """Train to the last step."""
        program, config = self.program, self.config
        if self._epoch > config.epochs:
            return
        train, val = (
            jax.device_put(Examples(*map(jnp.asarray, examples)), program.replicated)
            for examples in (self.dataset.train, self.dataset.val)
        )
        images_per_epoch = program.steps_per_epoch * program.batch_size
        progress = TrainProgress(
            self.console, config.epochs, images_per_epoch, self.step * program.batch_size
        )
        with progress:
            order = self._order(train)
            # Compiled ahead, so that no epoch's time includes it.
            train_steps = Program.train_steps.lower(
                program, self.state, self.hp, *train, order, np.int32(1)
            ).compile()
            while self._epoch <= config.epochs:
                trained = self._train_epoch(train_steps, train, progress)
                row = self._finish_epoch(trained, val)
                progress.epoch_line(row)

    def _order(self, train: Examples) -> jax.Array:
        return self.program.epoch_order(self.hp, self.state.step, len(train.labels))

    def _train_epoch(
        self, train_steps: Callable, train: Examples, progress: TrainProgress
    ) -> dict[str, float]:
        """Train to the end of the current epoch; its mean loss and accuracy."""
        program, epoch, order = self.program, self._epoch, self._order(train)
        end = self._step_after(epoch)
        saved = last = time.monotonic()
        running: dict[str, jax.Array] = {}
        while self.step < end:
            if self.stop.is_set():
                self._interrupt()
            before, count = running, end - self.step if program.looped else 1
            self.state, running = train_steps(self.state, self.hp, *train, order, np.int32(count))
            self.step += count
            # Waiting for the dispatch before keeps one in flight and the host in touch.
            waited = before if self.step < end else running
            if not waited:
                continue
            loss = float(waited["loss"])
            self._require_finite("training", loss, epoch)
            now = time.monotonic()
            self.epoch_seconds, last = self.epoch_seconds + now - last, now
            progress.update(epoch, self.step * program.batch_size, self._rate(end), loss)
            if now - saved > _AUTOSAVE_SECONDS:
                self._save()
                saved = now
                steps = program.steps_per_epoch
                self._say(f"epoch {epoch}: step {self.step - end + steps}/{steps} saved.")
        return {name: decimal(value) for name, value in running.items()}

    def _rate(self, end: int) -> float:
        """Images a second in the epoch that ends with step `end`, so far."""
        steps = self.step - end + self.program.steps_per_epoch
        return steps * self.program.batch_size / self.epoch_seconds

    def _require_finite(self, name: str, loss: float, epoch: int) -> None:
        if math.isfinite(loss):
            return
        self.checkpoints.wait()
        kept = f"that of epoch {len(self.history)}" if self.history else "none yet"
        raise RunError(
            f"the {name} loss became {loss} in epoch {epoch}; the last good checkpoint is kept "
            f"({kept}): try a lower --learning-rate in another run folder"
        )

    def _finish_epoch(self, trained: dict[str, float], val: Examples) -> Row:
        """Validate, write the epoch down and save it."""
        epoch, program = len(self.history) + 1, self.program
        val_logits = program.predict(self.state.variables, self.hp, val.images)
        validated = jax.device_get(evaluate(val_logits, val.labels))
        row: Row = {
            "epoch": epoch,
            "learning_rate": decimal(self.hp.learning_rate[(epoch - 1) * program.steps_per_epoch]),
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": decimal(validated["loss"]),
            "val_accuracy": decimal(validated["accuracy"]),
            "seconds": self.epoch_seconds,
            "images_per_second": self._rate(self.step),
        }
        self._require_finite("validation", row["val_loss"], epoch)
        self.history.append(row)
        self.epoch_seconds = 0.0
        self.folder.append_row(row)
        self._save()
        return row

    def _save(self) -> None:
        notes = {
            "history": self.history,
            "epoch_seconds": self.epoch_seconds,
            "wall_seconds": self._wall_seconds,
        }
        # The best so far, and the best before the newest: needed again if the newest is damaged.
        histories = [h for h in (self.history, self.history[:-1]) if h]
        keep = {self._step_after(best_epoch(history)) for history in histories}
        self.checkpoints.save(self.step, self.state, notes, keep)
        self.saved_step = self.step

    def _interrupt(self) -> None:
        if self.step != self.saved_step:
            self._save()
        self.checkpoints.wait()
        raise Interrupted(
            f"stopped in epoch {self._epoch} at step {self.step}; everything is saved in "
            f"{self.folder.path}: the same command goes on from here"
        )

    def finish(self) -> dict[str, Any]:
        """Choose by validation, look at the test images, and write the result."""
        self.checkpoints.wait()
        epoch = best_epoch(self.history)
        step = self._step_after(epoch)
        test = jax.device_put(
            Examples(*map(jnp.asarray, self.dataset.test)), self.program.replicated
        )
        last = self._test(self.state.variables, test)
        if step == self.step:
            chosen = last
        else:
            chosen = self._test(self.checkpoints.load(step, self.state).state.variables, test)
        layers = trace_layers(self.program.model)
        describe(self.folder, self.config, self.dataset.entry, self.history, layers)
        result = {
            **tested_figures(self.dataset.entry, self.history, epoch, chosen, last),
            **run_figures(self.config, self.dataset, self.history, layers),
            "wall_seconds": self._wall_seconds,
            "compute_dtype": str(self.program.model.dtype),
            "git_commit": self.git_commit,
        }
        self.folder.write_result(result)  # last, because it says that the run is finished
        return result

    def _test(self, variables: Variables, test: Examples) -> dict[str, Any]:
        logits = self.program.predict(variables, self.hp, test.images)
        return jax.device_get(evaluate(logits, test.labels))
