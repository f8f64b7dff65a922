"""No flag reaches XLA that it does not know: ours are left out, the user's are named in a line."""

import os
import re
import subprocess
import sys

import pytest
from compiler_flags import CALLERS_FLAGS, with_quick_compilation
from conftest import assert_one_line_error, obeyed

import jaxcifar
from jaxcifar.errors import UsageError
from jaxcifar.machine import compilations, onednn, xla_flags
from jaxcifar.machine.xla_flags import check_xla_flags, is_known_flag, known_options


def flags_that_xla_lists():
    """Most names of its flags, which XLA prints when it can't read the value of one."""
    done = subprocess.run(
        [sys.executable, "-c", "import jax; jax.devices()"],
        env={**os.environ, "XLA_FLAGS": "--xla_backend_optimization_level=none"},
        capture_output=True,
        text=True,
    )
    assert done.returncode != 0
    return re.findall(r"^\s+--(\w+)=.*\t", done.stderr, re.M)


def test_the_flags_that_xla_lists_are_known():
    names = flags_that_xla_lists()
    assert len(names) > 50
    assert [name for name in names if not is_known_flag(name)] == []
    assert not is_known_flag("xla_no_such_flag")
    assert not is_known_flag("backend_optimization_level")  # the end of a flag's name


def test_nothing_is_known_of_flags_without_the_library(monkeypatch):
    monkeypatch.setattr(xla_flags, "_xla_library", lambda: None)
    monkeypatch.setenv("XLA_FLAGS", "--xla_perhaps=1")
    assert not is_known_flag("xla_perhaps")
    check_xla_flags()


def test_unknown_options_of_the_compiler_are_left_out():
    options = {"xla_backend_optimization_level": 1, "xla_no_such_flag": True}
    assert known_options(options) == {"xla_backend_optimization_level": 1}


def test_the_installed_version_knows_the_options_that_we_compile_with():
    assert len(compilations.CPU_OPTIONS) == 1
    assert len(compilations.FAST_COMPILE_OPTIONS) == 2
    assert len(compilations.SINGLE_CALL_OPTIONS) == 1


@pytest.mark.parametrize(
    "flags",
    [
        "",
        "  --xla_backend_optimization_level=1\n",
        "--xla_cpu_enable_fast_math --xla_dump_to='a folder --xla_no_such_flag'",
        "--xla_dump_to=it's",
    ],
)
def test_known_flags_are_accepted(monkeypatch, flags):
    monkeypatch.setenv("XLA_FLAGS", flags)
    check_xla_flags()


@pytest.mark.parametrize(
    "unknown", ["--xla_no_such_flag=1", "--xla_no_such_flag", "-xla_cpu_max_isa=AVX2", "1"]
)
def test_an_unknown_flag_is_named(monkeypatch, tmp_path, unknown):
    flags = f"--xla_backend_optimization_level=1 {unknown}"
    file = tmp_path / "flags"
    file.write_text(flags)
    for value in (flags, str(file)):
        monkeypatch.setenv("XLA_FLAGS", value)
        with pytest.raises(UsageError, match=rf"jaxlib \S+ does not know {unknown}; remove"):
            check_xla_flags()


def test_a_file_of_flags_that_is_not_there_is_named(monkeypatch, tmp_path):
    monkeypatch.setenv("XLA_FLAGS", str(tmp_path / "flags"))
    with pytest.raises(UsageError, match="flags: No such file"):
        check_xla_flags()


def test_commands_and_the_library_name_an_unknown_flag(monkeypatch):
    done = obeyed("summary", "--arch", "cnn", env={"XLA_FLAGS": "--xla_no_such_flag=1"})
    assert_one_line_error(done, 2, "does not know --xla_no_such_flag=1")
    monkeypatch.setenv("XLA_FLAGS", "--xla_no_such_flag=1")
    for function in (jaxcifar.load, lambda: jaxcifar.summarize("cnn"), lambda: jaxcifar.train("x")):
        with pytest.raises(UsageError, match="--xla_no_such_flag=1"):
            function()


def test_tests_add_their_flags_to_those_of_the_caller():
    assert with_quick_compilation("").startswith("--xla_backend_optimization_level=1")
    callers = "--xla_cpu_max_isa=AVX2 --xla_backend_optimization_level=3"
    both = with_quick_compilation(callers)
    assert both.startswith("--xla_backend_optimization_level=1 ")
    assert both.endswith(f" {callers}")
    assert with_quick_compilation("file/of/flags") == "file/of/flags"


@pytest.mark.skipif("onednn" in os.environ[CALLERS_FLAGS], reason="the caller's flags decide")
def test_tests_compute_without_onednn():
    assert not onednn.is_on()
