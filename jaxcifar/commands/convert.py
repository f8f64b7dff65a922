"""Convert PyTorch weights to a run: `jaxcifar convert FILE.pth --run-dir RUN`."""

import math
from argparse import ArgumentTypeError
from collections.abc import Sequence
from typing import NamedTuple

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_run_dir,
    data_folder,
    parse_path,
)
from jaxcifar.commands.shared.options import add_config_options, pop_settings
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.run_result import show_result
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
_LARGEST_BYTE = 255  # of a pixel
_NUMBER_LIMIT = 1e6


class _PixelOption(NamedTuple):
    """The option `--mean` or `--std`.

    `values` are the given numbers; none if the option was not given. Each must be at least
    `smallest`, and at most 1.
    """

    name: str
    values: Sequence[float]
    smallest: float

    def __str__(self) -> str:
        """Return the option as in a command line, such as "--mean 0.49 0.48 0.45"."""
        return " ".join([self.name, *(f"{value:g}" for value in self.values)])

    def has_allowed_values(self) -> bool:
        """Return whether all values can belong to pixels from 0 to 1."""
        return all(self.smallest <= value <= 1 for value in self.values)

    def divided_by_largest_byte(self) -> "_PixelOption":
        """Return the option for pixels from 0 to 1, if its values are for pixels from 0 to 255."""
        return self._replace(values=[round(value / _LARGEST_BYTE, 6) for value in self.values])


def parse_pixel_statistic(text: str) -> float:
    """Parse one of the three values of `--mean` or `--std`, and return the number.

    Raises:
      ArgumentTypeError: not a number between -1,000,000 and 1,000,000. `check_normalisation` checks
        the much smaller range that makes sense, and can advise about pixels from 0 to 255.
    """
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    is_number_in_range = -_NUMBER_LIMIT < value < _NUMBER_LIMIT  # False for NaN
    if not is_number_in_range:
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
    mean_option = _PixelOption("--mean", mean or (), smallest=0.0)
    std_option = _PixelOption("--std", std or (), smallest=SMALLEST_STD)
    wrong_options = _options_with_wrong_values(mean_option, std_option)
    if not wrong_options:
        return
    corrected_options = [option.divided_by_largest_byte() for option in wrong_options]
    are_values_for_bytes = all(option.has_allowed_values() for option in corrected_options)
    if are_values_for_bytes:
        names = " and ".join(option.name for option in wrong_options)
        raise UsageError(
            f"{names}: the values must be of pixels from 0 to 1, but these are of pixels from 0 "
            f"to 255; use {' '.join(map(str, corrected_options))}"
        )
    first = wrong_options[0]
    raise UsageError(
        f"{first}: must be three numbers from {first.smallest:g} to 1, one for each channel of "
        "pixels from 0 to 1"
    )


def _options_with_wrong_values(
    mean_option: _PixelOption, std_option: _PixelOption
) -> list[_PixelOption]:
    """Return the options whose values seem not to be those of pixels from 0 to 1."""
    wrong_options = []
    is_mean_wrong = not mean_option.has_allowed_values()
    if is_mean_wrong:
        wrong_options.append(mean_option)
    # Networks for pixels from 0 to 255 often have a mean of such pixels, and the deviation 1. Then
    # the 1 is a deviation of the same pixels, although it could be one of pixels from 0 to 1.
    is_std_one_for_bytes = is_mean_wrong and list(std_option.values) == [1, 1, 1]
    if is_std_one_for_bytes or not std_option.has_allowed_values():
        wrong_options.append(std_option)
    return wrong_options


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar convert`."""
    parser = Parser("convert", "Convert PyTorch weights to a run, and test it.", HELP_EXAMPLES)
    parser.add_argument(
        "weights",
        metavar="FILE",
        type=parse_path,
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
            type=parse_pixel_statistic,
            metavar=("R", "G", "B"),
            help=f"{name} of pixels from 0 to 1 (default: the data set's); if your {name} is "
            "of pixels from 0 to 255, divide it by 255",
        )
    return parser


def main(argv: Sequence[str]) -> None:
    """Convert PyTorch weights to the folder of a run, test them, and print the result."""
    options = parser().parse_args(argv)
    settings = pop_settings(options)
    data_dir = data_folder(options.data_dir, settings.get("dataset", "cifar10"))
    check_normalisation(options.mean, options.std)
    require_existing([options.weights])
    config = Config.create(**settings)
    print_line = line_printer(Console())
    print_line(f"reading {options.weights}")

    from jaxcifar.data import Dataset, load_dataset
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

    def load_images() -> Dataset:
        return load_dataset(config, data_dir, print_line)

    result = convert(conversion, load_images, print_line)
    if result is not None:
        show_result(print_line, result, options.run_dir)
