"""Messages name commands as the user has started this one."""

import re
import subprocess
import sys

import pytest
from conftest import ROOT

from jaxcifar.machine.command_line import same_command, shell_command


@pytest.mark.parametrize(
    ("arguments", "first_word"),
    [
        (["/clone/experiments/report.py"], "python -m experiments.report"),
        (["/usr/bin/jaxcifar"], "jaxcifar report"),
        (["C:/venv/Scripts/jaxcifar.exe"], "jaxcifar report"),
        (["/site-packages/jaxcifar/commands/__main__.py"], "jaxcifar report"),
        (["/home/me/script.py"], "jaxcifar report"),
        (["-c"], "jaxcifar report"),
        ([""], "jaxcifar report"),
    ],
)
def test_commands_are_named_in_the_form_that_was_used(monkeypatch, arguments, first_word):
    monkeypatch.setattr(sys, "argv", arguments)
    assert shell_command("report") == first_word
    assert shell_command() == first_word.removesuffix("report").rstrip(". ")


@pytest.mark.parametrize(
    ("words", "note"),
    [
        (["run", "cnn"], ""),
        (["run", "cnn", "--overwrite"], " (without --overwrite if it has deleted the earlier run)"),
        (
            ["ablation", "--force", "a", "b"],
            " (with --force only for rows that it has not begun to train)",
        ),
        (["ablation", "--force=a"], " (with --force only for rows that it has not begun to train)"),
    ],
)
def test_the_same_command_comes_with_a_note_where_it_would_delete_runs(monkeypatch, words, note):
    monkeypatch.setattr(sys, "argv", ["jaxcifar", *words])
    assert same_command() == f"the same command{note}"


@pytest.mark.parametrize(
    ("words", "form"),
    [
        (["experiments"], "python -m experiments.run"),
        (["jaxcifar.commands"], "jaxcifar run"),
    ],
)
def test_the_list_of_commands_ends_with_a_command_that_works(words, form):
    done = subprocess.run(
        [sys.executable, "-m", *words], cwd=ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.splitlines()[-1].endswith(f": {form} --help")


def test_while_a_module_of_the_checkout_is_looked_up_its_form_is_known(monkeypatch):
    """As the first modules are imported, Python has not set the name of the file."""
    monkeypatch.setattr(sys, "argv", ["-m", "--arch", "cnn"])
    monkeypatch.setattr(sys, "orig_argv", ["python", "-m", "experiments.run", "--arch", "cnn"])
    assert shell_command("run") == "python -m experiments.run"


def test_the_readme_names_the_form_of_a_checkout():
    readme = (ROOT / "README.md").read_text()
    assert readme.count("python -m experiments.run --arch resnet18") == 1


def test_the_pages_lead_with_the_installed_command():
    """A block to copy from has `jaxcifar run`, not the form that needs a checkout."""
    for page in [ROOT / "README.md", *(ROOT / "docs").glob("*.md")]:
        if page.name == "report.md":
            continue
        for block in re.findall(r"^```\n(.*?)^```", page.read_text(), re.S | re.M):
            assert "python -m experiments" not in block, page
