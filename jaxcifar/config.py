"""One experiment, whole, in one frozen dataclass: everything that its numbers depend on."""

import dataclasses
import json
import math
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

from jaxcifar import own_code, registry
from jaxcifar.errors import UsageError
from jaxcifar.settings import (
    DEFAULT_ARCH,
    NAMED,
    applicable,
    belongs_to,
    defaults,
    flag,
    frozen,
    reject,
    spelled,
    typed,
)

_MAX_INT = 2**31  # what counts steps and images on a device
_MAX_NAME = 120


def _option(help: str, **metadata: Any) -> Any:
    """A field that the command line offers; what else argparse is told is in `metadata`.

    `array=VALUE` says that the field enters the compiled program as an array, so that configs
    which differ in it alone share the program; VALUE stands for all of them (`shared_part`).
    """
    return dataclasses.field(metadata={"help": help, **metadata})


def _derived() -> Any:
    """A field that follows from what others name, read when the config is made."""
    return dataclasses.field(default=None)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A run is a function of its Config: same Config, same kind of device, same numbers.

    Make one with `Config.create`, which fills in the defaults of the architecture. Where data
    and results lie is not part of it.

    Attributes:
      sources: SHA-256 of the files of somebody's own code, `((field, digest), ...)`.
      data_sha256: that of the images, where the data set's name does not say which they are.

    The other fields are described by their own `help`.

    Raises:
      UsageError: a value is out of range; the message names the option.
    """

    arch: str = _option("network to train")
    arch_args: tuple[tuple[str, Any], ...] = _option("fields of the network, such as width=64")
    dataset: str = _option("images to train on")
    epochs: int = _option("passes over the training images")
    batch_size: int = _option("images a step, over all devices together")
    optimizer: str = _option("update rule")
    learning_rate: float = _option("initial learning rate", array=1.0)
    momentum: float = _option("momentum of SGD, beta 1 of Adam", array=0.0)
    weight_decay: float = _option("L2 penalty on all parameters (adamw: decay)", array=0.0)
    lr_scale: str = _option(
        "raise the learning rate with a batch larger than the reference's",
        choices=("none", "linear", "sqrt"),
        array="none",
    )
    schedule: str = _option("course of the learning rate", array="none")
    step_size: int = _option("epochs between two decays of the step schedule", array=1)
    gamma: float = _option("factor of one decay of the step schedule", array=1.0)
    dropout: float = _option("dropout rate before the last layer")
    normalize: bool = _option("bring each channel to mean 0 and deviation 1", array=True)
    augment: bool = _option("random 4-pixel shifts and horizontal flips in training", array=True)
    augmentation: str = _option("what else is done to training images, after shifts and flips")
    val_fraction: float = _option("part of the training images kept for validation")
    train_examples: int | None = _option("train on the first N images of a fixed order", type=int)
    dtype: str = _option(
        "compute type (on CPU of products only); auto is bfloat16 on GPU and TPU, else float32",
        choices=("auto", "float32", "bfloat16"),
    )
    seed: int = _option("seed of weights, order, augmentation and dropout", array=0)
    sources: tuple[tuple[str, str], ...] | None = _derived()
    data_sha256: str | None = _derived()

    @classmethod
    def create(cls, arch: str = DEFAULT_ARCH, **overrides: Any) -> Self:
        """The Config of `arch` at its reference settings, but for `overrides`.

        Raises:
          UsageError: also for an override that what it belongs to does not take.
        """
        if not isinstance(arch, str):
            raise UsageError(f"--arch {arch!r:.80}: is no name of a network")
        if isinstance(overrides.get("arch_args"), tuple):
            overrides["arch_args"] = dict(overrides["arch_args"])
        overrides = typed("settings", overrides, cls)
        settings = {"arch": arch, **overrides}
        for name in overrides.keys() - applicable(settings).keys():
            kind = belongs_to(name)
            owner = settings.get(kind, defaults(arch).get(kind))
            own = kind == "arch" and registry.is_own(owner)
            how = "; set its fields with --arch-args" if own else ""
            reject(name, overrides[name], f"--{kind} {owner} has no {flag(name)}{how}")
        settings = {**defaults(arch), **settings}
        settings["arch_args"] = frozen(settings["arch_args"])
        settings["sources"] = tuple(
            (kind, own_code.digest(kind, settings[kind]))
            for kind in NAMED
            if registry.is_own(settings[kind])
        )
        return cls(**settings)

    def __post_init__(self) -> None:
        for kind in NAMED:
            registry.entry(kind, getattr(self, kind))
        if self.data_sha256 is None:
            registry.entry("dataset", self.dataset)
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata.get("choices")
            if choices and value not in choices:
                reject(field.name, value, f"choose one of {', '.join(choices)}")
            if isinstance(value, float):
                self._require(field.name, math.isfinite(value), "must be a finite number")
            if type(value) is int and field.name != "seed":
                self._require(field.name, 1 <= value < _MAX_INT, "must be at least 1, below 2**31")
        self._require("learning_rate", self.learning_rate > 0, "must be above 0")
        self._require("gamma", self.gamma > 0, "must be above 0")
        self._require("weight_decay", self.weight_decay >= 0, "must not be negative")
        self._require("momentum", 0 <= self.momentum < 1, "must be in [0, 1)")
        self._require("dropout", 0 <= self.dropout < 1, "must be in [0, 1)")
        self._require("val_fraction", 0 < self.val_fraction < 1, "must be between 0 and 1")
        self._require("seed", 0 <= self.seed < 2**32, "must be in [0, 2**32)")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            reject(name, getattr(self, name), rule)

    def to_dict(self) -> dict[str, Any]:
        """The config as JSON values."""
        values = dataclasses.asdict(self)
        tables = {name: dict(values[name] or ()) for name in ("arch_args", "sources")}
        return json.loads(json.dumps(values | tables))  # with lists for tuples

    def to_json(self) -> str:
        """The config as JSON text, one field a line."""
        return json.dumps(self.to_dict(), indent=2) + "\n"

    @classmethod
    def from_dict(cls, there: Mapping[str, Any]) -> Self:
        """The inverse of `to_dict`, which reads configs of older versions too.

        Raises:
          ValueError: it is not a config of this version.
        """
        try:
            for kind in NAMED:
                if not isinstance(there.get(kind, "" if kind != "arch" else None), str):
                    raise ValueError(f"it names no {kind}")
            # What an older version did not say yet had no effect then, nor had what does not apply.
            settings = {**defaults(there["arch"]), **typed("config", applicable(there), cls)}
            for name in ("arch_args", "sources"):
                settings[name] = frozen(settings.get(name) or {})
            for kind, digest in settings["sources"]:
                if kind not in NAMED or not isinstance(digest, str):
                    raise ValueError(f"sources: {kind} is none of {', '.join(NAMED)}")
            return cls(**settings)
        except (ValueError, TypeError, UsageError) as error:
            raise ValueError(f"is not a config of this version of jaxcifar: {error}") from error

    def settings(self) -> dict[str, Any]:
        """All fields in one flat table: a network's own among them, and whose code was used.

        Code is named without the path to it, for its digest says which it is.
        """
        values = dataclasses.asdict(self)
        own, sources = values.pop("arch_args"), values.pop("sources") or ()
        values |= {kind: re.sub(r".*[/\\]", "", values[kind]) for kind, _ in sources}
        digests = {f"SHA-256 of {values[kind]}": digest for kind, digest in sources}
        named = {name if name not in values else f"network's {name}": v for name, v in own}
        return values | named | digests

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The settings in which two configs differ: name -> (ours, theirs)."""
        ours, theirs = self.settings(), other.settings()
        return {
            name: (ours.get(name), theirs.get(name))
            for name in ours | theirs
            if ours.get(name) != theirs.get(name)
        }

    def shared_part(self) -> "Config":
        """What is left when hyper-parameters are blanked out.

        Runs with equal shared parts differ only in what enters the compiled program as arrays.
        """
        blanks = {
            field.name: field.metadata["array"]
            for field in dataclasses.fields(self)
            if "array" in field.metadata
        }
        sources = tuple(pair for pair in self.sources or () if pair[0] not in blanks)
        return dataclasses.replace(self, **blanks, sources=sources)

    @property
    def network_title(self) -> str:
        """What tables and plots call the network, such as "CNN" or "Mixer (depth 4)"."""
        title = registry.entry("arch", self.arch).title
        own = ", ".join(f"{name} {spelled(value)}" for name, value in self.arch_args)
        return f"{title} ({own})" if own else title

    def options(self) -> list[str]:
        """The command-line options that make this config."""
        words = ["--arch", self.arch]
        reference = {**defaults(self.arch), "seed": self.seed}
        for field in dataclasses.fields(self):
            name, value = field.name, getattr(self, field.name)
            if not field.metadata or name == "arch" or value == reference[name]:
                continue
            if name == "arch_args":
                words += ["--arch-args", *(f"{k}={spelled(v)}" for k, v in value)]
            elif isinstance(value, bool):
                words.append(f"--{flag(name)}" if value else f"--no-{flag(name)}")
            else:
                words += [f"--{flag(name)}", str(value)]
        return words

    def run_name(self) -> str:
        """A readable folder name: what differs from the reference settings, and the seed."""
        reference = defaults(self.arch)
        short = [registry.entry("arch", self.arch).title, Path(self.dataset).stem]
        parts = [self.arch if not registry.is_own(self.arch) else short[0], short[1]]
        for name, value in self.settings().items():
            told = name in ("arch", "dataset", "seed", "data_sha256") or name.startswith("SHA-256")
            if told or value == reference.get(name):
                continue
            dashed = flag(name)
            shown = ("" if value else "no-") + dashed if isinstance(value, bool) else None
            parts.append(shown or f"{dashed}{spelled(value).rpartition(':')[2]}")
        name = re.sub(r"[^\w.+-]+", "-", "_".join(parts))
        return f"{name[:_MAX_NAME]}_seed{self.seed}"


ARCHS = tuple(registry.KINDS["arch"])
