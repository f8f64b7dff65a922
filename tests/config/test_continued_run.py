"""The run that `--continue` names: what a further run takes from it, and what it may not change."""

import dataclasses
import json
import shutil

import pytest
from conftest import ROOT

from jaxcifar.commands import ablation, run
from jaxcifar.commands.run import parse
from jaxcifar.commands.shared.config_file import read_given_settings
from jaxcifar.commands.shared.given_study import GivenStudy
from jaxcifar.config.experiment import Config
from jaxcifar.config.origins import COMMAND_LINE, Layer, overruled_lines, settings_by_origin
from jaxcifar.config.saved_config import config_of_begun_run
from jaxcifar.errors import UsageError
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import Task
from jaxcifar.studies import study as study_module
from jaxcifar.studies.conduct import plan, record
from jaxcifar.studies.study import Study

DIGEST = "ab" * 32
NET = ROOT / "tests" / "own" / "net.py"


def write_run(folder, epochs=5, digest=DIGEST, rows=None, **settings):
    """A folder with the files that are read before anything is trained."""
    config = Config.create(**{"arch": "cnn", "epochs": epochs, "schedule": "none", **settings})
    notes = folder / "checkpoints" / "50" / "notes"
    notes.mkdir(parents=True)
    (folder / "checkpoints" / "40").mkdir()
    (folder / "checkpoints" / "damaged-60").mkdir()
    (folder / "config.json").write_text(config.to_json())
    (folder / "result.json").write_text(json.dumps({"last_epoch": {"epoch": epochs}}))
    metadata = {"history": [{}] * (epochs if rows is None else rows), "sha256": digest}
    (notes / "metadata").write_text(json.dumps(metadata))
    return str(folder)


def test_the_settings_are_those_of_the_run_and_what_continues_it_is_named(tmp_path):
    run = write_run(tmp_path / "run", learning_rate=0.02, dropout=0.25, batch_size=64, seed=7)
    config = Config.create(continue_from=run, epochs=10)
    assert (config.arch, config.learning_rate, config.dropout) == ("cnn", 0.02, 0.25)
    assert (config.batch_size, config.seed, config.epochs) == (64, 7, 10)
    assert (config.continue_sha256, config.continue_epochs) == (DIGEST, 5)
    assert Config.from_dict(json.loads(config.to_json())) == config
    assert parse(["--continue", run, "--epochs", "10"])[0] == {"continue_from": run, "epochs": 10}
    assert config.run_name() == (
        "cnn_cifar10_epochs10_batch-size64_learning-rate0.02_dropout0.25_continuerun_seed7"
    )


def test_a_run_without_the_new_settings_has_the_same_file_as_before():
    written = Config.create("cnn").to_dict()
    new = {"patience", "continue_from", "continue_sha256", "continue_epochs"}
    assert not new & written.keys()
    assert Config.create("cnn", patience=3).to_dict()["patience"] == 3


def test_a_run_to_continue_may_be_given_as_a_path(tmp_path):
    run = write_run(tmp_path / "run")
    config = Config.create(continue_from=tmp_path / "run", epochs=10)
    assert config == Config.create(continue_from=run, epochs=10)


def test_the_options_of_a_further_run_make_its_config_again(tmp_path):
    run = write_run(tmp_path / "run", dropout=0.25, label_smoothing=0.1)
    config = Config.create(continue_from=run, epochs=9, dropout=0.5, schedule="cosine", warmup=0.1)
    assert config.dropout == Config.create("cnn").dropout  # the recipe's, not the run's
    assert Config.create(**parse(config.options())[0]) == config


