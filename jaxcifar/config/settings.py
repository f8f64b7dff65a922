"""Settings before they become a `Config`: defaults, types, and which settings have an effect."""

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, NamedTuple, get_args

from jaxcifar.config import registry
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.option_names import reject
from jaxcifar.config.recipes import ANY_NETWORK, RECIPES
from jaxcifar.errors import UsageError

# Fields that are computed from other fields.
DERIVED_FIELDS = (
    *("sources", "imports", "base_batch_size", "init_sha256", "data_sha256"),
    *("continue_sha256", "continue_epochs"),
)
# Fields whose value may name user code.
USER_CODE_FIELDS = ("arch", "optimizer", "schedule", "augmentation")

# Fields that a file holds as tables, and a `Config` as (name, value) pairs.
TABLES = ("arch_args", "sources", "imports")

DEFAULT_ARCH = "resnet18"
# Limits of network arguments, because the file of a config must be able to hold them.
_MAX_NESTING = 8
_MAX_INTEGER = 2**63


class _Switch(NamedTuple):
    """A setting, and the value that makes other settings ineffective; `reason` is for messages."""

    setting: str
    value: Any
    ineffective: tuple[str, ...]
    reason: str


_SWITCHES = (
    _Switch("augment", False, ("shift", "border", "flip", "cutout"), "with --no-augment"),
    _Switch("small_size", 32, ("small_part",), "without --small-size"),
    _Switch("small_part", 0.0, ("small_size",), "without --small-part"),
    _Switch("val_fraction", 0.0, ("patience",), "without validation images (--val-fraction 0)"),
)


def effective_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return only the settings that have an effect, given the other settings and the recipe.

    A setting that another setting makes ineffective is kept if its value is the default.
    """
    all_settings = {"arch": DEFAULT_ARCH, **settings}
    recipe_settings = default_settings(all_settings["arch"], all_settings.get("recipe"))
    all_settings = {**recipe_settings, **all_settings}
    ineffective = {
        name for name in ineffective_settings(all_settings) if all_settings[name] != DEFAULTS[name]
    }
    for kind in USER_CODE_FIELDS:
        ineffective |= _settings_not_taken(kind, all_settings[kind])
    return {name: value for name, value in settings.items() if name not in ineffective}


def ineffective_settings(settings: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that another setting, such as `augment`, switches off."""
    names: set[str] = set()
    for switch in _SWITCHES:
        if settings[switch.setting] == switch.value:
            names.update(switch.ineffective)
    return names


def settings_without_effect(settings: Mapping[str, Any]) -> set[str]:
    """Return the names of the settings that do nothing, given all settings of a run.

    Two settings that switch each other off are one choice together: neither is among the names.
    """
    switched_off = ineffective_settings(settings)
    names: set[str] = set()
    for switch in _SWITCHES:
        if settings[switch.setting] == switch.value and switch.setting not in switched_off:
            names.update(switch.ineffective)
    for kind in USER_CODE_FIELDS:
        names |= _settings_not_taken(kind, settings[kind])
    return names


def _settings_not_taken(kind: str, name: str) -> set[str]:
    """Return the settings that the choice `name` does not use, but other choices of `kind` do."""
    return registry.settings_of_some_entries(kind).difference(registry.entry(kind, name).takes)


def why_ineffective(name: str, settings: Mapping[str, Any]) -> str:
    """Return the end of an error message: the reason why the setting `name` has no effect."""
    for kind in USER_CODE_FIELDS:
        owner = settings[kind]
        if name in _settings_not_taken(kind, owner):
            is_user_network = kind == "arch" and registry.is_user_code(owner)
            advice = "set the network's fields with --arch-args" if is_user_network else "remove it"
            return f"has no effect on --{kind} {owner}; {advice}"
    reasons = [switch.reason for switch in _SWITCHES if name in switch.ineffective]
    return f"has no effect {reasons[0]}"


def check_types(where: str, settings: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Check that the settings in a file have the types of the fields, and return the settings.

    A whole number becomes a float if the field is a float.

    Args:
      where: the place in the file, which begins the error message.
      settings: values by name.
      config: the dataclass with the fields.

    Raises:
      UsageError: no field has such a name, or a value has another type.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config)}
    checked = {}
    for name, value in settings.items():
        if name not in fields:
            meant = registry.did_you_mean(name, fields)
            known = ", ".join(fields)
            raise UsageError(f"{where}: there is no setting {name}; {meant}choose one of {known}")
        if value is None and name in DERIVED_FIELDS:
            continue
        if name in TABLES:
            kinds: tuple[type, ...] = (dict,)
        else:
            kinds = get_args(fields[name]) or (fields[name],)
        if float in kinds and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) not in kinds:
            raise UsageError(f"{where}: {name} = {value!r:.80} is not of type {kinds[0].__name__}")
        checked[name] = value
    return checked


