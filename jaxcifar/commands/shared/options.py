"""The options made from the fields of `Config`, and the options of observers."""

import argparse
import dataclasses
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from typing import Any

from jaxcifar.commands.shared.parser import OptionHolder, suggest
from jaxcifar.config import registry
from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.config.option_names import option_name
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.settings import DEFAULT_ARCH, default_settings, parse_value, readable_text
from jaxcifar.image_size import IMAGE_SIZE

# The fields of `Config`, in the order of their options in the help. A field that only some entries
# of the registry take need not be listed: its option follows the field that names the entry.
OPTION_GROUPS = {
    "network and data": (
        "arch", "arch_args", "recipe", "dataset", "image_size", "train_examples", "val_fraction",
        "fold", "init", "continue_from",
    ),
    "optimisation": (
        "epochs", "patience", "batch_size", "accumulate", "optimizer", "learning_rate", "schedule",
        "warmup", "step_size", "gamma", "lr_scale", "momentum", "nesterov", "weight_decay",
        "bias_decay", "bias_rate", "non_kernel_rate", "clip_norm", "average",
    ),
    "regularisation": (
        "augment", "normalize", "shift", "border", "flip", "cutout", "augmentation", "dropout",
        "label_smoothing", "mixup", "cutmix", "class_weights", "label_noise", "small_size",
        "small_fraction",
    ),
    "precision and seed": ("dtype", "seed"),
}  # fmt: skip
_AUTO_DATASET_TEXT = "auto takes cifar10 or, if it can't be loaded, the drawn images of shapes10"
_METAVAR_BY_FIELD = {"init": "RUN", "continue_from": "RUN", "fold": "I/K"}
_METAVAR_BY_TYPE: dict[Any, str] = {int: "N", float: "X"}
_DEFAULTS_IN_WORDS = {
    "arch": DEFAULT_ARCH,
    "arch_args": "those of the recipe or the network",
    "train_examples": "all images",
    "fold": "a random part, by --val-fraction",
    "init": "random weights",
    "continue_from": "a new run",
}


def reference_default_text(name: str) -> str:
    """Return help text about a setting's default for each network, such as "0.1; 0.001 for cnn"."""
    if name in _DEFAULTS_IN_WORDS:
        return _DEFAULTS_IN_WORDS[name]
    default_by_arch = {
        arch: readable_text(default_settings(arch)[name]) for arch in registry.KINDS["arch"]
    }
    do_all_defaults_differ = len(set(default_by_arch.values())) == len(default_by_arch)
    if do_all_defaults_differ:
        return ", ".join(f"{default} for {arch}" for arch, default in default_by_arch.items())
    [(usual_default, _)] = Counter(default_by_arch.values()).most_common(1)
    other_defaults = [
        f"{default} for {arch}"
        for arch, default in default_by_arch.items()
        if default != usual_default
    ]
    return "; ".join([usual_default, *other_defaults])


def _possible_values_text(kind: str) -> str:
    """Return help text that lists the values of the option `kind`, such as "optimizer"."""
    user_value = "the path of your own images" if kind == "dataset" else "your own as FILE.py:NAME"
    return ", ".join([*registry.KINDS[kind], f"or {user_value}"])


def _restriction_text(name: str) -> str:
    """Return help text that says which networks, update rules and so on use the field `name`.

    The text is like " (sgd only)", or "" if all of them use the field.
    """
    for entries in registry.KINDS.values():
        users = [entry_name for entry_name, entry in entries.items() if name in entry.takes]
        if users and len(users) < len(entries):
            return f" ({', '.join(users)} only)"
    return ""


def add_config_options(
    parser: argparse.ArgumentParser,
    without: Collection[str] = (),
    only: Collection[str] = (),
    default_of: Callable[[str], str | None] = reference_default_text,
    has_auto_dataset: bool = False,
) -> None:
    """Add an option for each field of `Config`. `pop_settings` returns the values that were given.

    Args:
      parser: the parser to add the options to.
      without: fields that get no option.
      only: if not empty, only these fields get an option.
      default_of: returns the text about a field's default, or None for no text.
      has_auto_dataset: the command knows `--dataset auto`, so the help describes this value.
    """
    fields = {field.name: field for field in dataclasses.fields(Config)}
    for title, listed_names in OPTION_GROUPS.items():
        names = list(_fields_with_dependent_settings(listed_names))
        if only:
            names = [name for name in names if name in only]
        names = [name for name in names if name not in without]
        if not names:
            continue
        group = parser.add_argument_group(title)
        for name in names:
            takes_auto = name == "dataset" and has_auto_dataset
            _add_option(group, fields[name], default_of(name), takes_auto)


