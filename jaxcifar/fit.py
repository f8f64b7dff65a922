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

from jaxcifar import environment, plots
from jaxcifar.assemble import make_hyperparameters, make_program
from jaxcifar.checkpoint import Checkpoints, Restored
from jaxcifar.config import Config
from jaxcifar.data import Dataset, Examples
from jaxcifar.drawing import plot_network
from jaxcifar.errors import RunError
from jaxcifar.files import write_text
from jaxcifar.interrupt import Interrupted, stop_signal
from jaxcifar.progress import TrainProgress
from jaxcifar.run_folder import Row, RunFolder
from jaxcifar.selection import SELECTION_RULE, best_epoch
from jaxcifar.summary import Layer, count_flops, count_params, layer_table, trace_layers
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
        saved, last = time.monotonic(), time.monotonic()
        running: dict[str, jax.Array] = {}
        while self.step < end:
            if self.stop.is_set():
                self._interrupt()
            previous, count = running, end - self.step if program.looped else 1
            self.state, running = train_steps(self.state, self.hp, *train, order, np.int32(count))
            self.step += count
            if not previous:
                continue
            # Waiting for the step before keeps one step in flight and the host in touch.
            loss = float(previous["loss"])
            self._require_finite(loss, epoch)
            now = time.monotonic()
            self.epoch_seconds, last = self.epoch_seconds + now - last, now
            done = self.step - 1
            rate = (done - end + program.steps_per_epoch) * program.batch_size / self.epoch_seconds
            progress.update(epoch, done * program.batch_size, rate, loss)
            if now - saved > _AUTOSAVE_SECONDS:
                self._save()
                saved = now
        trained = {name: float(value) for name, value in running.items()}
        self.epoch_seconds += time.monotonic() - last
        self._require_finite(trained["loss"], epoch)
        return trained

    def _require_finite(self, loss: float, epoch: int) -> None:
        if math.isfinite(loss):
            return
        self.checkpoints.wait()
        kept = f"that of epoch {len(self.history)}" if self.history else "none yet"
        raise RunError(
            f"the training loss became {loss} in epoch {epoch}; the last good checkpoint is kept "
            f"({kept}): try a lower --learning-rate in another run folder"
        )

    def _finish_epoch(self, trained: dict[str, float], val: Examples) -> Row:
        """Validate, write the epoch down and save it."""
        epoch, program = len(self.history) + 1, self.program
        val_logits = program.predict(self.state.variables, self.hp, val.images)
        validated = jax.device_get(evaluate(val_logits, val.labels))
        seconds = self.epoch_seconds
        row: Row = {
            "epoch": epoch,
            "learning_rate": float(self.hp.learning_rate[(epoch - 1) * program.steps_per_epoch]),
            "train_loss": trained["loss"],
            "train_accuracy": trained["accuracy"],
            "val_loss": float(validated["loss"]),
            "val_accuracy": float(validated["accuracy"]),
            "seconds": seconds,
            "images_per_second": program.steps_per_epoch * program.batch_size / seconds,
        }
        self._require_finite(row["val_loss"], epoch)
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
        self._describe(layers)
        result = self._result(layers, epoch, chosen, last)
        self.folder.write_result(result)  # last, because it says that the run is finished
        return result

    def _describe(self, layers: list[Layer]) -> None:
        """Write what people look at."""
        title = f"{self.config.arch} on {self.dataset.entry.title}, seed {self.config.seed}"
        write_text(self.folder.summary, layer_table(layers))
        plots.plot_accuracy(self.history, title, self.folder.accuracy_plot)
        plots.plot_loss(self.history, title, self.folder.loss_plot)
        plot_network(layers, self.config.arch, self.folder.model_plot)

    def _test(self, variables: Variables, test: Examples) -> dict[str, Any]:
        logits = self.program.predict(variables, self.hp, test.images)
        return jax.tree.map(np.ndarray.tolist, jax.device_get(evaluate(logits, test.labels)))

    def _result(
        self, layers: list[Layer], epoch: int, chosen: dict[str, Any], last: dict[str, Any]
    ) -> dict[str, Any]:
        entry = self.dataset.entry
        splits = {
            name: len(getattr(self.dataset, name).labels) for name in ("train", "val", "test")
        }
        images = len(self.history) * self.program.steps_per_epoch * self.program.batch_size
        return {
            "dataset": entry.title,
            "dataset_fingerprint": dict(entry.fingerprints),
            "examples": splits,
            "test_accuracy": chosen["accuracy"],
            "test_loss": chosen["loss"],
            "class_accuracy": dict(zip(entry.class_names, chosen["class_accuracy"], strict=True)),
            "selected_epoch": epoch,
            "selection_rule": SELECTION_RULE,
            "val_accuracy": self.history[epoch - 1]["val_accuracy"],
            "last_epoch": {
                "epoch": self.config.epochs,
                "test_accuracy": last["accuracy"],
                "test_loss": last["loss"],
            },
            "parameters": count_params(layers),
            "flops": count_flops(layers),
            "wall_seconds": self._wall_seconds,
            "images_per_second": images / sum(row["seconds"] for row in self.history),
            "device": environment.describe_device(),
            "compute_dtype": str(self.program.model.dtype),
            "versions": environment.versions(),
            "git_commit": self.git_commit,
            "config": dataclasses.asdict(self.config),
        }