def test_the_plan_of_the_earlier_epochs_is_not_carried_over(tmp_path):
    plan = {"warmup": 0.5, "schedule": "step", "step_size": 2, "gamma": 0.5}
    run = write_run(tmp_path / "run", **plan, small_size=16, small_fraction=0.5)
    config = Config.create(continue_from=run, epochs=10, learning_rate=0.1)
    assert (config.schedule, config.warmup, config.small_fraction) == ("none", 0.0, 0.0)
    given = Config.create(continue_from=run, epochs=10, schedule="step", gamma=0.5, warmup=0.25)
    assert (given.gamma, given.step_size, given.warmup) == (0.5, 10, 0.25)


@pytest.mark.parametrize(
    ("schedule", "words"),
    [
        ("cosine", "its schedule cosine ended at a learning rate of 0, where nothing more is"),
        ("linear", "its schedule linear ended at a learning rate of 0, where nothing more is"),
        ("step", "its schedule step ended; give the remaining epochs a --schedule, or a"),
    ],
)
def test_the_rest_of_a_schedule_that_is_over_must_be_given(tmp_path, schedule, words):
    run = write_run(tmp_path / "run", schedule=schedule)
    with pytest.raises(UsageError, match=f"^--continue {run}: {words}"):
        Config.create(continue_from=run, epochs=10)
    for given in ({"learning_rate": 0.01}, {"schedule": "linear"}, {"schedule": "none"}):
        assert Config.create(continue_from=run, epochs=10, **given).continue_epochs == 5


@pytest.mark.parametrize(
    ("name", "value", "words"),
    [
        ("arch", "resnet18", "--arch resnet18: .* has cnn"),
        ("arch_args", {"hidden": 8}, "--arch-args hidden=8: .* has none; leave this setting as it"),
        ("recipe", "strong", "--recipe strong: .* has reference"),
        ("dataset", "cifar100", "--dataset cifar100: .* has cifar10"),
        ("train_examples", 500, "--train-examples 500: .* has all"),
        ("val_fraction", 0.2, "--val-fraction 0.2: .* has 0.1"),
        ("normalize", False, "--no-normalize: .* has --normalize; leave this setting as it was"),
        ("fold", "1/5", "--fold 1/5: .*run, has none; leave this setting as it was"),
        ("batch_size", 64, "--batch-size 64: .* has 128; .* or start from .* with --init"),
        ("optimizer", "sgd", "--optimizer sgd: .* has adam"),
        ("average", 0.9, "--average 0.9: .* has an average of 0"),
        ("seed", 1, "--seed 1: .* has 0"),
        ("epochs", 5, "--epochs 5: .* has 5 epochs already; give .* in all"),
        ("epochs", 3, "--epochs 3: .* has 5 epochs already; give .* in all"),
        ("init", "weights.safetensors", "--init .*: can't be used with --continue"),
    ],
)
def test_what_the_training_state_depends_on_can_not_be_changed(tmp_path, name, value, words):
    run = write_run(tmp_path / "run")
    with pytest.raises(UsageError, match=f"^{words}"):
        Config.create(**{"continue_from": run, "epochs": 10, name: value})


@pytest.mark.parametrize(
    ("earlier", "changes", "words"),
    [
        ({"fold": "2/5"}, {"fold": "none"}, "--fold none: .*run, has 2/5; leave this setting"),
        ({"normalize": False}, {"normalize": True}, "--normalize: .* has --no-normalize; leave"),
        ({"dataset": "./own.npz"}, {"image_size": 64}, "--image-size 64: .*run, has 32; leave"),
    ],
)
def test_what_an_earlier_run_turned_off_or_on_can_not_be_changed(tmp_path, earlier, changes, words):
    run = write_run(tmp_path / "run", **earlier)
    with pytest.raises(UsageError, match=f"^{words}"):
        Config.create(continue_from=run, epochs=10, **changes)


def test_more_epochs_must_be_asked_for(tmp_path):
    run = write_run(tmp_path / "run")
    words = rf"^--continue {run}: has 5 epochs already; give --epochs, the number of epochs in all"
    with pytest.raises(UsageError, match=words):
        Config.create(continue_from=run)


