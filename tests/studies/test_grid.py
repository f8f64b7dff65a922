"""A study made of all combinations of some values."""

import json

import pytest
from conftest import assert_one_line_error, obeyed

from jaxcifar.commands.shared.given_study import GivenStudy
from jaxcifar.errors import UsageError
from jaxcifar.studies.conduct import plan, record
from jaxcifar.studies.grid import grid_name, grid_study
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import with_recorded_rows


def test_a_grid_has_a_row_for_each_combination_the_last_setting_first():
    words = ["learning_rate=0.01,1", "--weight-decay=0,5e-4", "augment=true,no"]
    study = grid_study(words, {"arch": "cnn", "epochs": 3})
    study.check()
    assert len(study.rows) == 8
    changes = {row.name: row.changes for row in study.rows}
    assert list(changes)[:3] == [
        "learning-rate0.01_weight-decay0.0_augment",
        "learning-rate0.01_weight-decay0.0_no-augment",
        "learning-rate0.01_weight-decay0.0005_augment",
    ]
    last = {"learning_rate": 1.0, "weight_decay": 5e-4, "augment": False}
    assert changes["learning-rate1.0_weight-decay0.0005_no-augment"] == last
    assert {type(value) for value in last.values()} == {float, bool}
    config = study.config_of(study.rows[-1], seed=2)
    assert (config.arch, config.epochs, config.learning_rate, config.seed) == ("cnn", 3, 1.0, 2)
    assert Study.from_dict(json.loads(study.to_json())) == study
    assert grid_name(words) == "grid_learning-rate_weight-decay_augment"


def test_names_of_rows_are_folders_and_differ():
    study = grid_study(["optimizer=a/b.py:Rule,c/d.py:Rule", "fold=1/5,2/5"], {})
    names = [row.name for row in study.rows]
    assert names == [
        *("optimizerRule_fold1-5", "optimizerRule_fold2-5"),
        *("optimizerRule_fold1-5_2", "optimizerRule_fold2-5_2"),
    ]
    assert Study.from_dict(json.loads(study.to_json())).rows == study.rows


def test_a_grid_goes_on_and_may_grow(tmp_path):
    record(grid_study(["epochs=1,2"], {"arch": "cnn"}), tmp_path)
    assert len(plan(grid_study(["epochs=1,2,3"], {"arch": "cnn"}), None, [0], tmp_path, [])) == 3
    with pytest.raises(UsageError, match=r"belongs to another study \(row epochs2 is in the fold"):
        plan(grid_study(["epochs=1,3"], {"arch": "cnn"}), None, [0], tmp_path, [])


def test_two_grids_of_a_setting_share_a_folder(tmp_path):
    first = grid_study(["epochs=2,1"], {"arch": "cnn"})
    record(first, tmp_path)
    second = grid_study(["epochs=3,1"], {"arch": "cnn"})
    both = with_recorded_rows(second, tmp_path)
    assert [row.name for row in both.rows] == ["epochs3", "epochs1", "epochs2"]
    tasks = plan(both, [row.name for row in second.rows], [0], tmp_path, [])
    assert [task.name for task in tasks] == ["epochs3 seed 0", "epochs1 seed 0"]
    record(both, tmp_path)
    assert Study.read(tmp_path / "study.json") == both
    assert with_recorded_rows(first, tmp_path).rows[2:] == (second.rows[0],)
    given = GivenStudy(first, {}, {}, "grid_epochs", fold_count=0, first_seed=0)
    lines = given.with_rows_of_earlier_grids(tmp_path).notices
    assert lines == (f"the report shows the rows of earlier grids in {tmp_path} too: epochs3",)
    assert given.with_rows_of_earlier_grids(tmp_path / "new") == given


def test_a_grid_of_other_shared_settings_needs_another_folder(tmp_path):
    record(grid_study(["epochs=1,2"], {"arch": "cnn"}), tmp_path)
    for words, shared, difference in (
        (["epochs=1,3"], {"arch": "cnn", "batch_size": 64}, "batch_size is the default in the fol"),
        (["shift=1,2"], {"arch": "cnn"}, "row epochs1 is in the folder and not in this study"),
    ):
        study = grid_study(words, shared)
        assert with_recorded_rows(study, tmp_path) == study
        with pytest.raises(UsageError, match=difference):
            plan(study, None, [0], tmp_path, [])
    words = ["epochs=" + ",".join(map(str, range(3, 1002)))]
    with pytest.raises(UsageError, match="would have 1,001 rows with the rows of earlier grids"):
        with_recorded_rows(grid_study(words, {"arch": "cnn"}), tmp_path)


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["epochs"], "--grid epochs: must be NAME=VALUE,VALUE"),
        (["epochs=1,,2"], "--grid epochs=1,,2: must be NAME=VALUE,VALUE"),
        (["epoch=1"], "there is no setting epoch; did you mean epochs?"),
        (["sources=a"], "there is no setting sources"),
        (["epochs=1.5"], "--grid epochs=1.5: 1.5 must be a whole number"),
        (["learning_rate=0.1,fast"], "fast must be a number"),
        (["augment=maybe"], "maybe must be true or false"),
        (["learning_rate=0.1,1e-1"], "1e-1 is given twice"),
        (["epochs=1", "epochs=2"], "epochs is given twice"),
        (["seed=0,1"], "use --seeds"),
        (["keep_every=1,2"], "keep_every is not a setting; give the command the option --keep-ev"),
        (["arch_args=1,2"], "write a study file"),
        (["batch_size=2,3"], "--batch-size: --grid varies batch_size already"),
        (
            [f"{name}=1,2,3,4,5,6,7,8,9,10,11" for name in ("epochs", "step_size", "shift")],
            "1,331 rows are more than 1,000",
        ),
    ],
)
def test_bad_grids_are_refused_in_one_line(words, message):
    with pytest.raises(UsageError) as error:
        grid_study(words, {"batch_size": 1})
    assert message in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--grid", "epochs=1,2", "--study", "ablation"], ["--grid", "--study"]),
        (["--grid", "epochs=0,2"], ["row epochs0", "at least 1"]),
        (["--grid", "gamma=0.1,0.5"], ["row gamma0.1", "gamma has no effect"]),
        (["--folds", "1"], ["--folds", "from 2 to 999"]),
        (["--folds", "2", "--val-fraction", "0.2"], ["--val-fraction", "--folds"]),
        (["--folds", "2", "--fold", "1/2"], ["--fold 1/2: --folds trains every fold; leave one"]),
    ],
)
def test_bad_options_of_a_grid_are_one_line_and_exit_2(arguments, words, tmp_path):
    done = obeyed("ablation", *arguments, "--arch", "cnn", "--out", str(tmp_path / "out"))
    assert_one_line_error(done, 2, *words)
    assert not (tmp_path / "out").exists()
