"""Runs that go on where another run ended: the same numbers as without the break, in one folder."""

import dataclasses
import io
import json
import shutil

import jax
import numpy as np
import pytest
import safetensors.numpy
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from small import SMALL

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.report.run_reading import read_run
from jaxcifar.runs import continuation
from jaxcifar.runs import run as run_module
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
# With all that a state may hold: momentum, an average, flips by the number of the epoch.
SETTINGS = {
    "recipe": "strong",
    "arch_args": SMALL,
    "dataset": "shapes10",
    "batch_size": 32,
    "schedule": "none",
    "learning_rate": 0.01,
}
TIMES = ("seconds", "images_per_second")
STEPS = 4  # in an epoch


def train(path, dataset, config, screen=None, **options):
    task = Task(config, path, **options.pop("task", {}))
    console = Console(file=screen or io.StringIO(), width=200)
    return fit(task, lambda: dataset, console, **options)


def rows(path):
    lines = (path / "metrics.jsonl").read_text().splitlines()
    return [{k: v for k, v in json.loads(line).items() if k not in TIMES} for line in lines]


def arrays(path):
    return safetensors.numpy.load((path / "weights.safetensors").read_bytes())


def last_checkpoint(path):
    """The arrays of the last checkpoint, read by orbax alone."""
    import orbax.checkpoint as ocp

    steps = [int(folder.name) for folder in (path / "checkpoints").iterdir()]
    return ocp.PyTreeCheckpointer().restore(path / "checkpoints" / str(max(steps)) / "state")


def assert_same_state(path, other):
    states = last_checkpoint(path), last_checkpoint(other)
    assert len(jax.tree.leaves(states[0])) > 20  # the average and the momentum too
    jax.tree.map(np.testing.assert_array_equal, *states)


