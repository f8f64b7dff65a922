"""Runs from start to end, stopped in every way, and what they leave behind."""

import dataclasses
import io
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from small import SMALL

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.build.setup import Setup
from jaxcifar.config.experiment import Config
from jaxcifar.data import Dataset
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.report import write_report
from jaxcifar.report.run_reading import read_records
from jaxcifar.runs import checkpoint, checkpoint_schedule, training_loop
from jaxcifar.runs import run as run_module
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import validation_metrics
from jaxcifar.runs.task import Task

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
# With all that a state may hold: two kinds of momentum, an average.
CONFIG = Config.create(
    "cnn", recipe="strong", arch_args=SMALL, dataset="shapes10", epochs=3, batch_size=32
)
METRICS = (
    "epoch",
    "learning_rate",
    "train_loss",
    "train_accuracy",
    "val_loss",
    "val_accuracy",
    "val_macro_f1",
    "val_balanced_accuracy",
    "seconds",
    "images_per_second",
    "runs_together",
)
TIMES = ("seconds", "images_per_second")


def train(path, dataset, config=CONFIG, overwrite=False, keep_best=False, screen=None, **options):
    with Path(os.devnull).open("w") as nowhere:
        task = Task(config, path, overwrite=overwrite, keep_best=keep_best)
        console = Console(file=screen or nowhere, width=200)
        return fit(task, lambda: dataset, console, **options)


def rows(path):
    return [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]


def chosen(path):
    return max(rows(path), key=lambda row: (row["val_accuracy"], -row["val_loss"]))


def untimed(path):
    return [{k: v for k, v in row.items() if k not in TIMES} for row in rows(path)]


def final_state(path, dataset, config=CONFIG):
    program = make_program(config, 10, 128, jax.devices())
    hp = make_hyperparameters(config, dataset, program.steps_per_epoch)
    state = program.init(hp, dataset.train.images)
    with Checkpoints(path / "checkpoints", config, program.steps_per_epoch) as checkpoints:
        return checkpoints.load_newest(state, pytest.fail).state


def assert_same_run(path, other, dataset):
    """Bit for bit."""
    assert untimed(path) == untimed(other)
    states = final_state(path, dataset), final_state(other, dataset)
    jax.tree.map(np.testing.assert_array_equal, *states)


@pytest.fixture(scope="module")
def finished(tmp_path_factory, easy_dataset):
    path = tmp_path_factory.mktemp("runs") / "whole"
    return path, train(path, easy_dataset)


def test_what_a_run_leaves_behind(finished, easy_dataset):
    path, result = finished
    assert json.loads((path / "result.json").read_text()) == result
    assert RunFolder(path).read_config() == CONFIG
    assert [row["epoch"] for row in rows(path)] == [1, 2, 3]
    assert all(tuple(row) == METRICS for row in rows(path))
    for plot in ("accuracy", "loss", "model"):
        assert (path / f"{plot}.png").read_bytes().startswith(b"\x89PNG")
    assert f"Total params: {result['parameters']:,}" in (path / "summary.txt").read_text()
    assert result["dataset"] == "shapes10 (synthetic, not CIFAR-10)"
    assert result["last_epoch"]["epoch"] == 3
    assert set(result["class_accuracy"]) == set(easy_dataset.class_names)
    assert result["class_names"] == list("abcdefghij")
    assert 0 < result["compile_seconds"] < result["wall_seconds"]  # it waited for that
    assert result["dataset_name"] == "shapes10"
    assert np.mean(list(result["class_accuracy"].values())) == pytest.approx(
        result["test_accuracy"], abs=1e-6
    )


def test_validation_chooses_the_epoch(finished):
    path, result = finished
    best = chosen(path)
    assert result["selected_epoch"] == best["epoch"]
    assert result["val_accuracy"] == best["val_accuracy"]


def test_the_loss_falls(finished):
    losses = [row["train_loss"] for row in rows(finished[0])]
    assert losses[2] < 0.9 * losses[0]


def test_the_same_config_gives_the_same_run(finished, tmp_path, easy_dataset):
    train(tmp_path / "again", easy_dataset)
    assert_same_run(finished[0], tmp_path / "again", easy_dataset)


@pytest.mark.parametrize(("step", "epoch"), [(1, 1), (2, 1), (4, 1), (11, 3)])
def test_interrupted_at_a_step_and_resumed(finished, tmp_path, easy_dataset, step, epoch):
    """Of four steps an epoch; a line names the step and the epoch that the step is in."""
    with pytest.raises(Interrupted, match="everything is saved"):
        train(tmp_path, easy_dataset, stopper=stopped_after(step))
    assert int(final_state(tmp_path, easy_dataset).step) == step
    assert not (tmp_path / "result.json").exists()
    screen = io.StringIO()
    train(tmp_path, easy_dataset, screen=screen)
    assert f"resuming after step {step} (epoch {epoch}).\n" in screen.getvalue()
    assert_same_run(finished[0], tmp_path, easy_dataset)


