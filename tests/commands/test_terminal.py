"""What is printed: a line stays a line, and what is named from outside is shown, not obeyed."""

import io
import os
import subprocess
import sys
import warnings
from functools import partial

import pytest
from conftest import ROOT, assert_one_line_error, obeyed
from rich.console import Console

from jaxcifar.commands.shared.cli import exit_code_of
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.terminal import line_printer

FORGED = "net\x1b[32m\r\nCIFAR-10 is ready\x1b[0m\u202e [red]x[/red] :smile: \udcff"


def test_a_line_is_printed_as_it_is():
    out = io.StringIO()
    line_printer(Console(file=out, force_terminal=True, width=20), wrap=False)(FORGED)
    assert out.getvalue() == (
        r"net\x1b[32m\r\nCIFAR-10 is ready\x1b[0m\u202e [red]x[/red] :smile: \udcff" + "\n"
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (UsageError(FORGED), 2),
        (RunError(FORGED * 1000), 1),
        (PermissionError(13, "Permission denied", FORGED), 1),
    ],
)
def test_errors_are_one_line_without_what_libraries_add(capfd, monkeypatch, error, code):
    monkeypatch.setattr(sys, "warnoptions", [])

    def fail():
        warnings.warn("overflow", RuntimeWarning, stacklevel=1)
        raise error

    with warnings.catch_warnings():
        assert exit_code_of(fail) == code
    [line] = capfd.readouterr().err.splitlines()
    assert line.startswith("error: net" if code == 2 else "error: ")
    assert line.isprintable()
    assert len(line) <= 1010


class Screen(io.StringIO):
    """A terminal."""

    def isatty(self):
        return True


def test_an_error_is_as_wide_as_the_screen(monkeypatch):
    monkeypatch.setattr(sys, "stderr", Screen())
    monkeypatch.setenv("COLUMNS", "40")

    def fail():
        raise UsageError("--arch resnet8: no such network; did you mean resnet18? choose another")

    assert exit_code_of(fail) == 2
    assert sys.stderr.getvalue() == (
        "error: --arch resnet8: no such network;\n  did you mean resnet18? choose another\n"
    )


def test_wrong_options_are_refused_in_one_line(capfd):
    parser = Parser("x", "")
    parser.add_argument("--epochs", type=int)
    for words in (
        ["--epochs", FORGED],
        ["--epochs", "9" * 10_000],
        [FORGED],
        ["--" + FORGED * 500],
    ):
        assert exit_code_of(partial(parser.parse_args, words)) == 2
        [line] = capfd.readouterr().err.splitlines()
        assert line.isprintable()
        assert len(line) < 1100


@pytest.mark.parametrize(
    ("name", "damage"),
    [
        ("config.json", lambda path: path.write_text("")),
        ("config.json", os.mkfifo),
        ("result.json", lambda path: path.write_text('{"test_accuracy": 1')),
    ],
)
def test_damage_ends_a_run_in_one_line(tmp_path, name, damage):
    config = Config.create("cnn", dataset="shapes10", epochs=1)
    (tmp_path / "config.json").write_text(config.to_json())
    (tmp_path / name).unlink(missing_ok=True)
    damage(tmp_path / name)
    options = ("--arch", "cnn", "--dataset", "shapes10", "--epochs", "1")
    done = obeyed("run", *options, "--run-dir", tmp_path, timeout=60)
    assert_one_line_error(done, 1, f"{tmp_path}/{name}: ")


def test_damage_of_a_studys_folder_ends_in_one_line(tmp_path):
    (tmp_path / "study.json").write_text('{"rows": 5}')
    done = obeyed("ablation", "--out", tmp_path, timeout=60)
    assert_one_line_error(done, 1, f"{tmp_path}/study.json: ", "delete it")
    assert_one_line_error(obeyed("report", tmp_path, timeout=60), 2, "no finished run")


def test_names_that_are_no_text_are_shown_escaped(tmp_path):
    """As the operating system allows them; the console can't print them as they are."""
    name = os.fsencode(tmp_path) + b"/\xff\x1b[32m"
    done = subprocess.run(
        [sys.executable, "-m", "experiments.report", name], cwd=ROOT, capture_output=True, text=True
    )
    assert_one_line_error(done, 2, r"\udcff\x1b[32m: no such folder")
