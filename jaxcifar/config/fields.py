"""The fields of an experiment, with their meanings, defaults and ranges."""

import dataclasses
from typing import Any

from jaxcifar.config import field_options as rules
from jaxcifar.config.class_weights import BALANCED, NO_WEIGHTS, class_weights_text
from jaxcifar.config.field_options import derived, on_or_off, option
from jaxcifar.config.folds import fold_setting
from jaxcifar.config.image_settings import (
    MAX_SHIFT,
    SHIFT_RANGE,
    SMALL_SIZE_RANGE,
    UP_TO_IMAGE_SIZE,
)
from jaxcifar.config.recipes import RECIPES
from jaxcifar.image_size import IMAGE_SIZE

NAMES_OF_RUNS = {"init", "continue_from"}  # fields that name another run, or its weights


@dataclasses.dataclass(frozen=True, kw_only=True)
class Fields:
    """All settings that a run's numbers depend on; the `help` of each field describes it.

    Attributes:
      sources: SHA-256 of the user code that each field names, `((field, digest), ...)`.
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

    arch: str = option("network")
    arch_args: tuple[tuple[str, Any], ...] = option(
        "arguments of the network, such as width=64, instead of the recipe's", default=()
    )
    recipe: str = option(
        f"settings to start from: {', '.join(RECIPES)}; not every network has all of them"
    )
    dataset: str = option("data set", default="cifar10")
    image_size: int = option(
        "height and width that images of your own get, in pixels",
        rules.SIDE_LENGTH,
        default=IMAGE_SIZE,
        is_newer=True,
    )
    epochs: int = option("passes over the training images")
    patience: int = option(
        "end training after N epochs without a better validation accuracy; 0 trains all epochs",
        rules.NOT_NEGATIVE,
        array=0,
        default=0,
        is_newer=True,
    )
    batch_size: int = option("training images a step, on all devices together")
    accumulate: int = option(
        "compute each batch in N parts, one after another, to save memory; BatchNorm then "
        "normalises each part by itself",
        default=1,
        is_newer=True,
    )
    optimizer: str = option("update rule")
    learning_rate: float = option("highest learning rate", rules.POSITIVE, array=1.0)
    momentum: float = option("momentum, or beta 1 of Adam", rules.BELOW_ONE, array=0.0, default=0.9)
    nesterov: bool = option("use Nesterov momentum", array=False, default=False)
    weight_decay: float = option(
        "L2 penalty on the parameters; for adamw, decoupled weight decay",
        rules.NOT_NEGATIVE,
        array=0.0,
    )
    bias_decay: bool = option(
        "apply weight decay to biases and BatchNorm parameters too", array=True, default=True
    )
    bias_rate: float = option(
        "factor of the learning rate for biases and BatchNorm parameters",
        rules.POSITIVE,
        array=1.0,
        default=1.0,
    )
    non_kernel_rate: float = option(
        "factor of the learning rate for all parameters but kernels of convolutions",
        rules.POSITIVE,
        array=1.0,
        default=1.0,
    )
    clip_norm: float = option(
        "largest norm of the gradient; 0 turns clipping off",
        rules.NOT_NEGATIVE,
        array=0.0,
        default=0.0,
    )
    lr_scale: str = option(
        "rule that adapts the learning rate to a batch size other than the recipe's",
        choices=("none", "linear", "sqrt"),
        array="none",
        default="none",
    )
    schedule: str = option("schedule of the learning rate", array="none")
    warmup: float = option(
        "fraction of the steps in which the learning rate rises, before the schedule begins",
        rules.BELOW_ONE,
        array=0.0,
        default=0.0,
    )
    # The reference report does not give these two defaults. They come from the scan in
    # experiments/studies/step_decay_cnn.toml.
    step_size: int = option("epochs between two decays of the step schedule", array=1, default=10)
    gamma: float = option(
        "factor of each decay of the step schedule", rules.POSITIVE, array=1.0, default=0.1
    )
    label_smoothing: float = option(
        "fraction of the target that is spread over all classes",
        rules.BELOW_ONE,
        array=0.0,
        default=0.0,
    )
    class_weights: str = option(
        "weights of the classes in the loss: balanced, or a file of names and weights",
        rules.CLASS_WEIGHTS,
        type=class_weights_text,
        array=lambda value: value if value == NO_WEIGHTS else BALANCED,
        default=NO_WEIGHTS,
        is_newer=True,
    )
    label_noise: float = option(
        "fraction of the training labels that is replaced by random labels",
        rules.FRACTION,
        array=on_or_off,
        default=0.0,
        is_newer=True,
    )
    mixup: float = option(
        "mix images, and labels, by a share from the distribution Beta(X, X); 0 turns it off",
        rules.BETA,
        array=on_or_off,
        default=0.0,
        is_newer=True,
    )
    cutmix: float = option(
        "paste a box of another image, with a share of the area from Beta(X, X); 0 turns it off",
        rules.BETA,
        array=on_or_off,
        default=0.0,
        is_newer=True,
    )
    average: float = option(
        "decay per step of a moving average of the weights, such as 0.99; the average is then "
        "evaluated; 0 turns it off",
        rules.BELOW_ONE,
        array=on_or_off,
        default=0.0,
    )
    dropout: float = option("dropout rate before the last layer", rules.BELOW_ONE, default=0.0)
    normalize: bool = option(
        "normalise each channel to mean 0 and standard deviation 1", array=True, default=True
    )
    augment: bool = option("random shifts, flips and cutout in training", array=True, default=True)
    shift: int = option("largest random shift, in pixels", SHIFT_RANGE, array=MAX_SHIFT, default=4)
    border: str = option(
        "pixels that a shift brings in",
        choices=("zeros", "reflect"),
        array="zeros",
        default="zeros",
    )
    flip: str = option(
        "flip each image with probability 1/2, in every other epoch, or never",
        choices=("random", "alternate", "none"),
        array="random",
        default="random",
    )
    cutout: int = option(
        "side of the square to blank, in pixels; 0 turns it off",
        UP_TO_IMAGE_SIZE,
        array=0,
        default=0,
    )
    small_size: int = option(
        "side of the images in the first steps, in pixels; --image-size is full size",
        SMALL_SIZE_RANGE,
        default=IMAGE_SIZE,
    )
    small_fraction: float = option(
        "fraction of the steps that use --small-size",
        rules.BELOW_ONE,
        array=on_or_off,
        default=0.0,
    )
    augmentation: str = option("augmentation after the shifts and flips", default="none")
    val_fraction: float = option(
        "fraction of the training images held out to choose the best epoch; 0 takes the last epoch",
        rules.BELOW_ONE,
        default=0.1,
    )
    fold: str = option(
        "validate on the I-th of K parts of the training images, such as 1/5; replaces "
        "--val-fraction; none turns it off",
        rules.FOLD,
        type=fold_setting,
        default="",
        is_newer=True,
    )
    train_examples: int | None = option(
        "train on the first N images of a fixed order", type=int, default=None
    )
    dtype: str = option(
        "precision (on most CPUs products only); auto: bfloat16 on GPUs, TPUs, AMX; else float32",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
    )
    init: str = option("finished run, or file of weights, to start from", array="", default="")
    continue_from: str = option(
        "finished run to train further with its settings, until it has --epochs epochs in total; "
        "--schedule and --warmup count only the new epochs (continue_from in studies and Python)",
        array="",
        default="",
        is_newer=True,
    )
    seed: int = option(
        "seed of initial weights, image order, augmentation, dropout and label noise",
        rules.SEED,
        array=0,
        default=0,
    )
    sources: tuple[tuple[str, str], ...] | None = derived()
    imports: tuple[tuple[str, str], ...] | None = derived()
    base_batch_size: int | None = derived(array=lambda _: None)
    init_sha256: str | None = derived(array=lambda _: None)
    continue_sha256: str | None = derived(array=lambda _: None, is_newer=True)
    continue_epochs: int | None = derived(array=lambda _: None, is_newer=True)
    data_sha256: str | None = derived()


# The values of fields that neither the user nor the recipe sets. They turn every extra off.
DEFAULTS = {
    field.name: field.metadata["default"]
    for field in dataclasses.fields(Fields)
    if "default" in field.metadata
}
_NEWER = {field.name for field in dataclasses.fields(Fields) if field.metadata.get("is_newer")}


def is_newer_and_off(name: str, value: Any) -> bool:
    """Return whether a setting did not exist in version 0.1 and has the value that turns it off."""
    return name in _NEWER and value == DEFAULTS.get(name)