def test_the_schedule_of_a_run_that_ended_early_has_not_ended(tmp_path):
    run = write_run(tmp_path / "run", schedule="cosine", patience=1)
    config_file = tmp_path / "run" / "config.json"
    config_file.write_text(json.dumps(json.loads(config_file.read_text()) | {"epochs": 10}))
    words = "its schedule cosine is for 10 epochs, but the run ended after 5; give the"
    with pytest.raises(UsageError, match=f"^--continue {run}: {words}"):
        Config.create(continue_from=run, epochs=12)


def test_the_images_that_auto_chose_are_those_of_the_continued_run(tmp_path, monkeypatch):
    run_folder = write_run(tmp_path / "run", dataset="shapes10")
    found = []

    def keep_and_stop(settings, options, earlier_config):
        found.append(read_given_settings(settings, options))
        raise InterruptedError

    monkeypatch.setattr(run, "read_given_settings", keep_and_stop)
    with pytest.raises(InterruptedError):
        run.main(["--dataset", "auto", "--continue", run_folder, "--epochs", "10"])
    [given] = found
    assert (given.config.dataset, given.is_auto_dataset) == ("shapes10", False)


def test_an_edited_network_is_another_network(tmp_path):
    copy = tmp_path / "net.py"
    copy.write_text(NET.read_text())
    run = write_run(tmp_path / "run", arch=f"{copy}:Mixer")
    config = Config.create(continue_from=run, epochs=10)
    moved = tmp_path / "elsewhere.py"
    copy.rename(moved)
    assert Config.create(f"{moved}:Mixer", continue_from=run, epochs=10).epochs == config.epochs
    moved.write_text(NET.read_text() + "\n")
    with pytest.raises(UsageError, match=r"^--arch .*elsewhere.py:Mixer: .* with other code"):
        Config.create(f"{moved}:Mixer", continue_from=run, epochs=10)


def damage(folder, name, content):
    """Write a file of a run anew, or delete it without any content."""
    file = folder / name
    file.unlink()
    if content is not None:
        file.write_text(content)


METADATA = "checkpoints/50/notes/metadata"


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("config.json", None, "^--continue .*: there is no run here"),
        ("config.json", "{", r"config\.json: is not valid JSON .*; choose another run to continue"),
        ("config.json", '{"arch": "cnn", "epochs": 0}', r"config\.json: is not a config"),
        ("result.json", None, "^--continue .*: is not a finished run; repeat its own command"),
        ("result.json", '{"converted": {}}', r"result\.json: .*last_epoch"),
        ("result.json", '{"last_epoch": {"epoch": 4}}', "^--continue .*: its last checkpoint is"),
        (METADATA, None, "metadata: No such file"),
        (METADATA, '{"history": [], "sha256": "../.."}', "metadata: sha256: "),
        (METADATA, '{"history": 7}', "metadata: history: "),
    ],
)
def test_a_folder_that_can_not_be_continued_is_refused_in_one_line(tmp_path, name, content, words):
    run = write_run(tmp_path / "run")
    damage(tmp_path / "run", name, content)
    with pytest.raises(UsageError, match=words) as refused:
        Config.create(continue_from=run, epochs=10)
    assert "\n" not in str(refused.value)


@pytest.mark.parametrize("name", ["nowhere", "x" * 5000, "a\0b", "config.json"])
def test_a_name_that_is_no_run_is_refused_in_one_line(tmp_path, name):
    write_run(tmp_path / "run")
    with pytest.raises(UsageError, match=r"^--continue .*: (there is no run here|can't be read)"):
        Config.create(continue_from=str(tmp_path / "run" / name), epochs=10)


def test_a_run_whose_checkpoints_were_deleted_is_refused(tmp_path):
    run = write_run(tmp_path / "run")
    (tmp_path / "run" / METADATA).unlink()
    for number in ("50/notes", "50", "40"):
        (tmp_path / "run" / "checkpoints" / number).rmdir()
    with pytest.raises(UsageError, match=r"has no checkpoints .*--keep best.* with --init"):
        Config.create(continue_from=run, epochs=10)


