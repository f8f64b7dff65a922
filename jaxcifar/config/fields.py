"""The fields of an experiment, with their meanings, defaults and ranges."""

import dataclasses
import math
from collections.abc import Callable
from typing import Any, NamedTuple

from jaxcifar.config import folds
from jaxcifar.config.class_weights import BALANCED, NO_WEIGHTS, are_weights, class_weights_text
from jaxcifar.config.image_settings import MAX_SHIFT, PIXELS, SHIFT, SMALL_SIZE, PixelRange
from jaxcifar.config.option_names import reject
from jaxcifar.config.recipes import RECIPES
from jaxcifar.config.registry import did_you_mean
from jaxcifar.image_size import IMAGE_SIZE, LARGEST_IMAGE_SIZE, SMALLEST_IMAGE_SIZE

NAMES_OF_RUNS = {"init", "continue_from"}  # fields that name another run, or its weights

_MAX_INT = 2**31  # devices count steps and images in int32


class Rule(NamedTuple):
    """A check of a value, and the error message if the check fails."""

    allows: Callable[[Any], bool]
    message: str


_POSITIVE = Rule(lambda value: value > 0, "must be above 0")
_NOT_NEGATIVE = Rule(lambda value: value >= 0, "must not be negative")
_BELOW_ONE = Rule(lambda value: 0 <= value < 1, "must be in [0, 1)")
_SEED = Rule(lambda value: 0 <= value < 2**32, "must be in [0, 2**32)")
_FOLD = Rule(folds.is_fold_or_empty, folds.RULE)
_IMAGE_SIZE = Rule(
    lambda value: SMALLEST_IMAGE_SIZE <= value <= LARGEST_IMAGE_SIZE,
    f"must be in [{SMALLEST_IMAGE_SIZE}, {LARGEST_IMAGE_SIZE}]",
)
_FRACTION = Rule(lambda value: 0 <= value <= 1, "must be in [0, 1]")
_BETA = Rule(lambda value: value == 0 or 0.01 <= value <= 100, "must be 0, or in [0.01, 100]")
_CLASS_WEIGHTS = Rule(are_weights, "must be none, balanced, or weights by class name")
_COUNT = Rule(lambda value: 1 <= value < _MAX_INT, "must be at least 1, below 2**31")


def _option(help: str, rule: Rule | PixelRange | None = None, **metadata: Any) -> Any:
    """Return a dataclass field that is also a command-line option.

    Args:
      help: text for the option's help.
      rule: the values that are allowed. By default, a whole number must be at least 1.
      metadata: `choices` and `type`, as argparse takes them. `default` is the value if neither the
        user nor the recipe sets the field. `array=VALUE` marks a field that enters the compiled
        program as an array, so configs that differ only in such fields share the program.
        `Config.shared_part` replaces the field's value by VALUE. If VALUE is a function, it is
        called with the field's value and returns the replacement. `is_newer=True` marks a field
        that version 0.1 did not have: the file of a config omits it at its default, so that a run
        without it keeps the file of that version.
    """
    return dataclasses.field(metadata={"help": help, "rule": rule, **metadata})


def _on_or_off(value: float) -> float:
    """Return one value for all runs that use a feature, and 0 for those that do not."""
    return 1.0 if value else 0.0


