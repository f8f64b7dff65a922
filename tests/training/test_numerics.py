"""Numbers at the sizes that are really used, compiled as they are for users."""

import os
import subprocess
import sys

from compiler_flags import CALLERS_FLAGS
from conftest import ROOT


def test_numbers_as_users_compile_them():
    """In a process without the flags by which the other tests compile quickly."""
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-n", "0", "tests/programs/numerics.py"],
        cwd=ROOT,
        env={**os.environ, "XLA_FLAGS": os.environ[CALLERS_FLAGS], "PYTEST_ADDOPTS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stdout[-3000:]
