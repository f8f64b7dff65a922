"""The settings of `run --config`: from TOML, from an earlier run, and overruled by options."""

import json
from argparse import Namespace

import pytest
from conftest import ROOT, assert_one_line_error, obeyed

from jaxcifar.commands.run import parse
from jaxcifar.commands.shared.config_file import read_given_settings
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError


def given(file, **options):
    return read_given_settings(options, Namespace(config=file))


@pytest.mark.parametrize("heading", ["", "[config]\n"])
def test_a_toml_file_is_the_same_as_options(heading, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(f"{heading}arch = 'cnn'\nepochs = 5\nlearning_rate = 1\nseed = 4\n")
    found = given(file)
    assert found.config == Config.create("cnn", epochs=5, learning_rate=1.0, seed=4)
    assert (found.notices, found.recorded_config, found.is_auto_dataset) == ((), None, False)


def test_options_win_and_a_line_says_so(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("arch = 'cnn'\nepochs = 5\narch_args = { widths = [4], hidden = 8 }\n")
    found = given(file, epochs=2, arch_args={"hidden": 2})
    assert (found.config.epochs, dict(found.config.arch_args)) == (2, {"widths": (4,), "hidden": 2})
    [line] = found.notices
    assert line.startswith(f"the command line overrules {file}: ")
    assert "epochs 2 instead of 5" in line


def test_settings_that_an_option_makes_ineffective_are_left_out_and_named(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("arch = 'cnn'\naugment = true\nshift = 2\nval_fraction = 0.2\n")
    found = given(file, augment=False, fold="1/5")
    assert found.config == Config.create("cnn", augment=False, fold="1/5")
    line = "settings of the file without effect with these options: shift 2, val_fraction 0.2"
    assert line in found.notices


def test_an_option_switches_a_fold_of_the_file_off(tmp_path):
    file = tmp_path / "run.toml"
    file.write_text("arch = 'cnn'\nfold = '1/4'\n")
    options, _ = parse(["--fold", "none", "--val-fraction", "0.2"])
    found = given(file, **options)
    assert found.config == Config.create("cnn", val_fraction=0.2)
    assert f"the command line overrules {file}: fold none instead of 1/4" in found.notices[0]
    file.write_text("arch = 'cnn'\nfold = 'none'\n")
    assert given(file).config == Config.create("cnn")
    with pytest.raises(UsageError, match=r"^--fold 5/4: must be I/K .*, or none"):
        Config.create("cnn", fold="5/4")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", ["is empty"]),
        ("keep_every = 5", ["keep_every is not a setting", "the option --keep-every"]),
        ("arch = ", ["is not valid TOML"]),
        ("epoch = 3", ["there is no setting epoch", "epochs"]),
        ("epochs = 'many'", ["epochs = 'many' is not of type int"]),
        ("arch = 'cnn'\nepochs = 0", ["--config", "--epochs 0", "at least 1"]),
        ("arch = 'vgg'", ["--config", "--arch vgg: there is no such network"]),
        ("dropout = 0.5", ["--config", "--dropout 0.5: has no effect on --arch resnet18"]),
        ("data_sha256 = '00'", ["data_sha256 is computed"]),
        ("[rows]\na = {}", ["is a study", "ablation --study"]),
        ("epochs = 1\n[config]\narch = 'cnn'", ["move epochs into the table [config]"]),
        ("arch_args = { a = " + "[" * 40 + "]" * 40 + " }", ["nested too deeply"]),
    ],
)
def test_bad_files_are_refused(text, words, tmp_path):
    file = tmp_path / "run.toml"
    file.write_text(text)
    with pytest.raises(UsageError) as error:
        given(file)
    for word in words:
        assert word in str(error.value)


def test_a_missing_file_is_one_line_and_exits_2(tmp_path):
    done = obeyed("run", "--config", str(tmp_path / "no.toml"))
    assert_one_line_error(done, 2, "no.toml", "No such file")
    assert_one_line_error(obeyed("run", "--config", str(tmp_path)), 2, "there is no run here")


EARLIER = Config.create("cnn", recipe="strong", epochs=3, learning_rate=0.5, seed=6, fold="2/3")


@pytest.fixture
def earlier(tmp_path):
    (tmp_path / "config.json").write_text(EARLIER.to_json())
    return tmp_path


def test_an_earlier_runs_folder_and_file_give_its_config(earlier):
    assert given(earlier).config == given(earlier / "config.json").config == EARLIER
    assert given(earlier).recorded_config == EARLIER
    assert given(earlier, seed=1).config == Config.create(
        "cnn", recipe="strong", epochs=3, learning_rate=0.5, seed=1, fold="2/3"
    )


def test_with_another_recipe_only_the_changes_to_the_runs_recipe_stay(earlier):
    found = given(earlier, recipe="reference")
    assert found.config == Config.create("cnn", epochs=3, learning_rate=0.5, seed=6, fold="2/3")
    [line] = [line for line in found.notices if "only the changes to the recipe strong" in line]
    assert line.startswith("--recipe reference: ")
    assert line.endswith("arch cnn, epochs 3, fold 2/3, learning_rate 0.5, seed 6")


def test_a_hostile_config_is_refused(earlier):
    for content in ({"arch": 3}, {"arch": "cnn", "epochs": "x"}, [1], {"colour": 1}):
        (earlier / "config.json").write_text(json.dumps(content))
        with pytest.raises(UsageError, match=r"config\.json: [^;]*; choose another run, or write"):
            given(earlier)
    (earlier / "config.json").write_text(" " * 2**21)
    with pytest.raises(UsageError, match="has more than 1,048,576 bytes"):
        given(earlier)


def test_user_code_is_found_beside_the_file_and_changes_are_reported(tmp_path, monkeypatch):
    source = (ROOT / "experiments" / "networks" / "mixer.py").read_text()
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "net.py").write_text(source)
    (tmp_path / "there" / "run.toml").write_text("arch = 'net.py:Mixer'")
    monkeypatch.chdir(tmp_path)
    config = given(tmp_path / "there" / "run.toml").config
    assert config.arch == "there/net.py:Mixer"
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "config.json").write_text(config.to_json())
    assert given(tmp_path / "run").notices == ()
    (tmp_path / "there" / "net.py").write_text(f"{source}# edited\n")
    [line] = given(tmp_path / "run").notices
    then, now = dict(config.sources)["arch"], dict(given(tmp_path / "run").config.sources)["arch"]
    assert line.startswith(f"there/net.py:Mixer has changed since {tmp_path / 'run'}: SHA-256 ")
    assert now[:8] in line and then[:8] in line and now != then