def _derived(**metadata: Any) -> Any:
    """Return a dataclass field that is not an option; it is computed from other fields."""
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
      continue_sha256: SHA-256 over the last checkpoint of the run that is continued: its training
        state, its settings and the metrics of its epochs.
      continue_epochs: number of epochs of the run that is continued.
      data_sha256: SHA-256 of the images, if the data set's name does not identify them.
    """

    arch: str = _option("network")
    arch_args: tuple[tuple[str, Any], ...] = _option(
        "arguments of the network, such as width=64, instead of the recipe's", default=()
    )
    recipe: str = _option(
        f"settings to start from: {', '.join(RECIPES)}; not every network has all of them"
    )
    dataset: str = _option("data set", default="cifar10")
    image_size: int = _option(
        "height and width that images of your own get, in pixels",
        _IMAGE_SIZE,
        default=IMAGE_SIZE,
        is_newer=True,
    )
    epochs: int = _option("passes over the training images")
    patience: int = _option(
        "end training after N epochs without a better validation accuracy; 0 trains all epochs",
        _NOT_NEGATIVE,
        array=0,
        default=0,
        is_newer=True,
    )
    batch_size: int = _option("training images a step, on all devices together")
    accumulate: int = _option(
        "compute each batch in N parts, one after another, to save memory; BatchNorm then "
        "normalises each part by itself",
        default=1,
        is_newer=True,
    )
    optimizer: str = _option("update rule")
    learning_rate: float = _option("highest learning rate", _POSITIVE, array=1.0)
    momentum: float = _option("momentum, or beta 1 of Adam", _BELOW_ONE, array=0.0, default=0.9)
    nesterov: bool = _option("use Nesterov momentum", array=False, default=False)
    weight_decay: float = _option(
        "L2 penalty on the parameters; for adamw, decoupled weight decay", _NOT_NEGATIVE, array=0.0
    )
    bias_decay: bool = _option(
        "apply weight decay to biases and BatchNorm parameters too", array=True, default=True
    )
    bias_rate: float = _option(
        "factor of the learning rate for biases and BatchNorm parameters",
        _POSITIVE,
        array=1.0,
        default=1.0,
    )
    sgd_rate: float = _option(
        "factor of the learning rate for all parameters but kernels of convolutions",
        _POSITIVE,
        array=1.0,
        default=1.0,
    )
    clip_norm: float = _option(
        "largest norm of the gradient; 0 turns clipping off", _NOT_NEGATIVE, array=0.0, default=0.0
    )
    lr_scale: str = _option(
        "rule that adapts the learning rate to a batch size other than the recipe's",
        choices=("none", "linear", "sqrt"),
        array="none",
        default="none",
    )
    schedule: str = _option("schedule of the learning rate", array="none")
    warmup: float = _option(
        "fraction of the steps in which the learning rate rises, before the schedule begins",
        _BELOW_ONE,
        array=0.0,
        default=0.0,
    )
    # The reference report does not give these two defaults. They come from the scan in
    # experiments/studies/step_decay_cnn.toml.
    step_size: int = _option("epochs between two decays of the step schedule", array=1, default=10)
    gamma: float = _option(
        "factor of each decay of the step schedule", _POSITIVE, array=1.0, default=0.1
    )
    label_smoothing: float = _option(
        "fraction of the target that is spread over all classes", _BELOW_ONE, array=0.0, default=0.0
    )
    class_weights: str = _option(
        "weights of the classes in the loss: balanced, or a file of names and weights",
        _CLASS_WEIGHTS,
        type=class_weights_text,
        array=lambda value: value if value == NO_WEIGHTS else BALANCED,
        default=NO_WEIGHTS,
        is_newer=True,
    )
    label_noise: float = _option(
        "fraction of the training labels that is replaced by random labels",
        _FRACTION,
        array=_on_or_off,
        default=0.0,
        is_newer=True,
    )
    mixup: float = _option(
        "mix images, and labels, by a share from the distribution Beta(X, X); 0 turns it off",
        _BETA,
        array=_on_or_off,
        default=0.0,
        is_newer=True,
    )
    cutmix: float = _option(
        "paste a box of another image, with a share of the area from Beta(X, X); 0 turns it off",
        _BETA,
        array=_on_or_off,
        default=0.0,
        is_newer=True,
    )
    average: float = _option(
        "decay per step of a moving average of the weights, such as 0.99; the average is then "
        "evaluated; 0 turns it off",
        _BELOW_ONE,
        array=lambda value: 0.5 if value else 0.0,
        default=0.0,
    )
    dropout: float = _option("dropout rate before the last layer", _BELOW_ONE, default=0.0)
    normalize: bool = _option(
        "normalise each channel to mean 0 and standard deviation 1", array=True, default=True
    )
    augment: bool = _option("random shifts, flips and cutout in training", array=True, default=True)
    shift: int = _option("largest random shift, in pixels", SHIFT, array=MAX_SHIFT, default=4)
    border: str = _option(
        "pixels that a shift brings in",
        choices=("zeros", "reflect"),
        array="zeros",
        default="zeros",
    )
    flip: str = _option(
        "flip each image with probability 1/2, or in every other epoch",
        choices=("random", "alternate"),
        array="random",
        default="random",
    )
    cutout: int = _option(
        "side of the square to blank, in pixels; 0 turns it off", PIXELS, array=0, default=0
    )
    small_size: int = _option(
        "side of the images in the first steps, in pixels; --image-size is full size",
        SMALL_SIZE,
        default=IMAGE_SIZE,
    )
    small_part: float = _option(
        "fraction of the steps that use --small-size",
        _BELOW_ONE,
        array=lambda part: 0.5 if part else 0.0,
        default=0.0,
    )
    augmentation: str = _option("augmentation after the shifts and flips", default="none")
    val_fraction: float = _option(
        "fraction of the training images held out to choose the best epoch; 0 takes the last epoch",
        _BELOW_ONE,
        default=0.1,
    )
    fold: str = _option(
        "hold out the I-th of K parts of the training images instead, such as 1/5",
        _FOLD,
        default="",
        is_newer=True,
    )
    train_examples: int | None = _option(
        "train on the first N images of a fixed order", type=int, default=None
    )
    dtype: str = _option(
        "precision (on CPUs, of products only); auto is bfloat16 on GPUs and TPUs, else float32",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
    )
    init: str = _option("finished run, or file of weights, to start from", array="", default="")
    continue_from: str = _option(
        "finished run to train further with its settings, until it has --epochs in all; "
        "--schedule and --warmup are for the epochs left (continue_from in studies and Python)",
        array="",
        default="",
        is_newer=True,
    )
    seed: int = _option(
        "seed of initial weights, image order, augmentation and dropout", _SEED, array=0, default=0
    )
    sources: tuple[tuple[str, str], ...] | None = _derived()
    imports: tuple[tuple[str, str], ...] | None = _derived()
    base_batch_size: int | None = _derived(array=lambda _: None)
    init_sha256: str | None = _derived(array=lambda _: None)
    continue_sha256: str | None = _derived(array=lambda _: None, is_newer=True)
    continue_epochs: int | None = _derived(array=lambda _: None, is_newer=True)
    data_sha256: str | None = _derived()

    def require_in_range(self) -> None:
        """Check that the value of each field is in its allowed range, given the other values.

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
            rule = field.metadata.get("rule") or (_COUNT if type(value) is int else None)
            if isinstance(rule, PixelRange):
                if not rule.allows(value, self.image_size):
                    reject(field.name, value, rule.text(self.image_size))
            elif rule and not rule.allows(value):
                reject(field.name, value, rule.message)
        if self.batch_size % self.accumulate:
            reject("accumulate", self.accumulate, f"must divide --batch-size {self.batch_size}")


# The values of fields that neither the user nor the recipe sets. They turn every extra off.
DEFAULTS = {
    field.name: field.metadata["default"]
    for field in dataclasses.fields(Fields)
    if "default" in field.metadata
}
