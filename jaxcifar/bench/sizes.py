"""The size of a network, and the number of training steps that the benchmark measures for it."""

from typing import Any

from jaxcifar.bench.work import CLASSES
from jaxcifar.build.model import check_model, compute_dtype, create_model
from jaxcifar.config.experiment import Config
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.machine.environment import first_devices

_MIN_MACS_OF_LARGE_NETWORK = 1e8  # multiply-accumulates of the forward pass of one image


def model_and_macs(config: Config) -> tuple[Any, int]:
    """Return a config's network, and its multiply-accumulates in the forward pass of one image.

    Raises:
      UsageError: the network can't be created or called.
    """
    model = create_model(config, CLASSES, compute_dtype(config, first_devices(None)[0]))
    check_model(config, model, CLASSES)
    return model, summarize(model).macs


def is_large(macs: int) -> bool:
    """Return whether a network is so large that a single run keeps a device fully busy.

    Args:
      macs: multiply-accumulates of the forward pass of one image.
    """
    return macs > _MIN_MACS_OF_LARGE_NETWORK


def steps_per_round(macs: int, on_cpu: bool) -> int:
    """Return how many training steps, with 128 images each, take a few seconds.

    Args:
      macs: multiply-accumulates of the forward pass of one image.
      on_cpu: True on a CPU, False on an accelerator.
    """
    if on_cpu:
        return 3 if is_large(macs) else 20
    return 100 if is_large(macs) else 350
