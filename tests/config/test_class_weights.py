"""The setting of class weights: words, tables, and files that nobody has checked."""

import hashlib
import json
import re
from argparse import Namespace

import pytest

from jaxcifar import api
from jaxcifar.commands.shared.config_file import read_given_settings
from jaxcifar.config.class_weights import class_weights_text, parse_class_weights
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.studies.grid import grid_study
from jaxcifar.studies.study import Study

WEIGHTS = {"cat": 2.5, "größe, klein": 1.0, "dog": 0.25}


def test_every_form_gives_the_same_setting(tmp_path):
    (tmp_path / "w.toml").write_text(
        'cat = 2.5\n"größe, klein" = 1\ndog = 0.25\n', encoding="utf-8"
    )
    (tmp_path / "w.json").write_text(json.dumps(WEIGHTS))
    table = 'class,weight\ncat,2.5\n\n"größe, klein", 1\ndog,0.25\n'
    (tmp_path / "w.csv").write_text(table, encoding="utf-8")
    (tmp_path / "bom.csv").write_text(table, encoding="utf-8-sig")
    files = [str(tmp_path / name) for name in ("w.toml", "w.json", "w.csv", "bom.csv")]
    texts = {class_weights_text(form) for form in (*files, WEIGHTS, json.dumps(WEIGHTS))}
    [text] = texts
    assert parse_class_weights(text) == WEIGHTS
    assert class_weights_text(text) == text
    assert [class_weights_text(word) for word in ("none", "balanced")] == ["none", "balanced"]


@pytest.mark.parametrize("value", [[1, 2], 3, None, True])
def test_a_value_of_another_type_names_the_allowed_forms(value):
    words = "must be none, balanced, a file, or a table such as {'cat': 2.5}"
    with pytest.raises(UsageError, match=f"--class-weights {re.escape(repr(value))}: {words}"):
        Config.create("cnn", class_weights=value)


def test_a_config_holds_the_weights_and_not_their_file(tmp_path):
    file = tmp_path / "w.toml"
    file.write_text("cat = 2.5\n")
    config = Config.create("cnn", class_weights=class_weights_text(str(file)))
    file.unlink()
    assert Config.from_dict(json.loads(config.to_json())) == config
    assert parse_class_weights(config.class_weights) == {"cat": 2.5}


@pytest.mark.parametrize(
    ("name", "content", "words"),
    [
        ("w.toml", "cat = 0\n", "the weight 0 of cat must be a number in"),
        ("w.toml", "cat = -1.0\n", "the weight -1.0 of cat"),
        ("w.toml", "cat = nan\n", "the weight nan of cat"),
        ("w.toml", "cat = true\n", "the weight True of cat"),
        ("w.toml", "[cat]\nweight = 1\n", "of cat must be a number"),
        ("w.toml", "cat = \n", "is not valid TOML"),
        ("w.json", "[1, 2]", "Expected `object`"),
        ("w.json", "{}", "there are no weights"),
        ("w.json", '{"a\\nb": 1}', "can't be printed"),
        ("w.json", '{"cat": 1e999}', "the weight inf of cat"),
        ("w.csv", "cat,two\n", "line 1: the weight two must be a number"),
        ("w.csv", "class,weight\ncat,1\ncat,2\n", "line 3 gives cat a second weight"),
        ("w.csv", "cat,1,2\n", "line 1 has 3 cells; write NAME,WEIGHT"),
        ("w.txt", "cat,1\n", "give balanced, or a file of weights"),
        ("w.csv", "x" * 2**21, "has more than"),
    ],
)
def test_a_wrong_file_is_one_clear_line(tmp_path, name, content, words):
    (tmp_path / name).write_text(content)
    with pytest.raises(UsageError) as error:
        class_weights_text(str(tmp_path / name))
    assert words in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("value", ["balancd", 3, "{", '{"cat": 0}', "missing.csv"])
def test_another_value_is_refused(value):
    with pytest.raises(UsageError, match=r"class-weights|missing\.csv"):
        class_weights_text(value)