def contents(folder):
    return {path: path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture(scope="module")
def two(tmp_path_factory, easy_dataset):
    """A finished run of two epochs."""
    path = tmp_path_factory.mktemp("runs") / "two"
    train(path, easy_dataset, Config.create("cnn", epochs=2, **SETTINGS))
    return path


@pytest.fixture(scope="module")
def three(tmp_path_factory, easy_dataset):
    """A finished run of three epochs without a break."""
    path = tmp_path_factory.mktemp("runs") / "three"
    train(path, easy_dataset, Config.create("cnn", epochs=3, **SETTINGS))
    return path


def test_two_and_one_epochs_at_a_constant_rate_are_three_bit_for_bit(
    two, three, tmp_path, easy_dataset, caplog
):
    before, screen = contents(two), io.StringIO()
    config = Config.create(continue_from=str(two), epochs=3)
    result = train(tmp_path / "more", easy_dataset, config, screen)
    assert f"continuing {two} after step 8 (epoch 2).\n" in screen.getvalue()
    assert contents(two) == before
    assert [line.message for line in caplog.records if line.levelname == "WARNING"] == []
    assert rows(tmp_path / "more") == rows(three)
    assert_same_state(tmp_path / "more", three)
    whole = json.loads((three / "result.json").read_text())
    assert result["test_loss"] == whole["test_loss"]
    assert result["config"]["continue_sha256"] == config.continue_sha256
    assert read_run(tmp_path / "more").config == config


def test_the_digest_is_that_of_the_last_checkpoint(two):
    metadata = json.loads((two / "checkpoints" / "8" / "notes" / "metadata").read_text())
    config = Config.create(continue_from=str(two), epochs=3)
    assert (config.continue_sha256, config.continue_epochs) == (metadata["sha256"], 2)


@pytest.mark.parametrize("steps", [0, 3])
def test_a_further_run_that_is_stopped_goes_on_by_the_same_command(
    two, three, tmp_path, easy_dataset, steps
):
    config = Config.create(continue_from=str(two), epochs=3)
    with pytest.raises(Interrupted):
        train(tmp_path / "more", easy_dataset, config, stopper=stopped_after(steps))
    screen = io.StringIO()
    train(tmp_path / "more", easy_dataset, config, screen)
    assert f"resuming after step {8 + steps}" in screen.getvalue()
    assert rows(tmp_path / "more") == rows(three)
    assert_same_state(tmp_path / "more", three)


def test_a_kill_while_the_earlier_checkpoints_are_copied_does_no_harm(
    two, three, tmp_path, easy_dataset, monkeypatch
):
    """The copy of the best epoch is there and that of the last is not, so nothing can go on."""
    monkeypatch.setattr(continuation, "best_epoch", lambda history: 1)
    config = Config.create(continue_from=str(two), epochs=3)
    save = Checkpoints.save

    def fail_at_last(self, step, *arguments, **options):
        if step == 2 * STEPS:
            raise RunError("killed")
        save(self, step, *arguments, **options)

    with monkeypatch.context() as patch:
        patch.setattr(Checkpoints, "save", fail_at_last)
        with pytest.raises(RunError, match="killed"):
            train(tmp_path / "more", easy_dataset, config)
    assert [path.name for path in (tmp_path / "more" / "checkpoints").iterdir()] == ["4"]
    train(tmp_path / "more", easy_dataset, config)
    assert_same_state(tmp_path / "more", three)


def test_the_best_epoch_may_be_one_of_the_earlier_run_whose_folder_is_gone(
    two, tmp_path, easy_dataset, monkeypatch
):
    """All further epochs are worse."""
    worse = {"val_loss": 9.0, "val_accuracy": 0.0}
    monkeypatch.setattr(run_module, "validation_metrics", lambda *_: worse)
    path = tmp_path / "two"
    shutil.copytree(two, path)
    best = json.loads((path / "result.json").read_text())["selected_epoch"]
    config = Config.create(continue_from=str(path), epochs=3, learning_rate=0.1)
    with pytest.raises(Interrupted):
        train(tmp_path / "more", easy_dataset, config, stopper=stopped_after(2))
    shutil.rmtree(path)
    result = train(tmp_path / "more", easy_dataset, config)
    assert result["selected_epoch"] == best <= 2
    assert result["last_epoch"]["epoch"] == 3
    expected = arrays(two)
    for name, array in arrays(tmp_path / "more").items():
        np.testing.assert_array_equal(array, expected[name])


def test_another_run_in_place_of_the_continued_one_is_noticed(two, tmp_path, easy_dataset):
    config = Config.create(continue_from=str(two), epochs=3)
    other = dataclasses.replace(config, continue_sha256="0" * 64)
    message = "the last checkpoint of this run has changed since another run began to continue it"
    with pytest.raises(RunError, match=message):
        train(tmp_path / "more", easy_dataset, other)
    assert not (tmp_path / "more" / "config.json").exists()


def test_a_damaged_checkpoint_is_refused_before_anything_is_written(two, tmp_path, easy_dataset):
    path = tmp_path / "two"
    shutil.copytree(two, path)
    config = Config.create(continue_from=str(path), epochs=3)
    [file] = (path / "checkpoints" / "8" / "state" / "d").iterdir()
    file.write_bytes(file.read_bytes()[:-9])
    before = contents(path)
    with pytest.raises(RunError, match=r"checkpoint 8 is missing or damaged; .* with --init"):
        train(tmp_path / "more", easy_dataset, config)
    assert contents(path) == before
    assert not (tmp_path / "more" / "config.json").exists()


def test_other_images_are_refused(two, tmp_path, easy_dataset):
    config = Config.create(continue_from=str(two), epochs=3)
    earlier = RunFolder(two).read_config()
    assert earlier.data_sha256 is None
    (tmp_path / "two").mkdir()
    changed = dataclasses.replace(earlier, data_sha256="0" * 64)
    (tmp_path / "two" / "config.json").write_text(changed.to_json())
    config = dataclasses.replace(config, continue_from=str(tmp_path / "two"))
    with pytest.raises(UsageError, match=r"^--dataset shapes10: has other images than the run"):
        train(tmp_path / "more", easy_dataset, config)


def test_a_run_is_not_continued_in_its_own_folder(two):
    config = Config.create(continue_from=str(two), epochs=3)
    with pytest.raises(UsageError, match="is the run to continue; choose another --run-dir"):
        Task(config, two, overwrite=True)