def settings_from_file(content: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Return the fields of a config from the content of a config file.

    Older versions wrote fewer fields. A missing field had no effect in that version, so its default
    is used. Fields that have no effect are ignored.

    Raises:
      ValueError, UsageError: the content is not a config of this version.
    """
    for kind in USER_CODE_FIELDS:
        name = content.get(kind, "" if kind != "arch" else None)
        if not isinstance(name, str):
            raise ValueError(f"it names no {kind}")
    written = check_types("config", effective_settings(content), config)
    by_recipe = {**default_settings(content["arch"]), "arch_args": ()}
    settings = {**DEFAULTS, **effective_settings({**by_recipe, **written})}
    if settings["lr_scale"] != "none":
        base = default_settings(settings["arch"], settings["recipe"])["batch_size"]
        settings.setdefault("base_batch_size", base)  # which older versions did not write
    for name in TABLES:
        settings[name] = sorted_pairs(settings.get(name) or {})
    for field in ("sources", "imports"):
        for key, digest in settings[field]:
            kind = key.partition(": ")[0]
            if kind not in USER_CODE_FIELDS:
                raise ValueError(f"{field}: {kind} is not one of {', '.join(USER_CODE_FIELDS)}")
            if not isinstance(digest, str):
                raise ValueError(f"{field}: the digest of {key} is not text")
    return settings


def sorted_pairs(
    values: Mapping[str, Any] | Iterable[tuple[str, Any]],
) -> tuple[tuple[str, Any], ...]:
    """Return values as (name, value) pairs sorted by name, with tuples in place of lists.

    Raises:
      UsageError: a value can't be written to the file of a config.
    """
    return tuple(sorted((str(name), _as_tuples(value)) for name, value in dict(values).items()))


def _as_tuples(value: Any, levels_left: int = _MAX_NESTING) -> Any:
    if isinstance(value, list | tuple) and levels_left:
        return tuple(_as_tuples(item, levels_left - 1) for item in value)
    if isinstance(value, int) and not -_MAX_INTEGER <= value < _MAX_INTEGER:
        raise UsageError(f"--arch-args: {value!r:.80} has more than 64 bits")
    if not isinstance(value, bool | int | float | str | None):
        raise UsageError(
            f"--arch-args: {value!r:.80} is not a number, text, true, false or a list of these"
        )
    return value


def recipe_names(arch: str) -> list[str]:
    """Return the names of a network's recipes; the first one is the default.

    A network that no recipe mentions has the recipes for any network.
    """
    registry.entry("arch", arch)
    for_this_network = [name for name, networks in RECIPES.items() if arch in networks]
    return for_this_network or [name for name, nets in RECIPES.items() if ANY_NETWORK in nets]


def default_settings(arch: str, recipe: str | None = None) -> dict[str, Any]:
    """Return the values of all settings that a recipe chooses for a network.

    Args:
      arch: name of the network.
      recipe: name of the recipe, or None for the network's first recipe.

    Raises:
      UsageError: there is no such network, or the network has no such recipe.
    """
    names = recipe_names(arch)
    recipe = names[0] if recipe is None else recipe
    if recipe not in names:
        meant = registry.did_you_mean(str(recipe), names)
        reject("recipe", recipe, f"{arch} has no such recipe; {meant}choose {' or '.join(names)}")
    networks = RECIPES[recipe]
    changes = networks.get(arch, networks.get(ANY_NETWORK, {}))
    return {**DEFAULTS, "recipe": recipe, **changes}


def option_text(value: Any) -> str:
    """Return a value as text for the command line, such as `16,32`; `parse_value` reads it."""
    text = str(value)
    if isinstance(value, tuple):
        text = ",".join(map(str, value))
        if len(value) == 1:
            text += ","
    return text if parse_value(text) == value else repr(value)


def readable_text(value: Any) -> str:
    """Return a value as people write it, such as `yes`, `0.1` or `16, 32`."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(readable_text, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parse_value(text: str) -> Any:
    """Return the number, boolean or tuple that a text stands for, or else the text itself."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
