"""Settings before they become a `Config`: defaults, and which settings have an effect."""

import ast
from collections.abc import Callable, Mapping
from typing import Any, NamedTuple

from jaxcifar.config import registry
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.image_settings import (
    USER_IMAGE_SETTINGS,
    is_small_size_used,
    reason_image_size_ineffective,
    settings_lacking_user_images,
)
from jaxcifar.config.option_names import option_name, reject
from jaxcifar.config.recipes import ANY_NETWORK, RECIPES, recipe_settings
from jaxcifar.errors import printable

# Fields that are computed from other fields.
DERIVED_FIELDS = (
    *("sources", "imports", "base_batch_size", "init_sha256", "data_sha256"),
    *("continue_sha256", "continue_epochs"),
)
# Fields whose value may name user code.
USER_CODE_FIELDS = ("arch", "optimizer", "schedule", "augmentation")

# Fields that a file holds as tables, and a `Config` as (name, value) pairs.
TABLE_FIELDS = ("arch_args", "sources", "imports")

DEFAULT_ARCH = "resnet18"
_NOTHING = "–"  # stands for None and for an empty list
_MAX_SHORT_TEXT = 100  # characters; a SHA-256 has 64


class _Switch(NamedTuple):
    """A setting that can make other settings ineffective.

    Attributes:
      setting: name of the setting.
      is_active: takes all settings of a run, and returns whether `setting` now has the value that
        makes the others ineffective.
      ineffective: names of the settings that then do nothing.
      reason: end of a message, such as "with --no-augment".
    """

    setting: str
    is_active: Callable[[Mapping[str, Any]], bool]
    ineffective: tuple[str, ...]
    reason: str


_SWITCHES = (
    _Switch(
        "augment",
        lambda settings: not settings["augment"],
        ("shift", "border", "flip", "cutout"),
        "with --no-augment",
    ),
    _Switch(
        "small_size",
        lambda settings: not is_small_size_used(settings),
        ("small_fraction",),
        "without --small-size",
    ),
    _Switch(
        "small_fraction",
        lambda settings: settings["small_fraction"] == 0,
        ("small_size",),
        "without --small-fraction",
    ),
    _Switch("fold", lambda settings: settings["fold"] != "", ("val_fraction",), "with --fold"),
    _Switch(
        "val_fraction",
        lambda settings: settings["val_fraction"] == 0 and settings["fold"] == "",
        ("patience",),
        "without validation images (--val-fraction 0)",
    ),
)


def effective_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return only the settings that have an effect, given the other settings and the recipe.

    A setting that another setting switches off is kept if its value is the default, because a
    default asks for nothing that could be ignored.
    """
    arch = settings.get("arch", DEFAULT_ARCH)
    recipe_values = default_settings(arch, settings.get("recipe"))
    all_settings = {**recipe_values, "arch": arch, **settings}
    ineffective_names: set[str] = set()
    for name in switched_off_settings(all_settings):
        differs_from_default = all_settings[name] != DEFAULTS[name]
        if differs_from_default:
            ineffective_names.add(name)
    for field in USER_CODE_FIELDS:
        ineffective_names |= _settings_ignored_by(field, all_settings[field])
    return {name: value for name, value in settings.items() if name not in ineffective_names}


def switched_off_settings(settings: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that another setting of the run switches off.

    For example, `augment=False` switches off `shift`. Two settings can switch off each other, as
    `small_fraction` and `small_size` do: a fraction `small_fraction` of the steps uses images of
    the size `small_size`. The fraction 0 switches off the size, and the full size switches off the
    fraction.
    """
    switched_off_names: set[str] = set()
    for switch in _SWITCHES:
        if switch.is_active(settings):
            switched_off_names.update(switch.ineffective)
    switched_off_names.update(settings_lacking_user_images(settings))
    return switched_off_names


