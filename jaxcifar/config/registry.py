"""The networks, update rules, data sets and so on that an experiment can name.

Each is an entry of the registry, one line here, or user code as `FILE.py:NAME`. An entry is
imported only when it is used, so a `Config` is checked without importing JAX.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import expand_home, parse_table_name


@dataclasses.dataclass(frozen=True)
class Entry:
    """A network, update rule, data set and so on that a field of `Config` can name.

    Attributes:
      constructor: the class or function, as `package.module:NAME`.
      title: name in tables and plots.
      takes: the fields of `Config` that this entry uses, and that some other entries for the same
        field ignore. For example, only the optimizer "sgd" uses `nesterov`. The constructor of an
        update rule or augmentation has arguments of these names.
    """

    constructor: str
    title: str
    takes: tuple[str, ...] = ()


_ANY_RULE_SETTINGS = ("momentum", "weight_decay")  # settings that a user's update rule may take too
_OUR_RULE_SETTINGS = (*_ANY_RULE_SETTINGS, "bias_decay")

# The entries, by the field of `Config` that names them. Observers are not part of a `Config`.
KINDS: dict[str, dict[str, Entry]] = {
    "arch": {
        "cnn": Entry("jaxcifar.networks.cnn:CNN", "CNN", takes=("dropout",)),
        "resnet18": Entry("jaxcifar.networks.resnet:ResNet", "ResNet-18"),
        "fastnet": Entry("jaxcifar.networks.fastnet:FastNet", "FastNet"),
    },
    "optimizer": {
        "sgd": Entry("jaxcifar.training.optim:sgd", "SGD", takes=(*_OUR_RULE_SETTINGS, "nesterov")),
        "adam": Entry("jaxcifar.training.optim:adam", "Adam", takes=_OUR_RULE_SETTINGS),
        "adamw": Entry("jaxcifar.training.optim:adamw", "AdamW", takes=_OUR_RULE_SETTINGS),
        "muon": Entry(
            "jaxcifar.training.optim:muon", "Muon", takes=(*_OUR_RULE_SETTINGS, "non_kernel_rate")
        ),
    },
    "schedule": {
        "none": Entry("jaxcifar.training.schedules:constant", "constant"),
        "step": Entry("jaxcifar.training.schedules:step", "step", takes=("step_size", "gamma")),
        "cosine": Entry("jaxcifar.training.schedules:cosine", "cosine"),
        "linear": Entry("jaxcifar.training.schedules:linear", "linear"),
    },
    "augmentation": {"none": Entry("jaxcifar.training.augment:keep_unchanged", "none")},
    "dataset": {
        "cifar10": Entry("jaxcifar.data.catalog:CIFAR10", "CIFAR-10"),
        "cifar100": Entry("jaxcifar.data.catalog:CIFAR100", "CIFAR-100"),
        "shapes10": Entry("jaxcifar.data.catalog:SHAPES10", "shapes10 (synthetic, not CIFAR-10)"),
    },
    "observer": {  # each observer has an option of the same name
        "tensorboard": Entry("jaxcifar.runs.tensorboard:TensorBoard", "TensorBoard"),
        "wandb": Entry("jaxcifar.runs.weights_and_biases:WeightsAndBiases", "Weights & Biases"),
    },
}
_NOUN_OF_KIND = {"arch": "network", "dataset": "data set"}


def is_user_code(name: str) -> bool:
    """Return whether a name is that of user code: `FILE.py:NAME` or `package.module:NAME`."""
    return ":" in name


def is_path(dataset: str) -> bool:
    """Return whether the setting `dataset` is a path, not the name of a data set.

    A path has a separator such as "/", ends in .npz, .parquet or as a table of labels (.csv), or is
    an existing file or folder.
    """
    separators = {os.sep, os.altsep or os.sep, "/"}
    has_separator = not separators.isdisjoint(dataset)
    has_suffix = dataset.endswith((".npz", ".parquet"))
    is_table = parse_table_name(dataset) is not None
    return has_separator or has_suffix or is_table or _is_existing_path(dataset)


def _is_existing_path(name: str) -> bool:
    try:
        return expand_home(name).exists()
    except OSError:  # the name is too long
        return False


def entry(kind: str, name: str) -> Entry:
    """Return the registry entry of a network, data set and so on, without importing its code.

    Args:
      kind: the field of `Config` that contains the name, such as "arch"; or "metric" or "observer".
      name: an entry's name such as "cnn", user code such as "net.py:Net", or the path of a data
        set.

    Raises:
      UsageError: the name is none of these.
    """
    built_in_entries = KINDS.get(kind, {})  # there are none for metrics
    if name in built_in_entries:
        return built_in_entries[name]
    if kind == "dataset":
        if is_path(name):
            return Entry(name, title=Path(name).name)
        advice = "give the path of your own images"
    else:
        if is_user_code(name):
            class_name = name.rpartition(":")[2]
            used_settings = _ANY_RULE_SETTINGS if kind == "optimizer" else ()
            return Entry(name, title=class_name, takes=used_settings)
        advice = "name your own as FILE.py:NAME"
    if built_in_entries:
        suggestion = did_you_mean(name, built_in_entries)
        advice = f"{suggestion}choose one of {', '.join(built_in_entries)}, or {advice}"
    noun = _NOUN_OF_KIND.get(kind, kind)
    raise UsageError(f"--{kind} {name}: there is no such {noun}; {advice}")


def require_known_name(kind: str, name: str) -> None:
    """Raise the `UsageError` of `entry` if there is no network, data set and so on of this name."""
    entry(kind, name)


def did_you_mean(name: str, known_names: Iterable[str]) -> str:
    """Return "did you mean NAME? " with the most similar known name, or "" if none is similar."""
    original_spelling = {known_name.lower(): known_name for known_name in known_names}
    close_matches = difflib.get_close_matches(name[:100].lower(), original_spelling, n=1)
    return f"did you mean {original_spelling[close_matches[0]]}? " if close_matches else ""


def settings_of_some_entries(kind: str) -> set[str]:
    """Return the settings that some networks (or optimizers, and so on) use, but others ignore.

    `kind` is the field of `Config` that names the network, optimizer and so on. For example, the
    kind "optimizer" has the setting `nesterov`, which only "sgd" uses.
    """
    entries = KINDS[kind].values()
    return {setting for known_entry in entries for setting in known_entry.takes}
