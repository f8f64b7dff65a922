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
_IMAGES_OF_DATA_SET = {"cifar10": 50_000, "cifar100": 50_000, "shapes10": 10_000}
_MAX_SECONDS_WITHOUT_CHOICE = 3600


def require_chosen_network(
    settings: Mapping[str, Any], config: Config, words: Sequence[str] = ()
) -> None:
    """Check that `--arch` was given if training takes more than an hour on a CPU.

    A beginner's first command is `run` without options. On a CPU, this command would train the
    default network for about a day. The user's own images are not counted before they are loaded,
    so they are not checked unless `--train-examples` says how many are used.

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
    images = config.train_examples
    if not images:
        images_with_validation = _IMAGES_OF_DATA_SET.get(config.dataset, 0)
        images = round(images_with_validation * (1 - config.val_fraction))
    seconds = config.epochs * images / (_IMAGES_PER_SECOND_AND_CORE * cpu_cores())
    if seconds > _MAX_SECONDS_WITHOUT_CHOICE:
        small_words = shlex.join([*words, "--arch", "cnn", "--recipe", "strong"])
        small = f"{shell_command('run')} {small_words}"
        half_an_hour = "" if settings else " (about half an hour)"
        raise UsageError(
            f"{config.arch}, the default network, would train for about {duration(seconds)} on "
            f"this CPU (an estimate); train the small network instead with {small}{half_an_hour}, "
            f"or start it with --arch {config.arch}"
        )
