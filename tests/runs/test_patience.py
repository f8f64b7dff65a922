"""Training that ends early, and checkpoints that are kept: `--patience` and `--keep-every`."""

import dataclasses
import io

import numpy as np
import pytest
from conftest import stopped_after
from drawn_once import curves_drawn_once  # noqa: F401  (a fixture)
from rich.console import Console
from small import SMALL

from jaxcifar import api
from jaxcifar.build.learning_rates import learning_rates
from jaxcifar.commands import ablation, run
from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine import environment
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.report.run_reading import read_run
from jaxcifar.runs import checkpoint_schedule
from jaxcifar.runs import fit as fit_module
from jaxcifar.runs import run as run_module
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.epoch_selection import best_epoch, ends_early
from jaxcifar.runs.fit import fit
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task
from jaxcifar.studies import conduct

pytestmark = pytest.mark.usefixtures("step_by_step", "curves_drawn_once")
SETTINGS = {
    "recipe": "reference",
    "arch_args": SMALL,
    "dataset": "shapes10",
    "batch_size": 32,
    "epochs": 6,
}
STEPS = 4  # in an epoch
LATE = (0.1, 0.4, 0.2, 0.3, 0.5, 0.5)  # validation accuracies by epoch: the best is the fifth


def train(path, dataset, config, screen=None, **options):
    task = Task(config, path, **options.pop("task", {}))
    console = Console(file=screen or io.StringIO(), width=200)
    return fit(task, lambda: dataset, console, **options)


def history(*accuracies):
    return [
        {"epoch": epoch, "val_accuracy": accuracy, "val_loss": 1.0}
        for epoch, accuracy in enumerate(accuracies, start=1)
    ]


@pytest.mark.parametrize(
    ("patience", "earlier", "end"),
    [(1, 0, 3), (2, 0, 4), (3, 0, None), (0, 0, None), (1, 3, 4), (2, 3, None)],
)
def test_training_ends_after_so_many_epochs_without_a_better_one(patience, earlier, end):
    """Of a run that is continued after three epochs, only the further epochs count."""
    ends = [
        epoch
        for epoch in range(earlier + 1, 7)
        if ends_early(history(*LATE[:epoch]), patience, earlier)
    ]
    assert (ends[0] if ends else None) == end
    assert not ends_early([], patience, earlier)


def test_of_equal_accuracies_a_lower_loss_is_better():
    rows = history(0.5, 0.5)
    assert ends_early(rows, 1)
    rows[1]["val_loss"] = 0.9
    assert not ends_early(rows, 1)


@pytest.mark.parametrize("stopped", [None, 15])
def test_a_run_ends_early_and_says_so(tmp_path, easy_dataset, monkeypatch, stopped):
    """With a stop before the end too, from which the same command goes on to the same epoch."""
    measured = run_module.validation_metrics

    def metrics(setup, variables, hyper):
        return {**measured(setup, variables, hyper), "val_accuracy": LATE[epochs_on_disk(tmp_path)]}

    monkeypatch.setattr(run_module, "validation_metrics", metrics)
    config = Config.create("cnn", **SETTINGS, patience=2)
    if stopped:
        with pytest.raises(Interrupted):
            train(tmp_path, easy_dataset, config, stopper=stopped_after(stopped))
    screen = io.StringIO()
    result = train(tmp_path, easy_dataset, config, screen)
    line = "ended early after epoch 4: no epoch was better in the last 2 (--patience).\n"
    assert line in screen.getvalue()
    assert (result["selected_epoch"], result["last_epoch"]["epoch"]) == (2, 4)
    assert result["planned_epochs"] == 6
    assert epochs_on_disk(tmp_path) == 4
    assert len(read_run(tmp_path).history) == 4
    assert {path.name for path in (tmp_path / "checkpoints").iterdir()} >= {"8", "16"}
    three_rows = (tmp_path / "metrics.jsonl").read_text().splitlines(keepends=True)[:3]
    (tmp_path / "metrics.jsonl").write_text("".join(three_rows))
    with pytest.raises(RunError, match=r"metrics\.jsonl has 3 of 6 epochs"):
        read_run(tmp_path)  # nothing ended training after these


def epochs_on_disk(path):
    return len((path / "metrics.jsonl").read_text().splitlines())


def test_the_rates_are_planned_for_all_epochs():
    config = Config.create("cnn", **SETTINGS, schedule="cosine")
    patient = dataclasses.replace(config, patience=1)
    np.testing.assert_array_equal(learning_rates(patient, STEPS), learning_rates(config, STEPS))


def test_the_checkpoint_of_every_second_epoch_stays(tmp_path, easy_dataset, monkeypatch):
    """Also those that were written before a stop. Of the others, only those that a run needs."""
    monkeypatch.setattr(checkpoint_schedule, "_MAX_TIME_SHARE", np.inf)  # one for each epoch
    config = Config.create("cnn", **SETTINGS)
    keeping = {"task": {"keep_every": 2}}
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, config, stopper=stopped_after(10), **keeping)
    train(tmp_path, easy_dataset, config, **keeping)
    kept = steps_of_checkpoints(tmp_path)
    newest_two = {5 * STEPS, 6 * STEPS}
    rows = RunFolder(tmp_path).read_history()
    best_of_each = {best_epoch(rows[:epochs]) * STEPS for epochs in (5, 6)}
    assert kept == {2 * STEPS, 4 * STEPS, 6 * STEPS} | newest_two | best_of_each


