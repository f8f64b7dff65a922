"""Errors told in one line."""

import pytest

from jaxcifar.errors import first_line


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