@pytest.mark.parametrize("step", [6, 8])
def test_the_seconds_before_a_stop_count(tmp_path, easy_dataset, monkeypatch, step):
    """By a clock that goes a second for each step trained, and a day between two calls."""
    clock = SimpleNamespace(now=0.0)
    clock.monotonic = lambda: clock.now
    train_steps = Setup.train_steps.fget

    def slowly(self):
        def one(*arguments):
            clock.now += 1
            return train_steps(self)(*arguments)

        return one

    monkeypatch.setattr(Setup, "train_steps", property(slowly))
    for module in (training_loop, run_module):
        monkeypatch.setattr(module, "time", clock)
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(step))
    clock.now += 86_400
    result = train(tmp_path, easy_dataset)
    assert [row["seconds"] for row in rows(tmp_path)] == [4, 4, 4]
    assert [row["images_per_second"] for row in rows(tmp_path)] == [32, 32, 32]
    assert result["wall_seconds"] == 12


def test_a_failure_after_the_metrics_were_written(finished, tmp_path, easy_dataset, monkeypatch):
    """A row whose checkpoint never came is written anew, not twice."""

    def failing_save(self, *arguments):
        raise RunError("no space left")

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", failing_save)
        with pytest.raises(RunError, match="no space"):
            train(tmp_path, easy_dataset)
    assert len(rows(tmp_path)) == 1
    with (tmp_path / "metrics.jsonl").open("a") as file:
        file.write('{"epoch": 2, "learn')
    train(tmp_path, easy_dataset)
    assert_same_run(finished[0], tmp_path, easy_dataset)


def test_a_result_written_again_is_the_same_but_for_times(finished, tmp_path, easy_dataset):
    """Nothing is trained, and so nothing said of compiling for it."""
    path, before = shutil.copytree(finished[0], tmp_path / "run"), finished[1]
    (path / "result.json").unlink()
    again = train(path, easy_dataset)
    times = {"wall_seconds": again["wall_seconds"]}
    assert again == {k: v for k, v in before.items() if k != "compile_seconds"} | times


def test_slow_checkpoints_are_put_off_but_not_the_needed_ones(
    finished, tmp_path, easy_dataset, monkeypatch
):
    """After the first they take too long; yet a stop and the end have what they need."""
    saved, save = [], Checkpoints.save
    monkeypatch.setattr(checkpoint_schedule, "_MAX_TIME_SHARE", 1e-9)
    monkeypatch.setattr(Checkpoints, "save", lambda self, *a: (saved.append(a[0]), save(self, *a)))
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, stopper=stopped_after(11))
    best = 4 * chosen(tmp_path)["epoch"]
    assert saved == sorted({4, best, 11})
    result = train(tmp_path, easy_dataset)
    assert saved == sorted({4, best, 11, 12})
    assert result["selected_epoch"] == finished[1]["selected_epoch"]
    assert_same_run(finished[0], tmp_path, easy_dataset)


def test_a_loss_that_is_not_finite_stops_the_run(tmp_path, easy_dataset):
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(RunError, match=r"loss became (nan|inf) in epoch 1.*--learning-rate"):
        train(tmp_path, easy_dataset, config)
    assert not (tmp_path / "result.json").exists()


def test_a_run_that_diverges_names_the_epoch_of_the_checkpoint_it_keeps(
    tmp_path, easy_dataset, monkeypatch
):
    """The loss on the validation images is no number in the third epoch."""
    figures = [{"val_loss": loss, "val_accuracy": 0.5} for loss in (2.0, 1.0, float("nan"))]
    monkeypatch.setattr(run_module, "validation_metrics", lambda *_: figures.pop(0))
    with pytest.raises(RunError) as error:
        train(tmp_path, easy_dataset)
    assert str(error.value).startswith(
        "the validation loss became nan in epoch 3; the last good checkpoint is kept (that of "
        "epoch 2): "
    )
    assert (tmp_path / "failure.txt").read_text() == f"{error.value}\n"
    assert int(final_state(tmp_path, easy_dataset).step) == 8
    assert [row["epoch"] for row in rows(tmp_path)] == [1, 2]
    monkeypatch.setattr(run_module, "validation_metrics", validation_metrics)
    train(tmp_path, easy_dataset)  # as on another device, where the loss stays finite
    assert (tmp_path / "result.json").exists()
    assert not (tmp_path / "failure.txt").exists()


