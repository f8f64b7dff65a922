"""Errors told in one line, and the exit code of each."""

import pytest

from jaxcifar.commands.shared.cli import exit_code_of
from jaxcifar.errors import BusyError, DivergedError, RunError, UsageError, first_line
from jaxcifar.machine.interrupt import Interrupted


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("what\nand why"), "what"),
        (ValueError("\n  what  \n"), "what"),
        (OSError(), "OSError"),
        (RuntimeError(" \n\t"), "RuntimeError"),
    ],
)
def test_an_error_has_a_first_line_whatever_it_says(error, line):
    assert first_line(error) == line


INVALID = "invalid value 'x' for JAX flag jax_enable_x64"


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (UsageError("no such option"), 2, "error: no such option"),
        (RunError("the disk is full"), 1, "error: the disk is full"),
        (BusyError("another is at work"), 1, "error: another is at work"),
        (DivergedError("the loss is nan"), 1, "error: the loss is nan"),
        (Interrupted("everything is saved"), 130, "everything is saved"),
        (KeyboardInterrupt(), 130, "interrupted; what was saved before is kept"),
        (
            FileNotFoundError(2, "No such file or directory", "x.npz"),
            1,
            "error: x.npz: No such file or directory; repair this, then run the same command",
        ),
        (
            ValueError(INVALID),
            2,
            f"error: {INVALID}: this JAX setting is invalid; unset it or correct its value",
        ),
        (SystemExit("not in a notebook"), 1, "error: not in a notebook"),
        (SystemExit(3), 3, ""),
        (SystemExit(0), 0, ""),
        (SystemExit(None), 0, ""),
    ],
    ids=repr,
)
def test_a_command_ends_with_the_line_and_exit_code_of_its_error(capfd, error, code, line):
    def fail():
        raise error

    assert exit_code_of(fail) == code
    assert capfd.readouterr().err.strip() == line


def test_a_command_that_returns_has_done_its_work(capfd):
    assert exit_code_of(lambda: print("done")) == 0
    assert capfd.readouterr() == ("done\n", "")


def test_a_fault_of_ours_is_shown_whole_and_is_a_failure(capfd):
    assert exit_code_of(lambda: [].pop()) == 1
    output = capfd.readouterr().err
    assert output.startswith("Traceback")
    assert output.strip().endswith("IndexError: pop from empty list")