def steps_of_checkpoints(path):
    names = [file.name for file in (path / "checkpoints").iterdir()]
    return {int(name) for name in names if name != "keep_every.json"}


@pytest.mark.parametrize("later", [None, 3])
def test_checkpoints_that_an_earlier_command_kept_stay_without_the_option(
    tmp_path, easy_dataset, monkeypatch, later
):
    monkeypatch.setattr(checkpoint_schedule, "_MAX_TIME_SHARE", np.inf)  # one for each epoch
    config = Config.create("cnn", **SETTINGS)
    earlier = {"task": {"keep_every": 2}}
    with pytest.raises(Interrupted):
        train(tmp_path, easy_dataset, config, stopper=stopped_after(10), **earlier)
    assert 2 * STEPS in steps_of_checkpoints(tmp_path)
    last_epoch_before = max(steps_of_checkpoints(tmp_path)) // STEPS
    assert last_epoch_before < 5
    train(tmp_path, easy_dataset, config, task={"keep_every": later})
    rows = RunFolder(tmp_path).read_history()
    best_of_each = {best_epoch(rows[:epochs]) for epochs in (5, 6)}
    kept_before = {epoch for epoch in (2, 4) if epoch <= last_epoch_before}
    kept_later = {epoch for epoch in (3, 6) if later == 3 and epoch > last_epoch_before}
    expected_epochs = kept_before | kept_later | {5, 6} | best_of_each
    assert steps_of_checkpoints(tmp_path) == {epoch * STEPS for epoch in expected_epochs}


def test_a_damaged_record_of_kept_checkpoints_is_one_line(tmp_path, easy_dataset):
    (tmp_path / "checkpoints").mkdir()
    (tmp_path / "checkpoints" / "keep_every.json").write_text('["2"]')
    with pytest.raises(RunError, match=r"keep_every\.json: .*; delete it"):
        Checkpoints(tmp_path / "checkpoints", Config.create("cnn"), STEPS)


def test_patience_needs_validation_images(tmp_path, easy_dataset):
    """Images of the user may have none, which only shows when they are loaded."""
    without = dataclasses.replace(easy_dataset, val=Examples(*(a[:0] for a in easy_dataset.val)))
    object.__setattr__(without, "_known_fingerprints", easy_dataset._known_fingerprints)
    config = Config.create("cnn", **SETTINGS, patience=2)
    with pytest.raises(UsageError, match=r"^--patience 2: has no effect without validation images"):
        train(tmp_path, without, config)


@pytest.mark.parametrize("value", [0, -1, 1.5, True])
def test_a_number_of_epochs_to_keep_is_whole_and_at_least_1(tmp_path, value):
    with pytest.raises(UsageError, match=f"^--keep-every {value}: must be a whole number"):
        Task(Config.create("cnn"), tmp_path, keep_every=value)


def test_checkpoints_are_not_both_kept_and_deleted(tmp_path):
    with pytest.raises(UsageError, match=r"^--keep-every 2: has no effect with --keep best"):
        Task(Config.create("cnn"), tmp_path, keep_best=True, keep_every=2)


def test_python_and_the_command_line_take_both(monkeypatch, tmp_path):
    tasks = []
    monkeypatch.setattr(api, "fit", lambda task, images, console: tasks.append(task))
    monkeypatch.setattr(api, "load_just_trained", lambda path, data_dir: None)
    api.train("cnn", run_dir=tmp_path, keep_every=3, patience=2)
    [task] = tasks
    assert (task.keep_every, task.config.patience) == (3, 2)
    settings, options = run.parse(["--patience", "2", "--keep-every", "3"])
    assert (settings, options.keep_every) == ({"patience": 2}, 3)
    assert ablation.parser().parse_args(["--keep-every", "3"]).keep_every == 3


def test_the_commands_pass_the_number_of_epochs_to_keep_on_to_the_runs(monkeypatch, tmp_path):
    tasks = []
    monkeypatch.setattr(fit_module, "fit", lambda task, *others: tasks.append(task))
    monkeypatch.setattr(run, "show_result", lambda *arguments: None)
    _, options = run.parse(["--keep-every", "3", "--run-dir", str(tmp_path / "run")])
    run.train(Config.create("cnn", **SETTINGS), False, options, ())
    monkeypatch.setattr(conduct, "conduct", lambda given, *others: tasks.extend(given) or [])
    monkeypatch.setattr(ablation, "start_jax", lambda: None)
    monkeypatch.setattr(environment, "use_cpu_cores", lambda *arguments: None)
    task_of_row = Task(Config.create("cnn", **SETTINGS), tmp_path / "study" / "row" / "seed0")
    options = ablation.parser().parse_args(["--keep-every", "2"])
    ablation._train_and_report([task_of_row], tmp_path / "study", options, Console(quiet=True))
    assert [task.keep_every for task in tasks] == [3, 2]


def test_options_that_only_commands_have_are_no_arguments_of_train(tmp_path):
    for name, value in (("keep", "best"), ("folds", 5), ("devices", 1)):
        with pytest.raises(
            UsageError, match=f"^{name}: this is an option of the command line only; call"
        ):
            api.train("cnn", run_dir=tmp_path, **{name: value})