def _fields_with_dependent_settings(names: Iterable[str]) -> Iterator[str]:
    """Yield the names of fields; each field is followed by the settings that depend on its value.

    For example, "optimizer" is followed by settings that only some optimizers use. A setting that
    already has a place in `OPTION_GROUPS` is not moved to the field on which it depends.
    """
    listed_anywhere = {name for group in OPTION_GROUPS.values() for name in group}
    for name in names:
        yield name
        if name in registry.KINDS:
            dependent_settings = registry.settings_of_some_entries(name)
            yield from sorted(dependent_settings - listed_anywhere)


def _add_option(
    group: Any, field: dataclasses.Field, default_text: str | None, takes_auto: bool
) -> None:
    """Add the option for a field of `Config` to a group of options.

    Args:
      group: the group.
      field: the field; its metadata has the help text.
      default_text: help text about the default; None for no text.
      takes_auto: the help describes the value "auto" too.
    """
    help_text = field.metadata["help"]
    if field.name in registry.KINDS:
        help_text += f": {_possible_values_text(field.name)}"
    if takes_auto:
        help_text += f"; {_AUTO_DATASET_TEXT}"
    help_text += _restriction_text(field.name)
    if default_text:
        help_text += f" (default: {default_text})"
    option = f"--{option_name(field.name)}"
    arguments = {"dest": field.name, "default": argparse.SUPPRESS, "help": help_text}
    action = group.add_argument(option, **arguments, **_argparse_arguments(field))
    known_values_by_field: dict[str, Collection[str]] = {**registry.KINDS, "recipe": RECIPES}
    known_values = known_values_by_field.get(field.name, ())
    suggest(action, [*known_values, "auto"] if takes_auto else known_values)


def _argparse_arguments(field: dataclasses.Field) -> dict[str, Any]:
    """Return keyword arguments of `add_argument` for a field's values, such as `type`."""
    arguments = {key: field.metadata[key] for key in ("choices", "type") if key in field.metadata}
    if field.name == "arch_args":
        arguments |= {"nargs": "*", "action": _NetworkArguments, "metavar": "NAME=VALUE"}
    elif field.type is bool:
        arguments["action"] = argparse.BooleanOptionalAction
    elif "choices" not in arguments:
        arguments.setdefault("type", field.type)
        arguments["metavar"] = _METAVAR_BY_TYPE.get(arguments["type"], "NAME")
    if field.name in _METAVAR_BY_FIELD:
        arguments["metavar"] = _METAVAR_BY_FIELD[field.name]
    return arguments


class _NetworkArguments(argparse.Action):
    """An argparse action that converts words such as `width=64 widths=16,32` to a dict."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        network_arguments = {}
        for word in values:
            name, equals, value_text = word.partition("=")
            if not equals or not name.isidentifier():
                parser.error(f"{option_string} {word}: must be NAME=VALUE")
            network_arguments[name] = parse_value(value_text)
        setattr(namespace, self.dest, network_arguments)


def pop_settings(options: argparse.Namespace) -> dict[str, Any]:
    """Remove the values of `Config` fields from parsed options, and return them as a dict."""
    config_fields = Config.__dataclass_fields__
    settings = {name: value for name, value in vars(options).items() if name in config_fields}
    for name in settings:
        delattr(options, name)
    return settings


def pop_image_size(options: argparse.Namespace) -> int:
    """Remove the value of `--image-size` from parsed options, and return the value or the default.

    Commands without a data set call this function, because `Config.create` takes an image size only
    for images of the user.
    """
    image_size: int = getattr(options, "image_size", IMAGE_SIZE)
    if hasattr(options, "image_size"):
        del options.image_size
    return image_size


def add_archs(parser: OptionHolder, default: Sequence[str] | None = ARCHS) -> None:
    """Add `--arch`, which takes the names of several networks.

    The help says that the default is all networks of the package. So a command that passes None as
    `default` must use all networks itself if the option is not given.
    """
    action = parser.add_argument(
        "--arch",
        nargs="+",
        metavar="NAME",
        default=default,
        help=f"{_possible_values_text('arch')} (default: all networks of the package)",
    )
    suggest(action, registry.KINDS["arch"])


def add_observers(parser: OptionHolder) -> None:
    """Add `--observer` and an option for each built-in observer, such as `--tensorboard`.

    An observer is called during training. All these options fill the list `observers`.
    """
    for name, entry in registry.KINDS["observer"].items():
        parser.add_argument(
            f"--{name}",
            dest="observers",
            action="append_const",
            const=name,
            default=[],
            help=f"record for {entry.title} too, also finished runs (default: no)",
        )
    parser.add_argument(
        "--observer",
        dest="observers",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="class or function of yours that returns an observer for each run; may be given "
        "several times (default: none)",
    )