def test_of_a_row_of_a_study_the_run_with_the_same_seed_is_continued(tmp_path):
    row = tmp_path / "base"
    for seed in (0, 1):
        write_run(row / f"seed{seed}", digest=f"{seed}" * 64, seed=seed)
    for seed in (0, 1):
        config = Config.create(continue_from=str(row), seed=seed, epochs=6)
        assert config.continue_sha256 == f"{seed}" * 64


def test_a_row_of_a_study_may_continue_a_run(tmp_path):
    run = write_run(tmp_path / "run", learning_rate=0.02, seed=3)
    content = {
        "config": {"arch": "cnn", "epochs": 10},
        "rows": {"more": {"continue_from": run}, "less": {"learning_rate": 0.5}},
    }
    study = Study.from_dict(content)
    more, less = study.rows
    study.check(seed=3)
    assert study.config_of(more, 3).learning_rate == 0.02
    assert study.config_of(less, 3).continue_from == ""
    with pytest.raises(UsageError, match=r"^row more: --seed 0: .* has 3"):
        study.check(seed=0)
    with pytest.raises(UsageError, match="can't set continue_sha256"):
        Study.from_dict({"rows": {"a": {"continue_sha256": DIGEST}}})


def test_of_a_row_with_folds_the_run_of_the_same_fold_is_continued(tmp_path):
    row = tmp_path / "base"
    for number in (1, 2):
        folder = row / f"fold{number}of2_seed3"
        write_run(folder, digest=f"{number}" * 64, seed=3, fold=f"{number}/2")
    for number in (1, 2):
        given = {"continue_from": str(row), "seed": 3, "epochs": 6, "fold": f"{number}/2"}
        config = Config.create(**given)
        assert (config.continue_sha256, config.fold) == (f"{number}" * 64, f"{number}/2")
        assert Config.create(**parse([*config.options(), "--seed", "3"])[0]) == config
    has = "^--continue .*base: has no run seed3, only fold1of2_seed3 and fold2of2_seed3; name a run"
    with pytest.raises(UsageError, match=has):
        Config.create(continue_from=str(row), seed=3, epochs=6)
    one_run = Config.create(continue_from=str(row / "fold2of2_seed3"), epochs=6, seed=3)
    assert (one_run.fold, one_run.continue_sha256) == ("2/2", "2" * 64)
    with pytest.raises(UsageError, match="is the run to continue; choose another --run-dir"):
        Task(config, row / "fold2of2_seed3")


def test_a_study_with_folds_may_continue_a_row_with_folds(tmp_path):
    for number in (1, 2):
        folder = tmp_path / "base" / f"fold{number}of2_seed3"
        write_run(folder, digest=f"{number}" * 64, seed=3, fold=f"{number}/2")
    row = {"continue_from": str(tmp_path / "base"), "epochs": 9}
    study = Study.from_dict({"rows": {"more": row}})
    study.check(3, "1/2")
    tasks = plan(study, None, [3], tmp_path / "out", [], fold_count=2)
    assert [task.config.continue_sha256 for task in tasks] == ["1" * 64, "2" * 64]
    given = GivenStudy(study, {}, {}, "study", fold_count=2, first_seed=3)
    [settings] = given.settings_by_row(study.rows).values()
    origins = {setting.name: setting.origin for setting in settings}
    assert (origins["fold"], origins["epochs"]) == ("--folds", "the row")
    assert origins["optimizer"] == "the continued run"