def test_a_state_that_is_not_finite_is_never_saved(tmp_path, easy_dataset, monkeypatch):
    """Checkpoints within an epoch are written after every step here."""
    monkeypatch.setattr(training_loop, "_AUTOSAVE_SECONDS", 0.0)
    config = dataclasses.replace(CONFIG, learning_rate=1e30)
    with pytest.raises(RunError, match="loss became"):
        train(tmp_path, easy_dataset, config)
    state = final_state(tmp_path, easy_dataset, config)
    assert int(state.step) >= 1
    assert all(np.isfinite(leaf).all() for leaf in jax.tree.leaves(state.params))


def test_batches_must_fit_images_and_devices(easy_dataset):
    with pytest.raises(UsageError, match="larger than the 128 training images; use 128 or less"):
        make_program(dataclasses.replace(CONFIG, batch_size=129), 10, 128, jax.devices()[:1])
    with pytest.raises(UsageError, match="multiple of 3, the number of devices"):
        make_program(CONFIG, 10, 128, jax.devices() * 3)


def test_overwrite_starts_anew(finished, tmp_path, easy_dataset):
    train(tmp_path, easy_dataset, dataclasses.replace(CONFIG, seed=7))
    before = rows(tmp_path)
    with pytest.raises(UsageError, match=r"another config .*seed 7 there, 0 asked for"):
        train(tmp_path, easy_dataset)
    assert rows(tmp_path) == before
    screen = io.StringIO()
    train(tmp_path, easy_dataset, overwrite=True, screen=screen)
    line = "deleted the earlier run; the same command without --overwrite resumes this one."
    assert line in screen.getvalue()
    assert_same_run(finished[0], tmp_path, easy_dataset)
    assert json.loads((tmp_path / "config.json").read_text())["seed"] == 0


def test_a_full_disk_after_overwriting_keeps_the_new_run(tmp_path, easy_dataset, monkeypatch):
    full_disk = SimpleNamespace(free=0)
    monkeypatch.setattr(checkpoint.shutil, "disk_usage", lambda path: full_disk)
    with pytest.raises(RunError, match="run the same command without --overwrite to go on"):
        train(tmp_path, easy_dataset, overwrite=True)


def test_what_cannot_start_overwrites_nothing(tmp_path, easy_dataset):
    train(tmp_path, easy_dataset, keep_best=False)
    before = {path: path.read_bytes() for path in tmp_path.rglob("*") if path.is_file()}
    too_large = dataclasses.replace(CONFIG, batch_size=10_000)
    no_weights = dataclasses.replace(CONFIG, init="nowhere.safetensors", init_sha256="0" * 64)
    for config, error in [(too_large, UsageError), (no_weights, RunError)]:
        with pytest.raises(error):
            train(tmp_path, easy_dataset, config, overwrite=True, keep_best=True)
        assert before == {path: path.read_bytes() for path in before}


def test_other_images_are_not_reported_as_those_of_the_catalogue(easy_dataset, tmp_path):
    """Whoever puts images into a data set of ours has one of their own."""
    mine = dataclasses.replace(easy_dataset, train=easy_dataset.test)
    assert easy_dataset.is_from_catalog
    assert not mine.is_from_catalog
    assert mine.sha256 != dataclasses.replace(easy_dataset, train=easy_dataset.val).sha256
    with pytest.raises(UsageError, match="the images are from"):
        train(tmp_path, mine)


def test_all_images_may_be_trained_on(tmp_path):
    """Then nothing is validated, the last epoch is taken, and a report chooses nothing."""
    rng = np.random.RandomState(0)
    count = 128  # as the other runs train on: by the same program
    images = rng.randint(0, 256, (count, 32, 32, 3)).astype(np.uint8)
    labels = np.arange(count) % 10
    mine = Dataset.from_arrays(images, labels, images, labels, name="mine", val_fraction=0.0)
    assert len(mine.train.labels) == count
    config = dataclasses.replace(CONFIG, val_fraction=0.0, dataset="mine", data_sha256=mine.sha256)
    result = train(tmp_path / "run", mine, config)
    history = rows(tmp_path / "run")
    assert not any(name.startswith("val_") for row in history for name in row)
    assert result["selected_epoch"] == config.epochs == len(history)
    assert "val_accuracy" not in result and result["examples"]["val"] == 0
    assert (tmp_path / "run" / "accuracy.png").stat().st_size > 5_000
    [variation] = read_records(tmp_path).variations_without_validation
    assert variation.values("test_accuracy") == [result["test_accuracy"]]
    text = write_report(tmp_path).with_name("REPORT.md").read_text()
    assert text.startswith("# Report: CNN (hidden 8") and f"{result['test_accuracy']:.2%}" in text
    assert "chosen" not in text.partition("## Contents")[0]