def names_of_effective_settings(settings: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that do something, given all settings of a run."""
    return effective_settings(settings).keys() - switched_off_settings(settings)


def settings_without_effect(settings: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that do nothing, given all settings of a run.

    These are settings that another setting switches off, and settings that the network or optimizer
    ignores. Of two settings that switch off each other, neither is returned, because changing both
    has an effect.
    """
    switched_off_names = switched_off_settings(settings)
    ineffective_names: set[str] = set()
    for switch in _SWITCHES:
        is_itself_switched_off = switch.setting in switched_off_names
        if switch.is_active(settings) and not is_itself_switched_off:
            ineffective_names.update(switch.ineffective)
    ineffective_names.update(settings_lacking_user_images(settings))
    for field in USER_CODE_FIELDS:
        ineffective_names |= _settings_ignored_by(field, settings[field])
    return ineffective_names


def _settings_ignored_by(field: str, name: str) -> set[str]:
    """Return the settings that one network, optimizer and so on ignores, although others use them.

    For example, the optimizer "adam" ignores `nesterov`, which the optimizer "sgd" uses. In this
    example `field` is "optimizer" and `name` is "adam".
    """
    return registry.settings_of_some_entries(field).difference(registry.entry(field, name).takes)


def reason_ineffective(setting: str, settings: Mapping[str, Any]) -> str:
    """Return the end of an error message: the reason why the setting `setting` has no effect."""
    for field in USER_CODE_FIELDS:
        name = settings[field]
        if setting in _settings_ignored_by(field, name):
            is_user_network = field == "arch" and registry.is_user_code(name)
            advice = "remove it"
            if is_user_network:
                advice = "set the network's fields with --arch-args"
            return f"has no effect on --{field} {name}; {advice}"
    if setting in USER_IMAGE_SETTINGS:
        return reason_image_size_ineffective(settings["dataset"])
    switch_reasons = [switch.reason for switch in _SWITCHES if setting in switch.ineffective]
    return f"has no effect {switch_reasons[0]}"


def recipe_names(arch: str) -> list[str]:
    """Return the names of a network's recipes; the first one is the default.

    A network that no recipe mentions has the recipes that are for any network.
    """
    registry.require_known_name("arch", arch)
    own_recipes = [name for name, networks in RECIPES.items() if arch in networks]
    if own_recipes:
        return own_recipes
    return [name for name, networks in RECIPES.items() if ANY_NETWORK in networks]


def default_settings(arch: str, recipe: str | None = None) -> dict[str, Any]:
    """Return the values of all settings that a recipe chooses for a network.

    Args:
      arch: name of the network.
      recipe: name of the recipe, or None for the network's first recipe.

    Raises:
      UsageError: there is no such network, or the network has no such recipe.
    """
    if recipe is None:
        recipe = recipe_names(arch)[0]
    else:
        require_recipe(arch, recipe)
    return {**DEFAULTS, "recipe": recipe, **recipe_settings(arch, recipe)}


def require_recipe(arch: str, recipe: str) -> None:
    """Raise a `UsageError` if the network `arch` has no recipe of this name."""
    allowed_recipes = recipe_names(arch)
    if recipe not in allowed_recipes:
        suggestion = registry.did_you_mean(str(recipe), allowed_recipes)
        advice = f"{suggestion}choose {' or '.join(allowed_recipes)}"
        reject("recipe", recipe, f"{arch} has no such recipe; {advice}")


def option_text(value: Any) -> str:
    """Return a value as text for the command line, such as `16,32`; `parse_value` reads it."""
    short_text = str(value)
    if isinstance(value, tuple):
        short_text = ",".join(map(str, value))
        if len(value) == 1:
            short_text += ","
    can_be_read_back = parse_value(short_text) == value
    return short_text if can_be_read_back else repr(value)


def option_words(name: str, value: Any) -> list[str]:
    """Return the words of the command line that set the field `name`, such as `--seed 1`."""
    if name == "arch_args":
        arguments = [f"{argument}={option_text(item)}" for argument, item in value]
        return ["--arch-args", *arguments]
    if value is True:
        return [f"--{option_name(name)}"]
    if value is False:
        return [f"--no-{option_name(name)}"]
    return [f"--{option_name(name)}", str(value)]


def readable_text(value: Any) -> str:
    """Return a value as text for a reader, such as `yes`, `0.1` or `16, 32`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return _NOTHING
    if isinstance(value, list | tuple):
        return ", ".join(map(readable_text, value)) or _NOTHING
    return f"{value:g}" if isinstance(value, float) else str(value)


def short_text(value: Any) -> str:
    """Return a value as text for a sentence: "none" for None; a long text without its middle."""
    text = readable_text(value)
    return "none" if text == _NOTHING else printable(text, _MAX_SHORT_TEXT)


def parse_value(text: str) -> Any:
    """Return the number, boolean or tuple that a text stands for, or else the text itself."""
    python_text = {"true": "True", "false": "False"}.get(text, text)
    try:
        return ast.literal_eval(python_text)
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
