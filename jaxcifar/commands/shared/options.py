"""The options made from the fields of `Config`, and the options of observers."""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator
from typing import Any

from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.config import registry
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.config.option_names import flag
from jaxcifar.config.settings import DEFAULT_ARCH, defaults, in_words, parsed

# The fields of `Config`, in the order of their options in the help. Fields that only some entries
# of the registry take need not be listed: they follow the field that names the entry.
GROUPS = {
    "network and data": (
        "arch", "arch_args", "recipe", "dataset", "train_examples", "val_fraction", "init",
    ),
    "optimisation": (
        "epochs", "batch_size", "optimizer", "learning_rate", "schedule", "warmup", "step_size",
        "gamma", "lr_scale", "momentum", "nesterov", "weight_decay", "bias_decay", "bias_rate",
        "sgd_rate", "clip_norm", "average",
    ),
    "regularisation": (
        "augment", "normalize", "shift", "border", "flip", "cutout", "augmentation", "dropout",
        "label_smoothing", "small_size", "small_part",
    ),
    "precision and seed": ("dtype", "seed"),
}  # fmt: skip
_ABSENT = {
    "arch_args": "the recipe's, else the network's own",
    "train_examples": "all of them",
    "init": "new weights, by the seed",
}


def reference_default(name: str) -> str:
    """Return the default of a `Config` field at the reference settings, as text for the help."""
    if name == "arch":
        return DEFAULT_ARCH
    if name in _ABSENT:
        return _ABSENT[name]
    values = {arch: in_words(defaults(arch)[name]) for arch in registry.KINDS["arch"]}
    usual, number_of_networks = Counter(values.values()).most_common(1)[0]
    if number_of_networks == 1:
        return ", ".join(f"{value} for {arch}" for arch, value in values.items())
    others = [f"{value} for {arch}" for arch, value in values.items() if value != usual]
    return "; ".join([usual, *others])


def names(kind: str) -> str:
    """Return the values of an option that names an entry or user code, as text for the help."""
    own = "the path of your own" if kind == "dataset" else "your own as FILE.py:NAME"
    return ", ".join((*registry.KINDS[kind], f"or {own}"))


def _whose(name: str) -> str:
    """Return " (NAMES only)" for an option that only some entries take, or ""."""
    for entries in registry.KINDS.values():
        takers = [known for known, entry in entries.items() if name in entry.takes]
        if 0 < len(takers) < len(entries):
            return f" ({', '.join(takers)} only)"
    return ""


def add_config_options(
    parser: argparse.ArgumentParser,
    without: Collection[str] = (),
    only: Collection[str] = (),
    default_of: Callable[[str], str | None] = reference_default,
) -> None:
    """Add one option for each field of `Config`; unused options are absent from the namespace.

    Args:
      parser: the parser to add the options to.
      without: fields that get no option.
      only: if not empty, only these fields get an option.
      default_of: returns the text about a field's default, or None for no text.
    """
    fields = {field.name: field for field in dataclasses.fields(Config)}
    for title, members in GROUPS.items():
        chosen = [n for n in _with_taken(members) if n not in without and (not only or n in only)]
        if chosen:
            group = parser.add_argument_group(title)
        for name in chosen:
            _add_field(group, fields[name], default_of(name))


def _with_taken(members: Iterable[str]) -> Iterator[str]:
    """Yield the fields of a group, each followed by the unlisted fields that its entries take."""
    listed = {name for names in GROUPS.values() for name in names}
    for name in members:
        yield name
        if name in registry.KINDS:
            yield from sorted(registry.conditional(name) - listed)


def _add_field(group: Any, field: dataclasses.Field, default: str | None) -> None:
    options = {k: v for k, v in field.metadata.items() if k in ("help", "choices", "type")}
    options["default"] = argparse.SUPPRESS
    if field.name in registry.KINDS:
        options["help"] += f": {names(field.name)}"
    options["help"] += _whose(field.name) + (f" (default: {default})" if default else "")
    if field.name == "arch_args":
        options |= {"nargs": "*", "action": _Arguments, "metavar": "NAME=VALUE"}
    elif field.type is bool:
        options["action"] = argparse.BooleanOptionalAction
    elif "choices" not in options:
        options.setdefault("type", field.type)
        options["metavar"] = {int: "N", float: "X"}.get(options["type"], "NAME")
    if field.name == "init":
        options["metavar"] = "RUN"
    group.add_argument(f"--{flag(field.name)}", **options)


class _Arguments(argparse.Action):
    """Parses `width=64 widths=16,32 norm=layer` to a dictionary of Python values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        arguments = {}
        for word in values:
            name, equals, value = word.partition("=")
            if not equals or not name.isidentifier():
                parser.error(f"{option_string} {word}: must be NAME=VALUE")
            arguments[name] = parsed(value)
        setattr(namespace, self.dest, arguments)


def add_archs(parser: OptionHolder) -> None:
    """Add an `--arch` that takes several networks; the default is all of our networks."""
    parser.add_argument(
        "--arch",
        nargs="+",
        metavar="NAME",
        default=ARCHS,
        help=f"{names('arch')} (default: all of ours)",
    )


def add_observers(parser: OptionHolder) -> None:
    """Add `--observer`, and an option for each built-in observer; together they fill one list."""
    for name, entry in registry.KINDS["observer"].items():
        parser.add_argument(
            f"--{name}",
            dest="observers",
            action="append_const",
            const=name,
            default=[],
            help=f"also record for {entry.title}; works for finished runs too (default: no)",
        )
    parser.add_argument(
        "--observer",
        dest="observers",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="your class or function that returns an observer for each run; may be given several "
        "times (default: none)",
    )
