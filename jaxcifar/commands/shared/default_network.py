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
    given_settings: Mapping[str, Any], config: Config, command_words: Sequence[str]
) -> None:
    """Check that the user chose the network if training takes more than an hour on a CPU.

    A beginner's first command is `run` without options. On a CPU, this command would train the
    default network for about a day. A run on the user's own images is not checked, because their
    number is not known before they are loaded.

    Args:
      given_settings: the settings that the user gave, as options or in a file.
      config: all settings of the run, defaults included.
      command_words: the command line after `run`, which the advice repeats.

    Raises:
      UsageError: no network was chosen, and training would take more than an hour on this CPU.
    """
    import jax

    from jaxcifar.machine.environment import cpu_cores

    is_network_chosen = "arch" in given_settings or "continue_from" in given_settings
    if is_network_chosen or jax.devices()[0].platform != "cpu":
        return
    images_in_all_epochs = config.epochs * _image_count_or_zero(config)
    seconds = images_in_all_epochs / (_IMAGES_PER_SECOND_AND_CORE * cpu_cores())
    if seconds > _MAX_SECONDS_WITHOUT_CHOICE:
        small_network = ("--arch", "cnn", "--recipe", "strong")
        command = f"{shell_command('run')} {shlex.join([*command_words, *small_network])}"
        are_all_settings_default = not given_settings  # the time of other settings is not known
        time_hint = " (about half an hour)" if are_all_settings_default else ""
        raise UsageError(
            f"{config.arch}, the default network, would train for about {duration(seconds)} on "
            f"this CPU (an estimate); train the small network instead with {command}{time_hint}, "
            f"or start it with --arch {config.arch}"
        )


def _image_count_or_zero(config: Config) -> int:
    """Return the number of training images of a data set of the catalogue.

    The user's own images are not counted before they are loaded: the number is 0.
    """
    from jaxcifar.data import CATALOG
    from jaxcifar.data.split import train_val_indices

    is_known = config.dataset in CATALOG
    if not is_known:
        return 0
    labels = CATALOG[config.dataset].labels("train")
    train_indices, _ = train_val_indices(
        labels, config.val_fraction, config.train_examples, config.fold
    )
    return len(train_indices)
