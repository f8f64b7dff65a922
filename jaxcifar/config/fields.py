"""The fields of an experiment, with their meanings, defaults and ranges."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any

from jaxcifar.config.option_names import reject
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.registry import did_you_mean

MAX_SHIFT = 4  # pixels

_MAX_INT = 2**31  # what counts steps and images on a device

Constraint = tuple[Callable[[Any], bool], str]
_POSITIVE: Constraint = (lambda value: value > 0, "must be above 0")
_NOT_NEGATIVE: Constraint = (lambda value: value >= 0, "must not be negative")
_BELOW_ONE: Constraint = (lambda value: 0 <= value < 1, "must be in [0, 1)")
_SEED: Constraint = (lambda value: 0 <= value < 2**32, "must be in [0, 2**32)")
_PIXELS: Constraint = (lambda value: 0 <= value <= 32, "must be in [0, 32]")
_SHIFT: Constraint = (lambda value: 0 <= value <= MAX_SHIFT, f"must be in [0, {MAX_SHIFT}]")
_SIZE: Constraint = (lambda value: 8 <= value <= 32, "must be in [8, 32]")
_COUNT: Constraint = (lambda value: 1 <= value < _MAX_INT, "must be at least 1, below 2**31")


def _option(help: str, must: Constraint | None = None, **metadata: Any) -> Any:
    """Return a field that the command line offers.

    Args:
      help: text for the option's help.
      must: the rule for the values, and the text for a value that breaks the rule. Without a rule,
        a whole number must be at least 1.
      metadata: `choices` and `type` as argparse takes them. `default` is the value if neither the
        user nor the recipe sets the field. `array=VALUE` marks a field that enters the compiled
        program as an array: configs that differ only in such fields share the program. In
        `Config.shared_part`, VALUE replaces the field's value. VALUE may also be a function that
        returns the replacement.
    """
    return dataclasses.field(metadata={"help": help, "must": must, **metadata})


def _derived(**metadata: Any) -> Any:
    """A field that is computed from other fields when the config is made."""
    return dataclasses.field(default=None, metadata=metadata)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """All settings that a run's numbers depend on; the `help` of each field describes it.

    Attributes:
      sources: SHA-256 of the files of user code, `((field, digest), ...)`.
      imports: SHA-256 of each file that user code imports and that is not in `sources`,
        `(("field: path", digest), ...)`. It is set when the user code is loaded (`user_code.py`).
      base_batch_size: batch size of the recipe, which the learning rate was chosen for; set only
        if `lr_scale` needs it.
      init_sha256: SHA-256 of the weights that training starts from.
      data_sha256: SHA-256 of the images, if the data set's name does not identify them.
    """

    arch: str = _option("network to train")
    arch_args: tuple[tuple[str, Any], ...] = _option(
        "fields of the network, such as width=64, in place of its recipe's", default=()
    )
    recipe: str = _option(
        f"settings to start from: {', '.join(RECIPES)}, as far as the network has them"
    )
    dataset: str = _option("images to train on", default="cifar10")
    epochs: int = _option("passes over the training images")
    batch_size: int = _option("images a step, over all devices together")
    optimizer: str = _option("update rule")
    learning_rate: float = _option("highest learning rate", _POSITIVE, array=1.0)
    momentum: float = _option("momentum of SGD, beta 1 of Adam", _BELOW_ONE, array=0.0, default=0.9)
    nesterov: bool = _option("look ahead along the momentum", array=False, default=False)
    weight_decay: float = _option(
        "L2 penalty on the parameters (adamw: decay)", _NOT_NEGATIVE, array=0.0
    )
    bias_decay: bool = _option(
        "decay biases and BatchNorm's parameters too", array=True, default=True
    )
    bias_rate: float = _option(
        "factor of the learning rate for biases and BatchNorm's parameters",
        _POSITIVE,
        array=1.0,
        default=1.0,
    )
    sgd_rate: float = _option(
        "factor of the learning rate for what is not a convolution's kernel",
        _POSITIVE,
        array=1.0,
        default=1.0,
    )
    clip_norm: float = _option(
        "scale gradients down to this norm; 0 turns clipping off",
        _NOT_NEGATIVE,
        array=0.0,
        default=0.0,
    )
    lr_scale: str = _option(
        "raise the learning rate with a batch larger than the recipe's",
        choices=("none", "linear", "sqrt"),
        array="none",
        default="none",
    )
    schedule: str = _option("course of the learning rate", array="none")
    warmup: float = _option(
        "part of the steps in which the rate rises to it, before the schedule begins",
        _BELOW_ONE,
        array=0.0,
        default=0.0,
    )
    # The reference names neither of these two; the scan in
    # experiments/studies/step_decay_cnn.toml chose them.
    step_size: int = _option("epochs between two decays of the step schedule", array=1, default=10)
    gamma: float = _option(
        "factor of one decay of the step schedule", _POSITIVE, array=1.0, default=0.1
    )
    label_smoothing: float = _option(
        "part of the target that all classes share", _BELOW_ONE, array=0.0, default=0.0
    )
    average: float = _option(
        "what an average of weights keeps at a step, such as 0.99; it is then what is evaluated; "
        "0 keeps none",
        _BELOW_ONE,
        array=lambda value: 0.5 if value else 0.0,
        default=0.0,
    )
    dropout: float = _option("dropout rate before the last layer", _BELOW_ONE, default=0.0)
    normalize: bool = _option(
        "bring each channel to mean 0 and deviation 1", array=True, default=True
    )
    augment: bool = _option("random shifts, flips and cutout in training", array=True, default=True)
    shift: int = _option("most pixels of a shift", _SHIFT, array=MAX_SHIFT, default=4)
    border: str = _option(
        "what a shift brings in", choices=("zeros", "reflect"), array="zeros", default="zeros"
    )
    flip: str = _option(
        "flip half of the images at random, or each every other epoch",
        choices=("random", "alternate"),
        array="random",
        default="random",
    )
    cutout: int = _option(
        "blank a square of so many pixels in training", _PIXELS, array=0, default=0
    )
    small_size: int = _option(
        "pixels of training images in the first steps; 32 is all", _SIZE, default=32
    )
    small_part: float = _option(
        "part of the steps that train on images of --small-size", _BELOW_ONE, array=0.0, default=0.0
    )
    augmentation: str = _option(
        "what else is done to training images, after shifts and flips", default="none"
    )
    val_fraction: float = _option(
        "part of the training images kept to choose the epoch by; with 0 it is the last",
        _BELOW_ONE,
        default=0.1,
    )
    train_examples: int | None = _option(
        "train on the first N images of a fixed order", type=int, default=None
    )
    dtype: str = _option(
        "compute type (on CPU of products only); auto is bfloat16 on GPU and TPU, else float32",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
    )
    init: str = _option(
        "start from these weights: a finished run, or a file of its weights", array="", default=""
    )
    seed: int = _option(
        "seed of weights, order, augmentation and dropout", _SEED, array=0, default=0
    )
    sources: tuple[tuple[str, str], ...] | None = _derived()
    imports: tuple[tuple[str, str], ...] | None = _derived()
    base_batch_size: int | None = _derived(array=lambda _: None)
    init_sha256: str | None = _derived(array=lambda _: None)
    data_sha256: str | None = _derived()

    def require_in_range(self) -> None:
        """Check each value separately.

        Raises:
          UsageError: a value is not allowed; the message names the option.
        """
        for field in dataclasses.fields(self):
            value = getattr(self, field.name)
            choices = field.metadata.get("choices")
            if choices and value not in choices:
                meant = did_you_mean(str(value), choices)
                reject(field.name, value, f"{meant}choose one of {', '.join(choices)}")
            if isinstance(value, float) and not math.isfinite(value):
                reject(field.name, value, "must be a finite number")
            must = field.metadata.get("must") or (_COUNT if type(value) is int else None)
            if must and not must[0](value):
                reject(field.name, value, must[1])


# The value of each field that neither the user nor the recipe sets. They do plain training.
DEFAULTS = {
    field.name: field.metadata["default"]
    for field in dataclasses.fields(Fields)
    if "default" in field.metadata
}
