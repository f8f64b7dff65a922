"""What `--dry-run` shows, that it leaves nothing behind, and what overrules what in a study."""

import io
import re
from argparse import Namespace
from pathlib import Path

import jax
import pytest
from config.test_continued_run import write_run
from conftest import obeyed
from rich.console import Console

from jaxcifar.bench import trial_steps
from jaxcifar.bench.trial_steps import Trial
from jaxcifar.build import setup
from jaxcifar.commands import ablation
from jaxcifar.commands.shared import dry_run, run_plan, study_plan
from jaxcifar.commands.shared.config_file import read_given_settings
from jaxcifar.config.experiment import Config
from jaxcifar.machine.job_queue import Job
from jaxcifar.runs.task import Task
from jaxcifar.studies.submitted_parts import SentPart, make_job_folder, record_parts

NET = "tests/own/net.py:Net"
SHORT = ("--arch", NET, "--dataset", "shapes10", "--epochs", "3", "--batch-size", "500")


def cells(output):
    """Return setting -> (value, origin) of the table that a dry run prints."""
    return {
        name: (value, origin)
        for name, value, origin in re.findall(r"^ *(\w+) +(\S+) {2,}(\S.*?) *$", output, re.M)
    }


def test_a_run_is_shown_estimated_and_not_begun(tmp_path):
    """The images are not there: nothing is drawn, and noise stands for them."""
    file = tmp_path / "run.toml"
    file.write_text("learning_rate = 0.2\nepochs = 9\nfold = '1/4'\n")
    where = ("--run-dir", str(tmp_path / "run"), "--data-dir", str(tmp_path))
    done = obeyed("run", *SHORT, *where, "--config", str(file), "--dry-run", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    assert {path.name for path in tmp_path.iterdir()} == {"run.toml"}
    shown = cells(done.stdout)
    assert shown["epochs"] == ("3", "the command line")
    assert shown["learning_rate"] == ("0.2", str(file))
    assert shown["optimizer"] == ("sgd", "recipe reference")
    assert shown["clip_norm"] == ("0", "default")
    assert "val_fraction" not in shown
    assert f"the command line overrules {file}: epochs 3 instead of 9" in done.stdout
    assert f"{file} overrules recipe reference: learning_rate 0.2 instead of 0.05" in done.stdout
    assert "shapes10 (synthetic, not CIFAR-10) is not prepared in" in done.stdout
    assert "7,500 to train, 2,500 to validate, 2,000 to test" in done.stdout
    assert "3 epochs of 15 steps of 500 images" in done.stdout
    [size, images] = re.findall(r"(\d+) MB", done.stdout)[:2]
    assert int(images) == round(7_500 * (32 * 32 * 3 + 4) / 1e6)  # the weights are few
    assert int(size) >= int(images)
    assert re.search(r"^time +≈ \d+ s for 1 run: .* ms a step \(mean of \d+\)", done.stdout, re.M)


def test_a_study_shows_rows_programs_and_what_is_overruled(tmp_path):
    words = ("--grid", "learning_rate=0.1,0.2", "batch_size=500,1000", *SHORT[:-2], "--folds", "2")
    where = ("--out", str(tmp_path / "out"), "--data-dir", str(tmp_path))
    done = obeyed("ablation", *words, *where, "--dry-run", env={"COLUMNS": "300"})
    assert done.returncode == 0, done.stderr
    assert list(tmp_path.iterdir()) == []
    assert "Grid of learning rate x batch size: 8 runs" in done.stdout
    assert cells(done.stdout)["epochs"] == ("3", "the command line")
    assert "Settings that differ between rows" in done.stdout
    assert done.stdout.count("for 4 runs: ") == 2  # two rows of two folds have a program's speed
    assert "all together    ≈ " in done.stdout
    assert "for 8 runs" in done.stdout


def test_a_recipe_above_a_study_says_what_the_study_overrules(tmp_path):
    """The rows of the ablation set what the recipe sets; nothing is trained without images."""
    where = ("--out", str(tmp_path / "out"), "--data-dir", str(tmp_path))
    offline = {"https_proxy": "http://127.0.0.1:9", "COLUMNS": "1000"}
    words = ("--arch", "cnn", "--recipe", "strong", "--rows", "norm", "lr0.1")
    done = obeyed("ablation", *words, *where, env=offline)
    assert done.returncode == 1  # no images
    lines = done.stdout.splitlines()
    [by_options] = [line for line in lines if line.startswith("the command line overrules the")]
    assert by_options == "the command line overrules the study: arch cnn instead of resnet18"
    [by_study] = [line for line in lines if line.startswith("the study overrules recipe strong")]
    assert "optimizer sgd instead of muon" in by_study
    assert "learning_rate 0.01 instead of 0.06 in norm" in by_study
    [by_row] = [line for line in lines if line.startswith("the row overrules")]
    assert by_row == "the row overrules recipe strong: learning_rate 0.1 instead of 0.06 in lr0.1"


def test_a_continued_run_is_shown_with_its_origins(tmp_path, monkeypatch, capsys):
    run = write_run(tmp_path / "run", learning_rate=0.02, batch_size=64)
    options = Namespace(config=None, overwrite=False, data_dir=tmp_path, devices=1)
    given = read_given_settings({"continue_from": run, "epochs": 12, "dropout": 0.25}, options)
    monkeypatch.setattr(run_plan, "show_costs", lambda *_, **__: None)
    monkeypatch.setattr(run_plan, "screen", lambda: Console(width=300))
    run_plan.show_run_plan(given, tmp_path / "more")
    output = capsys.readouterr().out
    shown = cells(output)
    assert shown["learning_rate"] == ("0.02", "the continued run")
    assert shown["batch_size"] == ("64", "the continued run")
    assert shown["epochs"] == ("12", "the command line")
    assert shown["schedule"] == ("none", "default")
    changes = "epochs 12 instead of 5, dropout 0.25 instead of 0.5"
    assert f"the command line overrules the continued run: {changes}" in output
    assert not (tmp_path / "more").exists()


def test_only_the_new_epochs_of_a_continued_run_are_estimated(tmp_path, monkeypatch):
    run = write_run(tmp_path / "run", epochs=5)
    config = Config.create(continue_from=run, epochs=12)
    trial = Trial((900, 100, 0), 10, 4, 1.0, 0.0, 0.0, 1, None, None, "float32")
    monkeypatch.setattr(dry_run, "_time_few_steps", lambda *_: trial)
    screen = io.StringIO()
    task = Task(config, tmp_path / "more")
    console = Console(file=screen, width=300)
    dry_run.show_costs(console, [task], tmp_path, jax.devices()[:1], at_once=1)
    assert "time            ≈ 70 s for 1 run" in screen.getvalue()  # 7 epochs of 10 steps


def test_an_empty_shard_of_a_study_costs_nothing(tmp_path, monkeypatch, capsys):
    def fail(*_):
        raise AssertionError("nothing is to be timed")

    monkeypatch.setattr("jaxcifar.commands.shared.study_plan.show_costs", fail)
    words = ["--arch", "cnn", "--grid", "epochs=1,2", "--shard", "3/3", "--dry-run"]
    ablation.main([*words, "--out", str(tmp_path / "out"), "--data-dir", str(tmp_path)])
    output = capsys.readouterr().out
    assert "Grid of epochs: 0 of 2 runs" in output
    assert output.endswith("this shard has no runs\n")
    assert list(Path(tmp_path).iterdir()) == []


def test_of_a_study_only_what_a_start_would_train_is_estimated(tmp_path, monkeypatch, capsys):
    """Of four rows, one is finished, one has diverged, and one was only begun."""
    words = ["--arch", "cnn", "--grid", "epochs=1,2,3,4", "--out", str(tmp_path), "--dry-run"]
    for row, file in (("epochs1", "result.json"), ("epochs2", "failure.txt"), ("epochs3", "")):
        run = tmp_path / row / "seed0"
        run.mkdir(parents=True)
        (run / "config.json").write_text(Config.create("cnn", epochs=int(row[-1])).to_json())
        if file:
            (run / file).write_text("the loss became nan in epoch 1")
    estimated = []
    monkeypatch.setattr(study_plan, "start_jax", lambda: None)
    monkeypatch.setattr(study_plan, "show_costs", lambda _, tasks, *__: estimated.append(tasks))
    ablation.main([*words, "--devices", "1"])
    assert [task.name for task in estimated.pop()] == ["epochs3 seed 0", "epochs4 seed 0"]
    output = " ".join(capsys.readouterr().out.split())
    assert "finished 1 of 4 runs failed 1 of 4 runs: epochs2 seed 0; --force ROW trains" in output
    ablation.main([*words, "--devices", "1", "--force", "epochs2"])
    names = [task.name for task in estimated.pop()]
    assert names == ["epochs2 seed 0", "epochs3 seed 0", "epochs4 seed 0"]
    assert "failed" not in capsys.readouterr().out
    ablation.main([*words, "--rows", "epochs1", "epochs2"])
    assert not estimated  # a start would train nothing


def test_of_a_study_that_jobs_train_nothing_is_estimated(tmp_path, monkeypatch, capsys):
    part = SentPart(Job("slurm", "17", make_job_folder(tmp_path)), ("epochs1 seed 0",), {})
    record_parts(tmp_path, [part])
    estimated = []
    monkeypatch.setattr(study_plan, "start_jax", lambda: None)
    monkeypatch.setattr(study_plan, "show_costs", lambda _, tasks, *__: estimated.append(tasks))
    words = ["--arch", "cnn", "--grid", "epochs=1,2", "--out", str(tmp_path), "--dry-run"]
    ablation.main(words)
    assert not estimated and "--shard 1/1 trains it here" in capsys.readouterr().out
    ablation.main([*words, "--devices", "1", "--shard", "1/1"])
    assert [task.name for task in estimated.pop()] == ["epochs1 seed 0", "epochs2 seed 0"]


def test_steps_of_fed_images_and_of_accumulated_gradients_are_timed(easy_dataset, monkeypatch):
    """Memory counts all training images, or only those of the steps that are fed at a time."""
    monkeypatch.setattr(trial_steps, "_MIN_TIMED_SECONDS", 0.0)
    images = len(easy_dataset.train.labels)

    def persistent_bytes(steps_at_a_time, accumulate):
        monkeypatch.setattr(setup, "choose_steps_per_feed", lambda *_: steps_at_a_time)
        settings = {"dataset": "shapes10", "batch_size": 16, "accumulate": accumulate}
        config = Config.create("own.net:Net", **settings)
        trial = trial_steps.time_trial_steps(config, easy_dataset, 1, jax.devices()[:1], print)
        assert trial.images[0] == images
        assert trial.steps_per_epoch == images // 16
        assert trial.timed_steps >= 1 and trial.step_seconds > 0
        return trial.persistent_bytes

    resident, fed = persistent_bytes(None, 1), persistent_bytes(3, 1)
    left_on_the_host = images - 3 * 16
    assert resident - fed == pytest.approx(left_on_the_host * (32 * 32 * 3 + 4), rel=0.05)
    assert persistent_bytes(None, 4) == resident
