"""Checks of the options of `jaxcifar bench`, its number of images, and the line about its time."""

from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.errors import UsageError
from jaxcifar.exchange.torch_modules import ARCHS_IN_PYTORCH
from jaxcifar.machine.terminal import pluralize

NETWORKS_IN_PYTORCH = (
    f"PyTorch can be compared only for {', '.join(ARCHS_IN_PYTORCH)}, and without --arch-args"
)

DEFAULT_BATCH_SIZE = 128
_TEST_IMAGES = 10_000
_TEST_IMAGES_ON_CPU = 2000
_TEST_IMAGES_OF_LARGE_NETWORK_ON_CPU = 500


def is_in_pytorch(arch: str, arch_args: dict[str, Any]) -> bool:
    """Return whether this package has the same network in PyTorch, to compare with.

    `arch` is the network's name, and `arch_args` are its arguments by name.
    """
    return arch in ARCHS_IN_PYTORCH and not arch_args


def check_networks(options: Namespace) -> None:
    """Check the networks that `jaxcifar bench` is to measure.

    Raises:
      UsageError: a network is unknown, or PyTorch (`--peer torch`) is not installed or has none of
        the networks.
    """
    archs = options.arch or ARCHS
    arch_args = getattr(options, "arch_args", {})
    for arch in options.arch or ():
        Config.create(arch, arch_args=arch_args)  # checks both
    if not options.peer:
        return
    is_any_in_pytorch = any(is_in_pytorch(arch, arch_args) for arch in archs)
    if not is_any_in_pytorch:
        raise UsageError(f"--peer torch: {NETWORKS_IN_PYTORCH}; leave out --peer")
    is_pytorch_installed = find_spec("torch") is not None
    if not is_pytorch_installed:
        raise UsageError(
            "--peer torch: PyTorch is not installed; install it with: pip install torch"
        )


def expected_time(archs: Sequence[str], options: Namespace) -> str:
    """Return a line for the user about the time that the measurements will take."""
    networks = archs[0]
    if len(archs) > 1:
        total_minutes = options.minutes * len(archs)
        networks = f"each of {', '.join(archs)}, {total_minutes} min in all"
    return (
        f"measuring takes at most about {options.minutes} min for {networks}: "
        f"{pluralize(options.rounds, 'round')}, or fewer if the time is up (--minutes)"
    )


def number_of_test_images(on_cpu: bool, is_large_network: bool) -> int:
    """Return the number of test images of a measurement: fewer on a CPU, where they take long."""
    if not on_cpu:
        return _TEST_IMAGES
    return _TEST_IMAGES_OF_LARGE_NETWORK_ON_CPU if is_large_network else _TEST_IMAGES_ON_CPU
