"""What the documents name exists: files, functions, links."""

import importlib
import re
from functools import reduce
from urllib.parse import unquote

import pytest
from conftest import ROOT

PAGES = sorted((ROOT / "docs").glob("*.md"))
MEASUREMENTS = sorted((ROOT / "docs" / "measurements").glob("*.md"))
DOCS = [*sorted(ROOT.glob("*.md")), *PAGES, *MEASUREMENTS, *ROOT.glob("checkpoints/*.md")]
FOR_DEVELOPERS = {"testing.md", "tour.md"}
MOST_WORDS = 7400  # of the pages that people write; with settings.md they are under 9,000
MOST_ROWS = 8


@pytest.mark.parametrize("path", DOCS, ids=lambda path: path.relative_to(ROOT).as_posix())
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
    assert len((ROOT / "README.md").read_text().splitlines()) <= 110


def test_every_document_is_in_its_index():
    for pages, index in ((PAGES, "index.md"), (MEASUREMENTS, "README.md")):
        text = (pages[0].parent / index).read_text()
        for path in pages:
            assert path.name == index or f"]({path.name})" in text, path.name


def test_the_pages_for_users_are_short():
    """Figures belong into docs/measurements; a page for users has one number for a claim."""
    pages = [path for path in PAGES if path.name not in {*FOR_DEVELOPERS, "settings.md"}]
    assert sum(len(path.read_text().split()) for path in pages) <= MOST_WORDS
    for path in pages:
        for table in re.findall(r"(?:^\|.*\n)+", path.read_text(), re.MULTILINE):
            assert len(table.splitlines()) - 2 <= MOST_ROWS, (path.name, table[:60])
