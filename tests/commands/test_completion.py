"""Completion in the shell, by the protocol of argcomplete: variables in, words in a file out."""

import importlib
import os
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar.commands.__main__ import COMMANDS
from jaxcifar.commands.shared.example_files import network_files, study_files
from jaxcifar.commands.shared.parser import suggested_names
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.registry import KINDS
from jaxcifar.evaluation.image_sets import SET_NAMES, check_set_name

NO_PACKAGE = """
import sys
sys.modules["argcomplete"] = None
from jaxcifar.commands.__main__ import main
main()
"""
# What has been imported is told when the process ends, which argcomplete does with `os._exit`.
WITH_IMPORTS = """
import os, sys
end = os._exit
def print_modules_and_exit(code):
    print("\\n".join(sys.modules), flush=True)
    end(code)
os._exit = print_modules_and_exit
from jaxcifar.commands.__main__ import main
main()
"""


def completing(folder, line, program):
    """Start `program` as the shell's completion function does after `line` was typed."""
    variables = {
        **os.environ,
        "_ARGCOMPLETE": "1",
        "_ARGCOMPLETE_SHELL": "bash",
        "_ARGCOMPLETE_IFS": "\n",
        "_ARGCOMPLETE_SUPPRESS_SPACE": "1",
        "_ARGCOMPLETE_STDOUT_FILENAME": str(folder / "words"),
        "COMP_LINE": line,
        "COMP_POINT": str(len(line.encode())),
        "PYTHONPATH": os.pathsep.join([str(ROOT), os.environ.get("PYTHONPATH", "")]),
    }
    words = [sys.executable, "-c", program]
    return subprocess.run(words, cwd=folder, env=variables, capture_output=True, text=True)


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        ("jaxcifar ", {"--help", "--version", *COMMANDS}),
        ("jaxcifar ex", {"export"}),
        ("jaxcifar run --arch ", set(KINDS["arch"])),
        ("jaxcifar run --epochs 3 --schedule=co", {"--schedule=cosine"}),
        ("jaxcifar ablation --study recipes_c", {"recipes_cnn"}),
        ("jaxcifar export some/run --to o", {"onnx"}),
        ("jaxcifar run --label-s", {"--label-smoothing"}),
    ],
)
def test_the_shell_completes_commands_options_and_names(tmp_path, line, expected):
    pytest.importorskip("argcomplete", reason="argcomplete is not installed")
    done = completing(tmp_path, line, WITH_IMPORTS)
    assert done.returncode == 0, done.stderr
    assert {word.strip() for word in (tmp_path / "words").read_text().split("\n")} == expected
    imported = done.stdout.split()
    assert "argcomplete" in imported
    assert not {"jax", "flax", "numpy", "matplotlib"} & {*imported}


def test_without_the_package_nothing_is_completed_and_no_command_is_run(tmp_path):
    done = completing(tmp_path, "jaxcifar run --arch cnn", NO_PACKAGE)
    assert (done.returncode, done.stdout, done.stderr) == (1, "", "")
    assert list(tmp_path.iterdir()) == []


def suggested(command, option):
    parser = importlib.import_module(f"jaxcifar.commands.{command}").parser()
    [action] = [a for a in parser._actions if option in (*a.option_strings, a.dest)]
    return set(suggested_names(action))


def test_each_option_that_takes_a_known_name_suggests_all_of_them():
    for kind in KINDS.keys() - {"observer"}:
        expected = {*KINDS[kind], "auto"} if kind == "dataset" else set(KINDS[kind])
        assert suggested("run", f"--{kind}") == expected
    assert suggested("run", "--recipe") == set(RECIPES)
    assert suggested("ablation", "--dataset") == suggested("prepare", "--dataset")
    for command in ("bench", "memory", "scaling", "summary", "convert"):
        assert suggested(command, "--arch") == set(KINDS["arch"])
    for command in ("ablation", "bench"):
        assert suggested(command, "--study") == set(study_files())
    assert suggested("copy", "name") == {*study_files(), *network_files()}
    assert suggested("evaluate", "--on") == set(SET_NAMES)
    for name in SET_NAMES:
        check_set_name(name)
