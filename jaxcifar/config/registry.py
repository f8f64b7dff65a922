"""What an experiment can name: our own entries, one line each, or anyone's `FILE.py:NAME`.

Nothing named here is imported before it is asked for, so options are read and a `Config` is checked
without JAX.
"""

import dataclasses
import difflib
import os
from collections.abc import Iterable
from pathlib import Path

from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import expand_home


@dataclasses.dataclass(frozen=True)
class Entry:
    """Something that a field of `Config` can name.

    Attributes:
      constructor: where it is, `package.module:NAME`.
      title: what tables and plots call it.
      takes: the fields that have an effect on it, of those that not all entries of its kind take.
        An update rule or augmentation has arguments of these names.
    """

    constructor: str
    title: str
    takes: tuple[str, ...] = ()


_RULE = ("momentum", "weight_decay")  # what somebody's own takes, beside the learning rate
_OURS = (*_RULE, "bias_decay")

# By the field of `Config` that names them.
KINDS: dict[str, dict[str, Entry]] = {
    "arch": {
        "cnn": Entry("jaxcifar.networks.cnn:CNN", "CNN", takes=("dropout",)),
        "resnet18": Entry("jaxcifar.networks.resnet:ResNet", "ResNet-18"),
        "fastnet": Entry("jaxcifar.networks.fastnet:FastNet", "FastNet"),
    },
    "optimizer": {
        "sgd": Entry("jaxcifar.training.optim:sgd", "SGD", takes=(*_OURS, "nesterov")),
        "adam": Entry("jaxcifar.training.optim:adam", "Adam", takes=_OURS),
        "adamw": Entry("jaxcifar.training.optim:adamw", "AdamW", takes=_OURS),
        "muon": Entry("jaxcifar.training.optim:muon", "Muon", takes=(*_OURS, "sgd_rate")),
    },
    "schedule": {
        "none": Entry("jaxcifar.training.schedules:constant", "constant"),
        "step": Entry("jaxcifar.training.schedules:step", "step", takes=("step_size", "gamma")),
        "cosine": Entry("jaxcifar.training.schedules:cosine", "cosine"),
        "linear": Entry("jaxcifar.training.schedules:linear", "linear"),
    },
    "augmentation": {
        "none": Entry("jaxcifar.training.augment:unchanged", "none"),
    },
    "dataset": {
        "cifar10": Entry("jaxcifar.data.catalog:CIFAR10", "CIFAR-10"),
        "cifar100": Entry("jaxcifar.data.catalog:CIFAR100", "CIFAR-100"),
        "shapes10": Entry("jaxcifar.data.catalog:SHAPES10", "shapes10 (synthetic, not CIFAR-10)"),
    },
}
# What an entry of somebody else's is known to take.
_OWN = {
    "arch": Entry("", ""),
    "optimizer": Entry("", "", takes=_RULE),
    "schedule": Entry("", ""),
    "augmentation": Entry("", ""),
    "metric": Entry("", ""),
}
_NOUNS = {"arch": "network", "dataset": "data set"}
_OWN_FORM = {"dataset": "the path of your own"}


def is_own(name: str) -> bool:
    """Whether a name is `FILE.py:NAME` or `package.module:NAME` instead of an entry of ours."""
    return ":" in name


def is_path(dataset: str) -> bool:
    """Whether a data set is named by a path: it has a separator or the suffix .npz, or exists."""
    separators = {os.sep, os.altsep or os.sep, "/"}
    return bool(separators & set(dataset)) or dataset.endswith(".npz") or _exists(dataset)


def _exists(name: str) -> bool:
    try:
        return expand_home(name).exists()
    except OSError:  # too long a name
        return False


def entry(kind: str, name: str) -> Entry:
    """What is known of a name without importing it.

    Raises:
      UsageError: it is neither an entry of this kind nor somebody's own.
    """
    entries = KINDS.get(kind, {})  # of what is no field of `Config`, such as metrics, none is named
    if name in entries:
        return entries[name]
    if kind == "dataset" and is_path(name):
        return Entry(name, Path(name).name)
    if kind != "dataset" and is_own(name):
        title = name.rpartition(":")[2]
        return dataclasses.replace(_OWN[kind], constructor=name, title=title)
    noun, own = _NOUNS.get(kind, kind), _OWN_FORM.get(kind, "your own as FILE.py:NAME")
    if not entries:
        raise UsageError(f"--{kind} {name}: no such {noun}; name {own}")
    raise UsageError(
        f"--{kind} {name}: no such {noun}; {did_you_mean(name, entries)}choose one of "
        f"{', '.join(entries)}, or {own}"
    )


def did_you_mean(name: str, known: Iterable[str]) -> str:
    """A question that names what an unknown name may stand for; empty if nothing is near."""
    by_letters = {entry.lower(): entry for entry in known}
    near = difflib.get_close_matches(name[:100].lower(), by_letters, n=1)
    return f"did you mean {by_letters[near[0]]}? " if near else ""


def conditional(kind: str) -> set[str]:
    """The fields of `Config` that only some entries of a kind take."""
    return {name for known in KINDS[kind].values() for name in known.takes}