def test_a_run_that_has_begun_does_not_need_the_run_that_it_continues(tmp_path):
    given = {"continue_from": write_run(tmp_path / "run"), "epochs": 10, "dropout": 0.1}
    begun = Config.create(**given)
    shutil.rmtree(tmp_path / "run")
    with pytest.raises(UsageError, match="there is no run here"):
        Config.create(**given)
    assert Config.for_run(given, begun) == begun
    longer = Config.for_run(given | {"epochs": 12}, begun)
    assert longer.differences(begun) == {"epochs": (12, 10)}
    with pytest.raises(UsageError, match=r"--batch-size 64: the run to continue, .*, has 128"):
        Config.for_run(given | {"batch_size": 64}, begun)
    with pytest.raises(UsageError, match="there is no run here"):
        Config.for_run(given | {"continue_from": str(tmp_path / "other")}, begun)
    origins = {setting.name: setting.origin for setting in settings_by_origin(begun, [])}
    assert (origins["optimizer"], origins["schedule"]) == ("the continued run", "default")


def test_a_run_that_has_begun_does_not_need_its_first_weights(tmp_path):
    weights = tmp_path / "weights.safetensors"
    weights.write_bytes(b"numbers")
    given = {"arch": "cnn", "init": str(weights)}
    begun = Config.create(**given)
    weights.write_bytes(b"other numbers")
    assert Config.for_run(given, begun).differences(begun).keys() == {"init_sha256"}
    weights.unlink()
    assert Config.for_run(given, begun) == begun
    with pytest.raises(UsageError, match="there is no file"):
        Config.create(**given)


def test_a_finished_study_does_not_need_the_runs_that_its_rows_continue(tmp_path, capsys):
    out = tmp_path / "out"
    run = write_run(tmp_path / "run")
    rows = {"more": {"continue_from": run, "epochs": 9}, "less": {"arch": "cnn"}}
    study = Study.from_dict({"rows": rows})
    tasks = plan(study, None, [0], out, [])
    for task in tasks:
        task.path.mkdir(parents=True)
        RunFolder(task.path).begin(task.config)
        RunFolder(task.path).result_file.write_text("{}")
    record(study, out)
    shutil.rmtree(tmp_path / "run")
    assert plan(study, None, [0], out, []) == tasks
    with pytest.raises(UsageError, match="there is no run here"):
        plan(study, None, [0], out, ["more"])  # would train again
    with pytest.raises(UsageError, match="there is no run here"):
        plan(study, None, [1], out, [])  # not begun
    (tmp_path / "study.toml").write_text(
        f"[rows]\nmore = {{ continue_from = '{run}', epochs = 9 }}\nless = {{ arch = 'cnn' }}\n"
    )
    ablation.main(["--study", str(tmp_path / "study.toml"), "--out", str(out), "--dry-run"])
    assert "finished        2 of 2 runs" in capsys.readouterr().out


@pytest.fixture
def begun_study(tmp_path):
    """A study and its folder, in which a run that continues another one was begun."""
    run = write_run(tmp_path / "run")
    study = Study.from_dict({"rows": {"more": {"continue_from": run, "epochs": 9}}})
    [task] = plan(study, None, [0], tmp_path / "out", [])
    task.path.mkdir(parents=True)
    RunFolder(task.path).begin(task.config)
    return study, task


def test_the_config_of_a_run_that_is_forced_does_not_matter(begun_study, tmp_path, monkeypatch):
    study, task = begun_study
    settings = json.loads(task.config.to_json())
    settings["arch"] = f"{task.path}/sources/net.py:Net"
    RunFolder(task.path).config_file.write_text(json.dumps(settings))
    study = dataclasses.replace(study, folder=tmp_path / "out")
    with pytest.raises(UsageError, match="in the run's own folder, whose code is never executed"):
        study.check()
    dataclasses.replace(study, forced_rows=("more",)).check()
    assert plan(study, None, [0], tmp_path / "out", ["more"])[0].config == task.config
    file = tmp_path / "study.toml"
    row = f"continue_from = '{task.config.continue_from}', epochs = 9"
    file.write_text(f"[rows]\nmore = {{ {row} }}\n")
    words = ["--study", str(file), "--out", str(tmp_path / "out"), "--force", "more"]

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr(ablation, "plan_runs", stop)
    with pytest.raises(InterruptedError):  # the settings are accepted
        ablation.main(words)


