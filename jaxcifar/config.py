"""One experiment, whole, in one frozen dataclass: everything that its numbers depend on."""

import dataclasses
import json
import math
from typing import Any, Self

from jaxcifar.errors import RunError, UsageError


def _option(help: str, **argparse_options: Any) -> Any:
    """A field that the command line offers; `argparse_options` go to `add_argument`."""
    return dataclasses.field(metadata={"help": help, **argparse_options})


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config:
    """A run is a function of its Config: same Config, same kind of device, same numbers.

    Make one with `Config.create`, which fills in the defaults of the architecture. Where data
    and results lie is not part of it.

    Raises:
      UsageError: a value is out of range; the message names the option.
    """

    arch: str = _option("network to train", choices=("cnn", "resnet18"))
    dataset: str = _option("images to train on", choices=("cifar10", "shapes10"))
    epochs: int = _option("passes over the training images")
    batch_size: int = _option("images a step, over all devices together")
    optimizer: str = _option("update rule", choices=("sgd", "adam"))
    learning_rate: float = _option("initial learning rate")
    momentum: float = _option("momentum of SGD, beta 1 of Adam")
    weight_decay: float = _option("L2 penalty, added to the gradients of all parameters")
    lr_scale: str = _option(
        "raise the learning rate with a batch larger than the reference's",
        choices=("none", "linear", "sqrt"),
    )
    schedule: str = _option("course of the learning rate", choices=("none", "step", "cosine"))
    step_size: int = _option("epochs between two decays of the step schedule")
    gamma: float = _option("factor of one decay of the step schedule")
    dropout: float = _option("dropout rate before the last layer (cnn only)")
    normalize: bool = _option("bring each channel to mean 0 and deviation 1")
    augment: bool = _option("random 4-pixel shifts and horizontal flips in training")
    val_fraction: float = _option("part of the training images kept for validation")
    train_examples: int | None = _option("train on the first N images of a fixed order", type=int)
    dtype: str = _option(
        "compute type; auto is bfloat16 on GPU and TPU, float32 on CPU",
        choices=("auto", "float32", "bfloat16"),
    )
    seed: int = _option("seed of weights, order, augmentation and dropout")

    @classmethod
    def create(cls, arch: str = "resnet18", **overrides: Any) -> Self:
        """The Config of `arch` at its reference settings, but for `overrides`."""
        if arch not in ARCH_DEFAULTS:
            raise UsageError(f"--arch {arch}: no such network; choose one of {', '.join(ARCHS)}")
        return cls(**{**COMMON_DEFAULTS, **ARCH_DEFAULTS[arch], "arch": arch, **overrides})

    def __post_init__(self) -> None:
        for field in dataclasses.fields(self):
            value, choices = getattr(self, field.name), field.metadata.get("choices")
            if choices and value not in choices:
                _reject(field.name, value, f"choose one of {', '.join(choices)}")
            if isinstance(value, float) and not math.isfinite(value):
                _reject(field.name, value, "must be a finite number")
        for name in ("epochs", "batch_size", "step_size"):
            self._require(name, getattr(self, name) >= 1, "must be at least 1")
        for name in ("learning_rate", "gamma"):
            self._require(name, getattr(self, name) > 0, "must be above 0")
        self._require("weight_decay", self.weight_decay >= 0, "must not be negative")
        self._require("momentum", 0 <= self.momentum < 1, "must be in [0, 1)")
        self._require("dropout", 0 <= self.dropout < 1, "must be in [0, 1)")
        self._require("val_fraction", 0 < self.val_fraction < 1, "must be between 0 and 1")
        self._require("seed", 0 <= self.seed < 2**32, "must be in [0, 2**32)")
        if self.train_examples is not None:
            self._require("train_examples", self.train_examples >= 1, "must be at least 1")
        if self.arch == "resnet18":
            self._require("dropout", self.dropout == 0, "resnet18 has no dropout layer")

    def _require(self, name: str, holds: bool, rule: str) -> None:
        if not holds:
            _reject(name, getattr(self, name), rule)

    def to_json(self) -> str:
        """The config as JSON text, one field a line."""
        return json.dumps(dataclasses.asdict(self), indent=2) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Self:
        """The inverse of `to_json`.

        Raises:
          RunError: the text is not a config of this version.
        """
        try:
            # What a config of an older version does not say yet had no effect then.
            return cls(**{**COMMON_DEFAULTS, **json.loads(text)})
        except (ValueError, TypeError) as error:
            raise RunError(f"not a config of this version of jaxcifar: {error}") from error

    def settings(self) -> dict[str, Any]:
        """All fields in one flat table, a network's own arguments among them."""
        values = dataclasses.asdict(self)
        own = dict(values.pop("arch_args", ()))
        return values | {k if k not in values else f"{self.arch} {k}": v for k, v in own.items()}

    def differences(self, other: "Config") -> dict[str, tuple[Any, Any]]:
        """The fields in which two configs differ: name -> (ours, theirs)."""
        ours, theirs = dataclasses.asdict(self), dataclasses.asdict(other)
        return {name: (ours[name], theirs[name]) for name in ours if ours[name] != theirs[name]}

    def shared_part(self) -> "Config":
        """What is left when hyper-parameters are blanked out.

        Runs with equal shared parts differ only in what enters the compiled program as arrays.
        """
        return dataclasses.replace(
            self,
            learning_rate=1.0,
            momentum=0.0,
            weight_decay=0.0,
            lr_scale="none",
            schedule="none",
            step_size=1,
            gamma=1.0,
            normalize=True,
            augment=True,
            seed=0,
        )

    def options(self) -> list[str]:
        """The command-line options that make this config, but for its seed."""
        words = ["--arch", self.arch]
        reference = {**COMMON_DEFAULTS, **ARCH_DEFAULTS.get(self.arch, {}), "seed": self.seed}
        for field in dataclasses.fields(self):
            name, value = field.name.replace("_", "-"), getattr(self, field.name)
            if not field.metadata or name == "arch" or value == reference.get(field.name):
                continue
            words += (
                [f"--{'' if value else 'no-'}{name}"]
                if isinstance(value, bool)
                else [f"--{name}", str(value)]
            )
        return words

    def run_name(self) -> str:
        """A readable folder name: what differs from the reference settings, and the seed."""
        reference = Config.create(self.arch)
        skip = {"arch", "dataset", "seed"}
        parts = [self.arch, self.dataset]
        for name, (ours, _) in self.differences(reference).items():
            if name in skip:
                continue
            flag = name.replace("_", "-")
            parts.append(
                ("" if ours else "no-") + flag if isinstance(ours, bool) else f"{flag}{ours}"
            )
        return "_".join([*parts, f"seed{self.seed}"])


def _reject(name: str, value: Any, rule: str) -> None:
    raise UsageError(f"--{name.replace('_', '-')} {value}: {rule}")


COMMON_DEFAULTS: dict[str, Any] = {
    "dataset": "cifar10",
    "momentum": 0.9,
    "lr_scale": "none",
    # The reference names neither; chosen by the scan in experiments/studies/step_decay_cnn.toml.
    "step_size": 10,
    "gamma": 0.1,
    "normalize": True,
    "augment": True,
    "val_fraction": 0.1,
    "train_examples": None,
    "dtype": "auto",
    "seed": 0,
}

# The best settings of the reference for each network.
ARCH_DEFAULTS: dict[str, dict[str, Any]] = {
    "resnet18": {
        "epochs": 50,
        "batch_size": 512,
        "optimizer": "sgd",
        "learning_rate": 0.1,
        "weight_decay": 5e-4,
        "schedule": "cosine",
        "dropout": 0.0,
    },
    "cnn": {
        "epochs": 100,
        "batch_size": 128,
        "optimizer": "adam",
        "learning_rate": 0.001,
        "weight_decay": 0.0,
        "schedule": "none",
        "dropout": 0.5,
    },
}
ARCHS = tuple(ARCH_DEFAULTS)
