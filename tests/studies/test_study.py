"""Studies: what their files say, and what is refused."""

import json
import re
from pathlib import Path

import pytest
from conftest import ROOT, assert_one_line_error, obeyed

from jaxcifar.config import user_reference
from jaxcifar.errors import RunError, UsageError
from jaxcifar.studies.conduct import plan, record
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import REWRITE_STUDY_FILE

ABLATION = ROOT / "experiments" / "studies" / "ablation.toml"

# The reference's table: normalisation, augmentation, learning rate, schedule, test accuracies.
REFERENCE = {
    "baseline": (False, False, 0.01, "none", (0.2307,)),
    "norm": (True, False, 0.01, "none", (0.7973,)),
    "aug": (False, True, 0.01, "none", (0.5411,)),
    "both": (True, True, 0.01, "none", (0.8841,)),
    "lr0.1": (True, True, 0.1, "none", (0.8789,)),
    "lr0.001": (True, True, 0.001, "none", (0.8388,)),
    "lr0.01-step": (True, True, 0.01, "step", (0.8132,)),
    "lr0.01-cosine": (True, True, 0.01, "cosine", (0.9060,)),
    "lr0.1-step": (True, True, 0.1, "step", (0.6575,)),
    "lr0.1-cosine": (True, True, 0.1, "cosine", (0.9217, 0.9248)),
}


def test_the_ablation_is_the_references():
    study = Study.read(ABLATION)
    assert [row.name for row in study.rows] == list(REFERENCE)
    for row in study.rows:
        config = study.config_of(row, seed=3)
        got = (config.normalize, config.augment, config.learning_rate, config.schedule)
        assert (*got, row.reference) == REFERENCE[row.name]
        assert (config.arch, config.epochs, config.batch_size) == ("resnet18", 50, 512)
        assert (config.optimizer, config.momentum, config.weight_decay) == ("sgd", 0.9, 5e-4)
        assert config.seed == 3


@pytest.mark.parametrize("path", sorted(ABLATION.parent.glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_survives_its_json(path, tmp_path):
    study = Study.read(path)
    study.check()
    assert Study.from_dict(json.loads(study.to_json())) == study
    (tmp_path / "study.json").write_text(study.to_json())
    assert Study.read(tmp_path / "study.json") == study


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("title = 'x'", "missing required field `rows`"),
        ("[rows]\na = 1", "row a: must be a table of settings, such as { learning_rate"),
        ("[rows]\na = { rate = 1 }", "row a: there is no setting rate"),
        ("[rows]\na = { learning_rate = 'fast' }", "row a: learning_rate = 'fast' is not"),
        ("[rows]\na = { epochs = true }", "row a: epochs = True is not of type int"),
        ("[rows]\na = { learning_rate = -1 }", "row a: --learning-rate -1.0: must be above 0"),
        ("[rows]\na = { keep_every = 5 }", "row a: keep_every is not a setting; give the command"),
        ("[rows]\na = { seed = 1 }", "row a: a study can't set seed"),
        ("[rows]\na = { reference = [92] }", "row a, reference, [0]: Expected `float` <= 1.0"),
        ("[rows]\n'a/b' = {}", "row 'a/b': use only letters"),
        ("[config]\narch = 'vgg'\n[rows]\na = {}", "no such network"),
        ("[columns]\n[rows]\na = {}", "unknown field `columns`"),
        ("[rows", "at end of document"),
        ("[rows]\n" + "\n".join(f"r{n} = {{}}" for n in range(1001)), "length <= 1000"),
    ],
)
def test_bad_files_are_refused(text, words, tmp_path):
    (tmp_path / "bad.toml").write_text(text)
    with pytest.raises(UsageError) as error:
        Study.read(tmp_path / "bad.toml").check()
    assert words in str(error.value)


