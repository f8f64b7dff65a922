"""Checks of the options of `jaxcifar bench`, and the line about its time."""

import dataclasses
from argparse import Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from typing import Any

from jaxcifar.config.experiment import ARCHS, Config
from jaxcifar.config.option_names import option_name
from jaxcifar.errors import UsageError
from jaxcifar.exchange.torch_modules import ARCHS_IN_PYTORCH
from jaxcifar.machine.terminal import pluralize
from jaxcifar.studies.study import Study

COMPARABLE = (
    f"PyTorch can be compared only for {', '.join(ARCHS_IN_PYTORCH)}, and without --arch-args"
)


def is_comparable(arch: str, arch_args: dict[str, Any]) -> bool:
    """Return whether this package has the same network in PyTorch, to compare with.

    `arch` is the network's name, and `arch_args` are its arguments by name.
    """
    return arch in ARCHS_IN_PYTORCH and not arch_args


def check_networks(options: Namespace) -> None:
    """Check the networks that `jaxcifar bench` is to measure.

    Raises:
      UsageError: a network is unknown, or `--peer` is given and PyTorch has no such network.
    """
    arch_args = getattr(options, "arch_args", {})
    for arch in options.arch or ():
        Config.create(arch, arch_args=arch_args)
    if not options.peer:
        return
    if not any(is_comparable(arch, arch_args) for arch in options.arch or ARCHS):
        raise UsageError(f"--peer torch: {COMPARABLE}; leave out --peer")
    if not find_spec("torch"):
        raise UsageError(
            "--peer torch: PyTorch is not installed; install it with: pip install torch"
        )


def read_study(options: Namespace) -> Study:
    """Return the study that the option `--study` names.

    Raises:
      UsageError: the study can't be read, or another option can't be used with `--study`.
    """
    for name in ("arch", "arch_args", "batch_size", "peer", "at_once", "steps", "plot"):
        if getattr(options, name, None) is not None:
            raise UsageError(f"--{option_name(name)}: can't be used with --study; leave it out")
    study = Study.read(options.study)
    if options.dtype:
        study = dataclasses.replace(study, config={**study.config, "dtype": options.dtype})
    study.check()
    return study


def expected_time(archs: Sequence[str], options: Namespace) -> str:
    """Return a line for the user about the time that the measurements will take."""
    each = f"{options.minutes} min"
    names = archs[0] if len(archs) == 1 else f"each of {', '.join(archs)}"
    total = f", {options.minutes * len(archs)} min in all" if len(archs) > 1 else ""
    return (
        f"measuring takes at most about {each} for {names}{total}: "
        f"{pluralize(options.rounds, 'round')}, or fewer if the time is up (--minutes)"
    )
