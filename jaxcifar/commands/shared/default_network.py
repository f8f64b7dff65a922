"""A check against starting hours of training on a CPU without having chosen the network."""

import shlex
from collections.abc import Mapping, Sequence
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import duration

# Training rate of ResNet-18 on one core of an AMD EPYC, in float32.
_IMAGES_PER_SECOND_AND_CORE = 28
_MAX_SECONDS_WITHOUT_CHOICE = 3600


def require_chosen_network(
    settings: Mapping[str, Any], config: Config, words: Sequence[str]
) -> None:
    """Check that `--arch` was given if training takes more than an hour on a CPU.

    A beginner's first command is `run` without options. On a CPU, this command would train the
    default network for about a day. The user's own images are not counted before they are loaded,
    so a run on them is not checked.

    Args:
      settings: the settings on the command line.
      config: all settings of the run, defaults included.
      words: the command line after `run`, which the advice repeats.

    Raises:
      UsageError: `--arch` was not given, and training would take more than an hour on this CPU.
    """
    import jax

    from jaxcifar.machine.environment import cpu_cores

    has_chosen_network = "arch" in settings or "continue_from" in settings
    if has_chosen_network or jax.devices()[0].platform != "cpu":
        return
    images = _training_image_count(config)
    seconds = config.epochs * images / (_IMAGES_PER_SECOND_AND_CORE * cpu_cores())
    if seconds > _MAX_SECONDS_WITHOUT_CHOICE:
        options_of_small_network = shlex.join([*words, "--arch", "cnn", "--recipe", "strong"])
        command = f"{shell_command('run')} {options_of_small_network}"
        time_hint = "" if settings else " (about half an hour)"
        raise UsageError(
            f"{config.arch}, the default network, would train for about {duration(seconds)} on "
            f"this CPU (an estimate); train the small network instead with {command}{time_hint}, "
            f"or start it with --arch {config.arch}"
        )


def _training_image_count(config: Config) -> int:
    """Return the number of training images of a named data set; 0 for the user's own images."""
    from jaxcifar.data import CATALOG
    from jaxcifar.data.split import train_val_indices

    if config.dataset not in CATALOG:
        return 0
    labels = CATALOG[config.dataset].labels("train")
    train_indices, _ = train_val_indices(
        labels, config.val_fraction, config.train_examples, config.fold
    )
    return len(train_indices)
