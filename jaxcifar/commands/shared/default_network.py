"""A check against starting hours of training on a CPU without having chosen the network."""

from collections.abc import Mapping
from typing import Any

from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import duration

_IMAGES_PER_SECOND = 28  # training rate of ResNet-18 on one core of an AMD EPYC, in float32
_TRAINING_IMAGES = 45_000  # of CIFAR-10, without the validation images
_LONGEST_SECONDS = 3600


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

    if not {"arch", "continue_from"}.isdisjoint(settings) or jax.devices()[0].platform != "cpu":
        return
    cores = cpu_cores()
    images = config.epochs * (config.train_examples or _TRAINING_IMAGES)
    seconds = images / (_IMAGES_PER_SECOND * cores)
    if seconds > _LONGEST_SECONDS:
        small = f"{shell_command('run')} --arch cnn --recipe strong"
        raise UsageError(
            f"{config.arch}, the default network, would train for about {duration(seconds)} on "
            f"this CPU (an estimate); train the small network instead with {small} (about half "
            f"an hour), or start it with --arch {config.arch}"
        )
