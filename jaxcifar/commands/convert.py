"""Convert PyTorch weights to a run: `jaxcifar convert FILE.pth --run-dir RUN`."""

import math
from argparse import ArgumentTypeError
from collections.abc import Sequence

from rich.console import Console

from jaxcifar.commands.run import show
from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_data_dir, add_run_dir, data_folder, location
from jaxcifar.commands.shared.options import add_config_options, split_settings
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import line_printer

HELP_EXAMPLES = (
    ("first.pth --arch cnn --run-dir again", "a state dict that torch.save has written"),
    ("first.safetensors --arch cnn --run-dir again", "the same weights as safetensors"),
)


# A smaller standard deviation means a constant channel, or a mistake. A network for pixels from 0
# to 255 has the deviation 1; divided by 255, that is still larger.
SMALLEST_STD = 0.001


def finite(text: str) -> float:
    """Parse an option's value as a number between -1,000,000 and 1,000,000."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e6:
        raise ArgumentTypeError(f"{text:.20}: must be a number between -1,000,000 and 1,000,000")
    return value


def check_normalisation(mean: Sequence[float] | None, std: Sequence[float] | None) -> None:
    """Check that numbers can be the mean and standard deviation of pixels from 0 to 1.

    Args:
      mean: `[3]`, the values of `--mean`, or None if the option was not given.
      std: `[3]`, the values of `--std`, or None if the option was not given.

    Raises:
      UsageError: a mean is not from 0 to 1, or a deviation is not from `SMALLEST_STD` to 1. If the
        numbers seem to belong to pixels from 0 to 255, the message gives the right numbers.
    """
    has_wrong_mean = mean is not None and not _are_between(mean, 0, 1)
    # If the mean is for pixels from 0 to 255, a deviation of 1 is for these pixels too.
    is_std_of_large_pixels = has_wrong_mean and std is not None and set(std) == {1}
    has_wrong_std = std is not None and not _are_between(std, SMALLEST_STD, 1)
    wrong_options = []
    if mean is not None and has_wrong_mean:
        wrong_options.append(("--mean", mean, 0.0))
    if std is not None and (has_wrong_std or is_std_of_large_pixels):
        wrong_options.append(("--std", std, SMALLEST_STD))
    if not wrong_options:
        return
    corrected_options = []
    for option, values, smallest in wrong_options:
        corrected = [round(value / 255, 6) for value in values]
        if _are_between(corrected, smallest, 1):
            corrected_options.append(f"{option} {_joined(corrected)}")
    names = " and ".join(option for option, _, _ in wrong_options)
    if len(corrected_options) == len(wrong_options):
        raise UsageError(
            f"{names}: must be of pixels from 0 to 1, but these are of pixels from 0 to 255; "
            f"use {' '.join(corrected_options)}"
        )
    option, values, smallest = wrong_options[0]
    raise UsageError(
        f"{option} {_joined(values)}: must be three numbers from {smallest:g} to 1, as pixels from "
        "0 to 1 have"
    )


def _are_between(values: Sequence[float], smallest: float, largest: float) -> bool:
    """Return whether all values are from `smallest` to `largest`, with both ends."""
    return all(smallest <= value <= largest for value in values)


def _joined(values: Sequence[float]) -> str:
    """Return numbers as text for a command line, such as "0.49 0.48 0.45"."""
    return " ".join(f"{value:g}" for value in values)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar convert`."""
    parser = Parser("convert", "Convert PyTorch weights to a run, and test it.", HELP_EXAMPLES)
    parser.add_argument(
        "weights",
        metavar="FILE",
        type=location,
        help="state dict that torch.save has written (.pth), or its tensors as .safetensors; names "
        "may have a prefix (module., model., ...), and ResNet-18's may be torchvision's",
    )
    add_config_options(parser, only=("arch", "arch_args", "dataset", "image_size"))
    files = parser.add_argument_group("files")
    add_data_dir(files)
    add_run_dir(files)
    pixels = parser.add_argument_group("normalisation of the training images")
    for name in ("mean", "std"):
        pixels.add_argument(
            f"--{name}",
            nargs=3,
            type=finite,
            metavar=("R", "G", "B"),
            help=f"{name} of pixels from 0 to 1 (default: the data set's); if your {name} is "
            "of pixels from 0 to 255, divide it by 255",
        )
    return parser


def main(argv: Sequence[str]) -> None:
    """Convert PyTorch weights to the folder of a run, test them, and print the result."""
    options = parser().parse_args(argv)
    settings = split_settings(options)
    data_dir = data_folder(options.data_dir, settings.get("dataset", "cifar10"))
    check_normalisation(options.mean, options.std)
    require_existing([options.weights])
    config = Config.create(**settings)
    print_line = line_printer(Console())
    print_line(f"reading {options.weights}")

    from jaxcifar.data import load_dataset
    from jaxcifar.exchange.from_pytorch import Conversion, convert

    start_jax()
    conversion = Conversion(
        options.weights,
        config,
        options.run_dir,
        mean=options.mean,
        std=options.std,
        overwrite=options.overwrite,
    )
    result = convert(conversion, lambda: load_dataset(config, data_dir, print_line), print_line)
    if result is not None:
        show(print_line, result, options.run_dir)
