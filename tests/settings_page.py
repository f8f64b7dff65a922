"""Write docs/settings.md from the declarations of settings, options and recipes.

`PYTHONPATH=tests python -m settings_page` writes the page; `make docs` does the same.
"""

import argparse
import dataclasses
import re
from pathlib import Path

from jaxcifar.commands.run import parser
from jaxcifar.commands.shared.common_options import parse_count, parse_number_from_zero
from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.option_names import option_name
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.settings import option_text, recipe_names

PAGE = Path(__file__).parents[1] / "docs" / "settings.md"
_AT_LEAST_ONE = "1 or more"

_INTRODUCTION = """\
# All settings of a run

<!-- Written by `make docs`; do not edit. -->

All are options of `jaxcifar run`. Those before “Plan” are also arguments of `jaxcifar.train`
(there with `_` for `-`, and `continue_from`) and, without the seed, keys in a
[study](studies.md). `[0, 1)` means: from 0, and below 1. Ranges in pixels are for 32x32 images.
Options that do not apply are an error: `--gamma` without `--schedule step`.
"""

_RECIPES = """\
## What each recipe sets

The tables above give the defaults of cnn and resnet18 (`reference`) and of fastnet (`fast`). What a
line leaves out has its plain default: the value without the name of a network.
[What the parts do](recipes.md#what-the-parts-do).
"""


def page():
    """Return the text of the page."""
    sections = [_INTRODUCTION]
    for group in parser()._action_groups:
        actions = [action for action in group._group_actions if not _is_general(action)]
        if actions:
            lines = [f"## {group.title.capitalize()}", ""]
            lines += ["option | meaning | default | range", "---|---|---|---"]
            lines += [_row(action) for action in actions]
            sections.append("\n".join(lines) + "\n")
    sections.append(_RECIPES)
    sections.append("\n".join(_recipe_lines()) + "\n")
    return "\n".join(sections)


def _is_general(action):
    return bool({"--help", "--help-all", "--version"}.intersection(action.option_strings))


def _row(action):
    """Return a line of the table for one option."""
    help_text = re.sub(r" +", " ", action.help or "")
    match = re.fullmatch(r"(.*?)(?: \(default: (.*)\))?", help_text, re.DOTALL)
    meaning, default = match[1], match[2] or ("no" if action.nargs == 0 else "none")
    name = action.option_strings[0]
    if isinstance(action, argparse.BooleanOptionalAction):
        option = f"`{name}`, `--no-{name.removeprefix('--')}`"
    else:
        option = f"`{name} {action.metavar}`" if action.metavar else f"`{name}`"
    return _line([option, meaning, default, _range(action)])


def _line(cells):
    """Return a line of a Markdown table."""
    return " | ".join(cells).rstrip()


def _range(action):
    """Return the allowed values of an option, as text."""
    if action.choices:
        return ", ".join(map(str, action.choices))
    fields = {field.name: field for field in dataclasses.fields(Config)}
    field = fields.get(action.dest)
    if field is not None and field.metadata.get("rule"):
        message = field.metadata["rule"].message
        if message == "must not be negative":
            return "0 or more"
        return re.sub("^must be (in )?", "", message)
    if action.type in (int, parse_count):
        return _AT_LEAST_ONE
    if action.type is parse_number_from_zero:
        return "0 or more"
    return ""


def _recipe_lines():
    """Yield a line for each recipe and network that the tables do not show, as options."""
    for recipe, networks in RECIPES.items():
        for arch, settings in networks.items():
            if arch and recipe == recipe_names(arch)[0]:
                continue  # the tables have it as the defaults of the network
            changed = {n: v for n, v in settings.items() if n not in DEFAULTS or v != DEFAULTS[n]}
            options = " ".join(_option(name, value) for name, value in changed.items())
            yield f"- **{recipe}, {arch or 'your own network'}**: `{options}`"


def _option(name, value):
    """Return a setting as it is typed."""
    if name == "arch_args":
        return " ".join(
            ["--arch-args", *(f"{field}={option_text(argument)}" for field, argument in value)]
        )
    if isinstance(value, bool):
        return f"--{option_name(name)}" if value else f"--no-{option_name(name)}"
    return f"--{option_name(name)} {value}"


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
