"""Each entry of the registry is what its name says."""

import importlib
import inspect

import pytest

from jaxcifar.config.registry import KINDS

ENTRIES = [(kind, name) for kind, entries in KINDS.items() for name in entries]


def constructed(kind, name):
    module, _, attribute = KINDS[kind][name].constructor.partition(":")
    return getattr(importlib.import_module(module), attribute)


@pytest.mark.parametrize("kind", KINDS)
def test_no_two_entries_are_the_same(kind):
    made = [constructed(kind, name) for name in KINDS[kind]]
    assert all(one is not other for i, one in enumerate(made) for other in made[:i])
    assert len({entry.title for entry in KINDS[kind].values()}) == len(made)


@pytest.mark.parametrize("name", KINDS["dataset"])
def test_a_data_set_has_the_name_that_it_is_chosen_by(name):
    assert constructed("dataset", name).name == name


@pytest.mark.parametrize("name", KINDS["optimizer"])
def test_an_update_rule_has_an_argument_for_each_of_its_settings(name):
    first, *others = inspect.signature(constructed("optimizer", name)).parameters.values()
    takes = set(KINDS["optimizer"][name].takes)
    assert first.name == "learning_rate"
    needed = {parameter.name for parameter in others if parameter.default is parameter.empty}
    assert needed <= takes <= {parameter.name for parameter in others}