def test_advice_fits_the_file(tmp_path):
    """The command wrote study.json, so the user is not told to correct a value in it."""
    (tmp_path / "mine.toml").write_text("[rows]\na = { epochs = 'x' }")
    with pytest.raises(UsageError, match="is not of type int; correct it; write it like"):
        Study.read(tmp_path / "mine.toml")
    (tmp_path / "study.json").write_text('{"rows": {"a": {"epochs": "x"}}}')
    with pytest.raises(RunError, match=r"is not of type int; delete it, and .*ablation writes it"):
        Study.read(tmp_path / "study.json", REWRITE_STUDY_FILE)


def test_whole_numbers_stand_for_fractions(tmp_path):
    (tmp_path / "s.toml").write_text("[rows]\na = { learning_rate = 1, train_examples = 500 }")
    study = Study.read(tmp_path / "s.toml")
    config = study.config_of(study.rows[0], seed=0)
    assert (config.learning_rate, config.train_examples) == (1.0, 500)
    assert type(config.learning_rate) is float


def user_study(folder, arch, comment):
    """Write a study of a user's network and, if `comment` is not None, the network beside it."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "s.toml").write_text(f"[config]\narch = '{arch}'\n[rows]\na = {{}}\n")
    if comment is not None:
        network = (ROOT / "experiments" / "networks" / "mixer.py").read_text()
        (folder / "net.py").write_text(f"{network}# {comment}\n")
    return folder / "s.toml"


def config_of(file):
    study = Study.read(file)
    return study.config_of(study.rows[0], seed=0)


def test_user_code_is_looked_for_beside_the_study_then_in_the_current_folder(tmp_path, monkeypatch):
    user_study(tmp_path / "here", "net.py:Mixer", "here")
    file = user_study(tmp_path / "there", "net.py:Mixer", "beside the study")
    monkeypatch.chdir(tmp_path / "here")
    for study_file in (file, Path("..", "there", "s.toml")):
        config = config_of(study_file)
        assert dict(config.sources)["arch"] == user_reference.read_and_hash(
            "arch", f"{file.parent}/net.py:Mixer"
        )
        assert user_reference.load("arch", config.arch).__name__ == "Mixer"
    (file.parent / "net.py").unlink()
    assert config_of(file).arch == "net.py:Mixer"
    assert dict(config_of(file).sources)["arch"] == user_reference.read_and_hash(
        "arch", "net.py:Mixer"
    )


@pytest.mark.parametrize(
    ("study", "arch"), [(".", "net.py:Mixer"), ("studies", "nets/net.py:Mixer")]
)
def test_names_of_a_study_below_the_current_folder_stay(study, arch, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    user_study(tmp_path / Path(arch).parent, arch, "one level above the study, or beside it")
    user_study(tmp_path / study, arch, None)
    for file in (Path(study, "s.toml"), tmp_path / study / "s.toml"):
        assert config_of(file).arch == arch


def test_a_study_goes_on_from_another_folder(tmp_path, monkeypatch):
    file = user_study(tmp_path / "there", "net.py:Mixer", "beside the study")
    out = tmp_path / "out"
    for folder in (tmp_path / "there", tmp_path, ROOT):
        monkeypatch.chdir(folder)
        study = Study.read(file)
        [task] = plan(study, None, [0], out, [])
        record(study, out)
        task.path.mkdir(parents=True, exist_ok=True)
        (task.path / "config.json").write_text(task.config.to_json())
    user_study(file.parent, "net.py:Mixer", "edited")
    with pytest.raises(UsageError, match=r"seed0.*SHA-256 of net.py:Mixer"):
        plan(Study.read(file), None, [0], out, [])
    user_study(file.parent, "net.py:Other", None)
    with pytest.raises(UsageError, match=r"net.py:Mixer in the folder, net.py:Other now"):
        plan(Study.read(file), None, [0], out, [])


@pytest.mark.parametrize("path", sorted(ABLATION.parent.glob("*.toml")), ids=lambda p: p.stem)
def test_every_study_that_comes_with_the_package_plans_anywhere(path, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    tasks = plan(Study.read(path), None, [0], tmp_path / "out", [])
    assert {task.name for task in tasks} == {f"{row.name} seed 0" for row in Study.read(path).rows}


def test_own_network_goes_on_in_folders_of_earlier_versions(tmp_path, monkeypatch):
    monkeypatch.chdir(ROOT)
    study = Study.read(ABLATION.with_name("own_network.toml"))
    assert study.config["arch"] == "experiments/networks/mixer.py:Mixer"
    record(study, tmp_path)
    monkeypatch.chdir(tmp_path)
    assert plan(Study.read(ABLATION.with_name("own_network.toml")), None, [0], tmp_path, [])


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--study", "nowhere.toml"], ["nowhere.toml", "No such file"]),
        (["--rows", "norm", "nothing"], ["no row nothing", "baseline"]),
        (["--rows", "norm", "--force", "aug"], ["--force aug", "not among"]),
        (["--at-once", "0"], ["--at-once", "0: must be at least 1"]),
        (["--epochs", "0"], ["--epochs 0", "at least 1"]),
        (["--seeds", "-1"], ["--seeds", "-1"]),
        (["--seed", "1"], ["--seed"]),
    ],
)
def test_bad_options_are_one_line_and_exit_2(arguments, words, tmp_path):
    done = obeyed("ablation", *arguments, "--out", str(tmp_path / "out"))
    assert_one_line_error(done, 2, *words)
    assert not (tmp_path / "out").exists()


TWO = {
    "config": {"arch": "cnn", "arch_args": {"widths": [4], "hidden": 8}, "epochs": 3},
    "rows": {"narrow": {"arch_args": {"hidden": 2}}, "plain": {}, "other": {"arch": "resnet18"}},
}


def test_all_rows_of_a_seed_come_before_the_next_seed(tmp_path):
    tasks = plan(Study.from_dict(TWO), ["plain", "narrow"], [7, 3, 7], tmp_path, ["plain"])
    assert [(task.name, task.path.relative_to(tmp_path), task.overwrite) for task in tasks] == [
        ("narrow seed 7", Path("narrow/seed7"), False),
        ("plain seed 7", Path("plain/seed7"), True),
        ("narrow seed 3", Path("narrow/seed3"), False),
        ("plain seed 3", Path("plain/seed3"), True),
    ]
    assert [task.config.seed for task in tasks] == [7, 7, 3, 3]
    commands = {task.resuming_command for task in tasks}
    assert commands == {"the same command without --force"}  # also after a row that is not forced


def test_folds_are_runs_of_each_row_and_seed(tmp_path):
    shared = {**TWO["config"], "val_fraction": 0.0}  # which the folds replace
    study = Study.from_dict({**TWO, "config": shared})
    tasks = plan(study, ["plain"], [7, 3], tmp_path, [], fold_count=2)
    assert [(task.name, task.path.relative_to(tmp_path), task.config.fold) for task in tasks] == [
        ("plain fold 1/2 seed 7", Path("plain/fold1of2_seed7"), "1/2"),
        ("plain fold 2/2 seed 7", Path("plain/fold2of2_seed7"), "2/2"),
        ("plain fold 1/2 seed 3", Path("plain/fold1of2_seed3"), "1/2"),
        ("plain fold 2/2 seed 3", Path("plain/fold2of2_seed3"), "2/2"),
    ]
    assert {task.config.val_fraction for task in tasks} == {0.1}
    by_row = Study.from_dict({**TWO, "rows": {"one": {"fold": "1/2"}}})
    with pytest.raises(UsageError, match=r"^--folds: row one has fold 1/2 already"):
        plan(by_row, None, [0], tmp_path, [], fold_count=2)


def test_a_fold_brings_the_validation_images_that_patience_needs(tmp_path):
    shared = {**TWO["config"], "val_fraction": 0.0, "patience": 3}
    study = Study.from_dict({**TWO, "config": shared})
    with pytest.raises(UsageError, match="patience, which all rows share, has no effect"):
        study.check()
    study.check(fold="1/2")
    tasks = plan(study, ["plain"], [0], tmp_path, [], fold_count=2)
    assert {(task.config.patience, task.config.val_fraction) for task in tasks} == {(3, 0.1)}
    by_row = Study.from_dict({**TWO, "rows": {"one": {"val_fraction": 0.2}}})
    by_row.check()
    with pytest.raises(
        UsageError, match=r"^row one: val_fraction has no effect with --fold; remove"
    ):
        by_row.check(fold="1/2")


@pytest.mark.parametrize(
    ("row", "words"),
    [
        (
            {"patience": 3, "val_fraction": 0.0},
            "patience has no effect without validation images (--val-fraction 0); remove it",
        ),
        ({"gamma": 0.5, "schedule": "cosine"}, "gamma has no effect on --schedule cosine; remove"),
    ],
)
def test_a_setting_without_effect_on_its_row_is_refused_with_the_reason(row, words):
    study = Study.from_dict({**TWO, "rows": {"one": row}})
    with pytest.raises(UsageError, match=f"^row one: {re.escape(words)}"):
        study.check()


def test_an_author_survives_the_json_and_is_left_out_without_one():
    """Older versions refuse a key that they do not know."""
    study = Study.from_dict({"author": "Ann Lee", "rows": {"one": {}}})
    assert Study.from_dict(json.loads(study.to_json())).author == "Ann Lee"
    nameless = Study.from_dict({"rows": {"one": {}}})
    assert "author" not in json.loads(nameless.to_json())
    with pytest.raises(UsageError, match="author"):
        Study.from_dict({"author": 3, "rows": {"one": {}}})


def test_a_row_changes_a_networks_arguments_one_by_one():
    study = Study.from_dict(TWO)
    arguments = {row.name: dict(study.config_of(row, 0).arch_args) for row in study.rows}
    assert arguments == {
        "narrow": {"widths": (4,), "hidden": 2},
        "plain": {"widths": (4,), "hidden": 8},
        "other": {},  # those are of another network
    }


def test_a_folder_keeps_to_the_rows_that_it_was_begun_with(tmp_path):
    record(Study.from_dict(TWO), tmp_path)
    longer = {**TWO, "config": {**TWO["config"], "epochs": 4}}
    wider = {**TWO, "rows": {**TWO["rows"], "narrow": {"arch_args": {"hidden": 3}}}}
    other = {**TWO, "rows": {**TWO["rows"], "plain": {"warmup": 0.5}}}
    fewer = {**TWO, "rows": {"narrow": TWO["rows"]["narrow"], "plain": {}}}
    for study, words in (
        (longer, "epochs is 3 in the folder, 4 now"),
        (wider, r"in row narrow, arch_args hidden is 2 in the folder, 3 now\); restore this row"),
        (other, "in row plain, warmup is the default in the folder, 0.5 now"),
        (fewer, "row other is in the folder and not in this study"),
    ):
        with pytest.raises(UsageError, match=words):
            plan(Study.from_dict(study), None, [0], tmp_path, [])
    long = {**TWO, "rows": {**TWO["rows"], "plain": {"arch_args": {"note": "x" * 5000}}}}
    with pytest.raises(UsageError, match=r"in row plain, arch_args note is .* now") as error:
        plan(Study.from_dict(long), None, [0], tmp_path, [])
    assert len(str(error.value)) < 400 + len(str(tmp_path))
    same = {**TWO, "rows": {**TWO["rows"], "plain": {"epochs": 3}}}  # as all rows
    assert len(plan(Study.from_dict(same), None, [0], tmp_path, [])) == 3
    more = {**TWO, "title": "New", "rows": {**TWO["rows"], "new": {"epochs": 9}}}
    assert len(plan(Study.from_dict(more), None, [0], tmp_path, [])) == 4
