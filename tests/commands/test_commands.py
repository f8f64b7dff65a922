"""Exit codes and last lines of the commands, as a shell sees them: 0, 1 and 2."""

import re

import invented
import numpy as np
import pytest
from conftest import assert_one_line_error, command, obeyed
from PIL import Image

from jaxcifar.commands.__main__ import COMMANDS


@pytest.mark.parametrize("name", COMMANDS)
def test_an_unknown_option_exits_2_and_help_exits_0(name):
    assert_one_line_error(obeyed(name, "--no-such-option"), 2, "error: ", "--no-such-option")
    done = obeyed(name, "--help")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout.startswith("usage: ")


def test_the_list_of_commands_exits_0_and_another_name_2():
    done = command("__main__", env={"COLUMNS": "200"})
    assert (done.returncode, done.stderr) == (0, "")
    assert [line.split()[0] for line in done.stdout.splitlines()[:-1]] == list(COMMANDS)
    assert_one_line_error(command("__main__", "studdy"), 2, "there is no command studdy")


@pytest.fixture(scope="module")
def finished(tmp_path_factory):
    """The folder of a finished run, without its weights."""
    path = tmp_path_factory.mktemp("run") / "run"
    invented.write_run(path, "winner", 8)
    return path


def options_of(row, seed):
    config = invented.STUDY.config_of(invented.STUDY.select([row])[0], seed)
    return [*config.options(), "--seed", str(seed)]


def test_a_finished_runs_lines_are_the_figures_of_the_epoch_that_validation_chose(finished):
    done = obeyed("run", *options_of("winner", 8), "--run-dir", finished, env={"COLUMNS": "200"})
    assert done.returncode == 0, done.stderr
    run = invented.RUNS["winner"][8]
    rate = np.dot(run.seconds, run.rate) / np.sum(run.seconds)
    said = dict(re.findall(r"^(\S[\w ]{13}) {2}(.*)$", done.stdout, re.M))
    said = {name.strip(): line for name, line in said.items()}
    assert said == {
        "test accuracy": f"{run.test:.2%} on CIFAR-10",
        "with flips": f"{run.flip:.2%}, each image seen from both sides",
        "chosen": f"epoch 4, validation accuracy {run.val[3]:.2%} (highest)",
        "last epoch": f"{run.last_test:.2%} after epoch 5",
        "time": f"140 s, {rate:,.0f} images/s on a device of winner, float32",
        "files": "result.json, weights.safetensors, metrics.jsonl, accuracy.png, loss.png, "
        f"model.png in {finished}/",
    }
    assert done.stdout.splitlines()[-1].startswith("files ")


def test_a_seed_that_differs_from_the_run_folders_seed_exits_2(finished):
    done = obeyed("run", *options_of("winner", 8)[:-1], "7", "--run-dir", finished)
    assert_one_line_error(done, 2, "seed 8 there, 7 asked for")


@pytest.mark.parametrize("name", ["predict", "evaluate", "export"])
def test_a_run_that_is_damaged_exits_1_and_one_that_is_not_finished_2(tmp_path, name):
    Image.fromarray(np.zeros((32, 32, 3), np.uint8)).save(tmp_path / "photo.png")
    run = tmp_path / "run"
    invented.write_run(run, "winner", 8)
    words = {
        "predict": (tmp_path / "photo.png", "--run", run),
        "evaluate": (run, "--data-dir", tmp_path),
        "export": (run, "--to", "safetensors", tmp_path / "x.safetensors"),
    }[name]
    (run / "result.json").write_text("{")
    assert_one_line_error(obeyed(name, *words), 1, f"{run}/result.json: ")
    (run / "result.json").unlink()
    assert_one_line_error(obeyed(name, *words), 2, f"{run}: a run that is not finished")
    assert not (tmp_path / "x.safetensors").exists()