@pytest.mark.parametrize("text", ["/etc/hostname", "weights.toml", '{"cat": 0}', ""])
def test_a_config_from_a_stranger_names_no_file(text):
    content = {**Config.create("cnn").to_dict(), "class_weights": text}
    with pytest.raises(ValueError, match=r"--class-weights .*must be none, balanced"):
        Config.from_dict(content)


def test_a_study_names_a_file_beside_it(tmp_path):
    (tmp_path / "w.csv").write_text("cat,3\n")
    file = tmp_path / "study.toml"
    file.write_text(
        '[rows]\nown = { class_weights = "w.csv" }\nall = { class_weights = "balanced" }'
    )
    study = Study.read(file)
    settings = {row.name: study.config_of(row, seed=0).class_weights for row in study.rows}
    assert settings == {"own": '{"cat": 3.0}', "all": "balanced"}
    assert Study.from_dict(json.loads(study.to_json())) == study


def test_a_config_takes_a_file_and_a_table(tmp_path):
    (tmp_path / "w.csv").write_text("cat,3\n")
    for given in (str(tmp_path / "w.csv"), {"cat": 3}, '{"cat": 3}'):
        assert Config.create("cnn", class_weights=given).class_weights == '{"cat": 3.0}'
    with pytest.raises(UsageError, match=r"^--class-weights .*no\.csv: No such file|no\.csv"):
        Config.create("cnn", class_weights=str(tmp_path / "no.csv"))
    with pytest.raises(UsageError, match=r"^settings: --class-weights the table: the weight 0 of"):
        Config.create("cnn", class_weights={"cat": 0})


def test_a_study_and_a_config_file_take_a_table(tmp_path):
    file = tmp_path / "study.toml"
    file.write_text("[rows]\nown = { class_weights = { cat = 3 } }\nall = {}\n")
    study = Study.read(file)
    own, without = (study.config_of(row, seed=0).class_weights for row in study.rows)
    assert (own, without) == ('{"cat": 3.0}', "none")
    assert Study.from_dict(json.loads(study.to_json())) == study
    (tmp_path / "run.toml").write_text("[config.class_weights]\ncat = 3\n")
    config = read_given_settings({}, Namespace(config=tmp_path / "run.toml")).config
    assert config.class_weights == '{"cat": 3.0}'
    with pytest.raises(UsageError, match=r"^row own: --class-weights the table: the weight 0 of"):
        Study.from_dict({"rows": {"own": {"class_weights": {"cat": 0}}}})


def test_a_grid_takes_files(tmp_path):
    for name, weight in {"a": 2, "b": 3}.items():
        (tmp_path / f"{name}.csv").write_text(f"cat,{weight}\n")
    study = grid_study([f"class_weights=none,balanced,{tmp_path}/a.csv,{tmp_path}/b.csv"], {})
    study.check()
    settings = [study.config_of(row, seed=0).class_weights for row in study.rows]
    assert settings == ["none", "balanced", '{"cat": 2.0}', '{"cat": 3.0}']
    names = [row.name for row in study.rows]
    assert names[:2] == ["class-weightsnone", "class-weightsbalanced"]
    assert len(set(names)) == 4
    with pytest.raises(UsageError, match="give balanced, or a file of weights"):
        grid_study(["class_weights=balancd,none"], {})


def test_names_of_runs_differ_if_the_weights_do():
    names = {
        Config.create("cnn", class_weights=weights).run_name()
        for weights in ("none", "balanced", {"cat": 2, "dog": 3}, {"cat": 1, "dog": 3})
    }
    assert len(names) == 4
    assert {"cnn_cifar10_seed0", "cnn_cifar10_class-weightsbalanced_seed0"} < names
    digest = hashlib.sha256(b'{"cat": 2.0, "dog": 3.0}').hexdigest()[:8]
    assert f"cnn_cifar10_class-weights{digest}_seed0" in names


def test_python_takes_a_dict(monkeypatch, easy_dataset, tmp_path):
    tasks = []
    monkeypatch.setattr(api, "fit", lambda task, *_: tasks.append(task))
    monkeypatch.setattr(api, "load_just_trained", lambda *_: None)
    api.train("cnn", easy_dataset, run_dir=tmp_path, class_weights={"a": 2})
    assert tasks[0].config.class_weights == '{"a": 2.0}'
