"""Settings before they are a `Config`: their defaults, their types, what applies to what."""

import ast
import dataclasses
from collections.abc import Iterable, Mapping
from typing import Any, get_args

from jaxcifar.config import registry
from jaxcifar.config.fields import DEFAULTS
from jaxcifar.config.option_names import flag, reject
from jaxcifar.config.recipes import OWN, RECIPES
from jaxcifar.errors import UsageError

# Fields that follow from others.
DERIVED = ("sources", "imports", "base_batch_size", "init_sha256", "data_sha256")
NAMED = ("arch", "optimizer", "schedule", "augmentation")  # fields that name somebody's own code

# Settings that have no effect beside some value of another: it, that value, they, how it is told.
_IDLE: tuple[tuple[str, Any, tuple[str, ...], str], ...] = (
    ("augment", False, ("shift", "border", "flip", "cutout"), "with --no-augment"),
    ("small_size", 32, ("small_part",), "without --small-size"),
    ("small_part", 0.0, ("small_size",), "without --small-part"),
)

DEFAULT_ARCH = "resnet18"
_MOST_LEVELS, _MOST_INTEGER = 8, 2**63  # of a network's fields, which a config's file must hold


def applicable(settings: Mapping[str, Any]) -> dict[str, Any]:
    """Those of some settings that mean something beside the others, and their recipe's."""
    known = {"arch": DEFAULT_ARCH, **settings}
    known = {**defaults(known["arch"], known.get("recipe")), **known}
    kept = dict(settings)
    for kind in NAMED:
        takes = registry.entry(kind, known[kind]).takes
        for name in registry.conditional(kind).difference(takes):
            kept.pop(name, None)
    without_effect = {name for name in idle(known) if known[name] != DEFAULTS[name]}
    return {name: value for name, value in kept.items() if name not in without_effect}


def idle(settings: Mapping[str, Any]) -> set[str]:
    """Names of what has no effect beside the others, whatever it is."""
    return {n for kind, value, names, _ in _IDLE if settings[kind] == value for n in names}


def why_not(name: str, settings: Mapping[str, Any]) -> str:
    """Why a setting is not `applicable` beside others, its recipe's among them."""
    for kind in NAMED:
        owner = settings[kind]
        if name in registry.conditional(kind).difference(registry.entry(kind, owner).takes):
            own = kind == "arch" and registry.is_own(owner)
            how = "; set its fields with --arch-args" if own else ""
            return f"--{kind} {owner} has no {flag(name)}{how}"
    return next(f"means nothing {beside}" for _, _, names, beside in _IDLE if name in names)


def typed(where: str, settings: Mapping[str, Any], config: type) -> dict[str, Any]:
    """Settings read from a file, held against the fields' types.

    Raises:
      UsageError: a name that no field has, or a value of another type.
    """
    fields = {field.name: field.type for field in dataclasses.fields(config)}
    checked = {}
    for name, value in settings.items():
        if name not in fields:
            meant = registry.did_you_mean(name, fields)
            raise UsageError(f"{where}: {name} is no setting; {meant}they are {', '.join(fields)}")
        if value is None and name in DERIVED:
            continue
        if name in ("arch_args", "sources", "imports"):
            kinds: tuple[type, ...] = (dict,)
        else:
            kinds = get_args(fields[name]) or (fields[name],)
        if float in kinds and type(value) is int and abs(value) < 2**53:
            value = float(value)
        if type(value) not in kinds:
            raise UsageError(f"{where}: {name} = {value!r:.80} is not of type {kinds[0].__name__}")
        checked[name] = value
    return checked


def frozen(values: Mapping[str, Any] | Iterable[tuple[str, Any]]) -> tuple[tuple[str, Any], ...]:
    """Pairs in order of their names, lists as tuples."""

    def freeze(value: Any, levels: int = _MOST_LEVELS) -> Any:
        if isinstance(value, list | tuple) and levels:
            return tuple(freeze(item, levels - 1) for item in value)
        if isinstance(value, int) and not -_MOST_INTEGER <= value < _MOST_INTEGER:
            raise UsageError(f"--arch-args: {value!r:.80} has more than 64 bits")
        if not isinstance(value, bool | int | float | str | None):
            raise UsageError(f"--arch-args: {value!r:.80} is no number, text, true, false or list")
        return value

    return tuple(sorted((str(name), freeze(value)) for name, value in dict(values).items()))


def recipes_of(arch: str) -> list[str]:
    """Return the recipes of a network; the first is used where none is named.

    A network without a recipe of its own has those for any network.
    """
    registry.entry("arch", arch)
    of_its_own = [name for name, networks in RECIPES.items() if arch in networks]
    return of_its_own or [name for name, networks in RECIPES.items() if OWN in networks]


def defaults(arch: str, recipe: str | None = None) -> dict[str, Any]:
    """All settings of a network by a recipe, as far as the registry knows them.

    Raises:
      UsageError: there is no such network, or no such recipe of it.
    """
    named = recipes_of(arch)
    recipe = named[0] if recipe is None else recipe
    if recipe not in named:
        meant = registry.did_you_mean(str(recipe), named)
        reject("recipe", recipe, f"{meant}of {arch} there are {', '.join(named)}")
    networks = RECIPES[recipe]
    return {**DEFAULTS, "recipe": recipe, **networks.get(arch, networks.get(OWN, {}))}


def spelled(value: Any) -> str:
    """A value as the command line takes it: tuples as 16,32 or 16, ; `parsed` undoes it."""
    text = str(value)
    if isinstance(value, tuple):
        text = ",".join(map(str, value)) + "," * (len(value) == 1)
    return text if parsed(text) == value else repr(value)


def in_words(value: Any) -> str:
    """A value as people write it: yes, 0.1, "16, 32"."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if value is None:
        return "–"
    if isinstance(value, list | tuple):
        return ", ".join(map(in_words, value)) or "–"
    return f"{value:g}" if isinstance(value, float) else str(value)


def parsed(text: str) -> Any:
    """A number, true or false, a tuple, or else the text itself."""
    try:
        return ast.literal_eval({"true": "True", "false": "False"}.get(text, text))
    except (ValueError, SyntaxError, MemoryError, RecursionError):
        return text
