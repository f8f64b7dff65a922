"""A check against starting hours of training on a CPU without having chosen the network."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import duration

_IMAGES_PER_SECOND_AND_CORE = (
    28  # training rate of ResNet-18 on one core of an AMD EPYC, in float32
)
_TRAINING_IMAGES = 45_000  # of CIFAR-10, without the validation images
_MAX_SECONDS_WITHOUT_CHOICE = 3600


def require_chosen_network(settings: Mapping[str, Any], config: Config) -> None:
    """Check that `--arch` was given if training takes more than an hour on a CPU.

    A beginner's first command is `run` without options. On a CPU, this command would train the
    default network for about a day.

    Args:
      settings: the settings on the command line.
      config: all settings of the run, defaults included.

    Raises:
      UsageError: `--arch` was not given, and training would take more than an hour on this CPU.
    """
    import jax

    from jaxcifar.machine.environment import cpu_cores

    has_chosen_network = "arch" in settings or "continue_from" in settings
    if has_chosen_network or jax.devices()[0].platform != "cpu":
        return
    images_per_second = _IMAGES_PER_SECOND_AND_CORE * cpu_cores()
    images = config.epochs * (config.train_examples or _TRAINING_IMAGES)
    seconds = images / images_per_second
    if seconds > _MAX_SECONDS_WITHOUT_CHOICE:
        small_network_command = f"{shell_command('run')} --arch cnn --recipe strong"
        raise UsageError(
            f"{config.arch}, the default network, would train for about {duration(seconds)} on "
            f"this CPU (an estimate); train the small network instead with {small_network_command} "
            f"(about half an hour), or start it with --arch {config.arch}"
        )
