"""What the documents name exists: files, functions, links."""

import importlib
import re
from functools import reduce
from urllib.parse import unquote

import pytest
from conftest import ROOT

DOCS = sorted([ROOT / "README.md", *(ROOT / "docs").glob("*.md"), *ROOT.glob("checkpoints/*.md")])


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.name)
def test_links_lead_somewhere(path):
    for target in re.findall(r"\]\(([^)\s]+)\)", path.read_text()):
        if target.startswith(("http://", "https://")):
            continue
        name, _, heading = target.partition("#")
        file = path.parent / unquote(name) if name else path
        assert file.exists(), target
        if heading:
            assert heading in _headings(file.read_text()), target


def _headings(text):
    """Headings as GitHub names them in a link."""
    titles = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_the_tour_names_what_is_there():
    named = re.findall(r"`([\w./]+\.\w+):([\w.]+)`", _tour())
    assert len(named) > 25
    for file, name in named:
        assert (ROOT / file).is_file(), file
        module = file.removesuffix("/__init__.py").removesuffix(".py").replace("/", ".")
        reduce(getattr, name.split("."), importlib.import_module(module))


def test_files_named_in_the_tour_exist():
    for file in re.findall(r"`((?:jaxcifar|experiments|tests)/[\w./]*)`", _tour()):
        assert (ROOT / file).exists(), file


def _tour():
    return (ROOT / "docs" / "tour.md").read_text()


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) < 150


def test_every_document_is_in_the_index():
    index = (ROOT / "docs" / "index.md").read_text()
    for path in (ROOT / "docs").glob("*.md"):
        assert path.name == "index.md" or f"]({path.name})" in index, path.name
