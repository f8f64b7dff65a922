"""Make a run of a PyTorch network: `python -m experiments.convert FILE.pth --run-dir RUN`."""

import argparse
import math
from collections.abc import Sequence

from rich.console import Console

from jaxcifar.commands.run import show
from jaxcifar.commands.shared.cli import (
    add_data_dir,
    data_folder,
    location,
    start_jax,
)
from jaxcifar.commands.shared.options import add_config_options
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import line_printer

EXAMPLES = (
    ("first.pth --arch cnn --run-dir again", "a state dict by torch.save"),
    ("first.safetensors --arch cnn --run-dir again", "the same as safetensors"),
)


def finite(text: str) -> float:
    """An option's value: a finite number."""
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not abs(value) < 1e6:
        raise argparse.ArgumentTypeError(f"{text:.20}: must be a number, below 1,000,000")
    return value


def parser() -> Parser:
    """The command's options."""
    parser = Parser("convert", "Make a run of a PyTorch network's weights, and test it.", EXAMPLES)
    parser.add_argument(
        "weights",
        metavar="FILE",
        type=location,
        help="a state dict by torch.save (.pth), or its tensors as .safetensors",
    )
    add_config_options(parser, only=("arch", "arch_args", "dataset"))
    where = parser.add_argument_group("where things are")
    add_data_dir(where)
    where.add_argument(
        "--run-dir", type=location, required=True, metavar="DIR", help="folder of the run"
    )
    where.add_argument(
        "--overwrite", action="store_true", help="delete what an earlier run left in the folder"
    )
    pixels = parser.add_argument_group("what the network's images were normalised by")
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
    """Convert a state dict, evaluate it, and print the result."""
    options = vars(parser().parse_args(argv))
    data_dir = data_folder(options.pop("data_dir"))
    weights, path = options.pop("weights"), options.pop("run_dir")
    how = {name: options.pop(name) for name in ("mean", "std", "overwrite")}
    if how["std"] and min(how["std"]) <= 0:
        parser().error("--std: must be above 0")
    require_existing([weights])
    config = Config.create(**options)
    say = line_printer(Console())
    say(f"reading {weights}")

    from jaxcifar.data import load_dataset
    from jaxcifar.exchange.from_pytorch import Conversion, convert

    start_jax()
    conversion = Conversion(weights, config, path, **how)
    result = convert(conversion, lambda: load_dataset(config, data_dir, say), say)
    if result is not None:
        show(say, result, path)
