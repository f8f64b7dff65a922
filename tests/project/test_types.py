"""mypy reads the types of every library that has types, and ignores no library without a reason."""

import re
import tomllib
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path

import pytest
from conftest import ROOT
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

PYPROJECT = (ROOT / "pyproject.toml").read_text()
OVERRIDES = tomllib.loads(PYPROJECT)["tool"]["mypy"]["overrides"]


def packages(option):
    """Top-level names of the modules for which mypy's overrides switch on an option."""
    modules = [name for entry in OVERRIDES if entry.get(option) for name in entry["module"]]
    return sorted({name.partition(".")[0] for name in modules})


def ships_types(package):
    """Whether type checkers find types of a package: its own, or those of a package of stubs."""
    spec = find_spec(package)
    folders = [Path(folder) for folder in (spec and spec.submodule_search_locations) or ()]
    own = any((folder / "py.typed").exists() for folder in folders)
    return own or any((folder.parent / f"{package}-stubs").is_dir() for folder in folders)


def installed_by_the_tests():
    """Names of all distributions that the package or its tests declare."""
    project = tomllib.loads(PYPROJECT)["project"]
    texts = project["dependencies"] + project["optional-dependencies"]["test"]
    return {canonicalize_name(Requirement(text).name) for text in texts}


def test_only_a_library_that_may_be_missing_is_ignored_by_mypy():
    distributions = metadata.packages_distributions()
    for package in packages("ignore_missing_imports"):
        names = {canonicalize_name(name) for name in distributions.get(package, [package])}
        assert not names & installed_by_the_tests(), f"{package} is there: mypy can read it"


@pytest.mark.parametrize("package", packages("follow_untyped_imports"))
def test_a_library_is_read_as_untyped_only_while_it_ships_no_types(package):
    if not find_spec(package):
        pytest.skip(f"{package} is not installed")
    assert not ships_types(package), f"{package} ships types: its override can go"


def test_packages_with_types_and_without_are_distinguished():
    assert ships_types("numpy")
    assert not ships_types("optax")
    assert not ships_types("no_such_package")


def test_mypy_skips_no_library_and_hides_no_error():
    allowed = {"module", "follow_untyped_imports", "ignore_missing_imports"}
    assert all(set(entry) <= allowed for entry in OVERRIDES)
    top_level = tomllib.loads(PYPROJECT)["tool"]["mypy"]
    assert not {"follow_imports", "ignore_errors", "ignore_missing_imports"} & set(top_level)


def test_each_override_has_a_reason():
    headings = re.findall(r"^\[\[tool\.mypy\.overrides\]\](.*)$", PYPROJECT, re.MULTILINE)
    assert len(headings) == len(OVERRIDES)
    assert all(re.fullmatch(r"  # \w.{20,}", reason) for reason in headings)
