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
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import line_printer

HELP_EXAMPLES = (
    ("first.pth --arch cnn --run-dir again", "a state dict that torch.save has written"),
    ("first.safetensors --arch cnn --run-dir again", "the same weights as safetensors"),
)


def finite(text: str) -> float:
    """Parse an option's value as a number between -1,000,000 and 1,000,000."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e6:
        raise ArgumentTypeError(f"{text:.20}: must be a number between -1,000,000 and 1,000,000")
    return value


def parser() -> Parser:
    parser = Parser("convert", "Convert PyTorch weights to a run, and test it.", HELP_EXAMPLES)
    parser.add_argument(
        "weights",
        metavar="FILE",
        type=location,
        help="state dict that torch.save has written (.pth), or its tensors as .safetensors",
    )
    add_config_options(parser, only=("arch", "arch_args", "dataset"))
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
            help=f"{name} of pixels from 0 to 1 (default: the data set's)",
        )
    return parser


def main(argv: Sequence[str]) -> None:
    options = parser().parse_args(argv)
    settings = split_settings(options)
    data_dir = data_folder(options.data_dir, settings.get("dataset", "cifar10"))
    if options.std and min(options.std) <= 0:
        parser().error("--std: must be above 0")
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