def test_the_config_of_a_begun_run_is_read_once(begun_study, tmp_path, monkeypatch):
    study, task = begun_study
    study = dataclasses.replace(study, folder=tmp_path / "out")
    folders = []

    def count(folder, config_class):
        folders.append(folder)
        return config_of_begun_run(folder, config_class)

    monkeypatch.setattr(study_module, "config_of_begun_run", count)
    assert study.config_of(study.rows[0], 0) == task.config
    study.check()
    assert folders == [task.path, task.path]


def test_a_finished_run_in_a_named_folder_is_repeated_without_the_run_it_continues(
    tmp_path, monkeypatch
):
    words = ["--continue", write_run(tmp_path / "run"), "--epochs", "10"]
    begun = Config.create(**parse(words)[0])
    (tmp_path / "more").mkdir()
    RunFolder(tmp_path / "more").begin(begun)
    shutil.rmtree(tmp_path / "run")

    def stop(*_):
        raise InterruptedError

    monkeypatch.setattr(run, "data_folder", stop)
    with pytest.raises(InterruptedError):
        run.main([*words, "--run-dir", str(tmp_path / "more")])
    for other in (["--run-dir", str(tmp_path / "more"), "--overwrite"], []):
        with pytest.raises(UsageError, match="there is no run here"):
            run.main([*words, *other])


def test_a_message_says_which_settings_come_from_the_continued_run(tmp_path):
    run = write_run(tmp_path / "run", learning_rate=0.02, dropout=0.25, warmup=0.5, seed=7)
    given = {"continue_from": run, "epochs": 10, "dropout": 0.1}
    config = Config.create(**given)
    settings = settings_by_origin(config, [Layer(COMMAND_LINE, given)])
    found = {setting.name: setting for setting in settings}
    from_run = {"arch", "recipe", "learning_rate", "optimizer", "batch_size", "seed", "momentum"}
    assert {name for name in from_run if found[name].origin != "the continued run"} == set()
    assert (found["learning_rate"].value, found["seed"].value) == (0.02, 7)
    given_now = {name for name, setting in found.items() if setting.origin == COMMAND_LINE}
    assert given_now == given.keys()
    of_the_new_epochs = {"schedule", "warmup"}
    assert {name for name in found if found[name].origin == "default"} >= of_the_new_epochs
    assert not {name for name in found if "recipe" in found[name].origin}
    assert overruled_lines({"": settings}) == [
        "the command line overrules the continued run: epochs 10 instead of 5, dropout 0.1 instead "
        "of 0.25"
    ]


def test_a_run_that_continued_another_can_be_continued(tmp_path):
    first = write_run(tmp_path / "first")
    second = write_run(tmp_path / "second", epochs=8, digest="cd" * 32, continue_from=first)
    third = Config.create(continue_from=second, epochs=10)
    assert (third.continue_from, third.continue_epochs) == (second, 8)
    assert third.continue_sha256 == "cd" * 32


def test_paths_do_not_matter_and_checksums_do(tmp_path):
    run = write_run(tmp_path / "run")
    config = Config.create(continue_from=run, epochs=10)
    assert not config.differences(dataclasses.replace(config, continue_from="moved/run"))
    other = dataclasses.replace(config, continue_sha256="0" * 64)
    assert config.differences(other).keys() == {"continue_sha256"}


def test_patience_needs_validation_images():
    with pytest.raises(UsageError, match=r"^--patience 3: has no effect without validation images"):
        Config.create("cnn", patience=3, val_fraction=0.0)
    with pytest.raises(UsageError, match=r"^--patience -1: must not be negative"):
        Config.create("cnn", patience=-1)
