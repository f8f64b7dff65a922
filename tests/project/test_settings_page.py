"""docs/settings.md says what the declarations say: `make docs` writes it anew."""

import re

import settings_page


def test_the_page_is_what_the_declarations_say():
    written = settings_page.PAGE.read_text(encoding="utf-8")
    assert written == settings_page.page(), "docs/settings.md is out of date: run `make docs`"


def test_every_option_of_a_run_is_on_the_page():
    page = settings_page.page().partition("## What each recipe sets")[0]
    listed = set(re.findall(r"`(--[a-z-]+)", page))
    options = {name for action in settings_page.parser()._actions for name in action.option_strings}
    assert listed >= options - {"-h", "--help", "--help-all", "--version"}
    for name in ("--epochs", "--batch-size", "--seed", "--no-bias-decay", "--run-dir"):
        assert name in listed


def test_meaning_default_and_range_are_separated():
    cells = {}
    for line in settings_page.page().splitlines():
        if line.startswith("`--"):
            name, *others = (cell.strip() for cell in line.split("|"))
            cells[name] = others
    assert cells["`--momentum X`"][1:] == ["0.9; 0.6 for fastnet", "[0, 1)"]
    assert not any("(default" in cell for others in cells.values() for cell in others)
    assert cells["`--flip`"][-1] == "random, alternate, none"
    assert cells["`--devices N`"][1:] == ["all", "1 or more"]
    assert cells["`--overwrite`"][1:] == ["no", ""]
