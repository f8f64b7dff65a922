"""A run and a study, disturbed at file operations: the same command ends with the same numbers."""

import random

import pytest
from drawn_once import curves_drawn_once, pictures_drawn_once  # noqa: F401  (fixtures)
from faults import COMMANDS, KINDS, disturb, undisturbed


@pytest.fixture(scope="module", params=COMMANDS)
def whole(request, pictures_drawn_once):  # noqa: F811  (only the files of pictures count here)
    undisturbed(request.param)  # compiles, in which no later one writes anything
    return request.param, *undisturbed(request.param)


@pytest.mark.parametrize("kind", KINDS)
def test_a_disturbance_at_any_file_operation_changes_no_result(whole, kind):
    """At a sample of operations; `python -m faults` tries all of them."""
    name, expected, operations = whole
    for at in random.Random(0).sample(range(len(operations)), 4 if name == "run" else 2):
        disturb(name, at, kind, expected)
