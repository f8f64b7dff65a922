"""Show the layers of a network: `python -m experiments.summary --arch resnet18`."""

import argparse
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.commands.shared.cli import count, location, start_jax
from jaxcifar.commands.shared.options import add_config_options
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.terminal import show_activity

_SUFFIXES = (".png", ".svg", ".pdf")


EXAMPLES = (
    ("--arch resnet18", "print the layers of ResNet-18"),
    ("--arch cnn --plot cnn.png", "print the layers of the CNN and draw them"),
)


def picture(text: str) -> Path:
    """Return an option's value as the path of a picture that can be drawn.

    Raises:
      argparse.ArgumentTypeError: another suffix, or a folder that does not exist.
    """
    path = location(text)
    listed = ", ".join(_SUFFIXES)
    if path.suffix not in _SUFFIXES or path.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: must be a file that ends in {listed}")
    if not path.parent.is_dir():
        raise argparse.ArgumentTypeError(f"{text}: there is no folder {path.parent}")
    return path


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser("summary", "Show the layers, sizes and FLOPs of a network.", EXAMPLES)
    add_config_options(parser, only=("arch", "arch_args"))
    parser.add_argument(
        "--classes",
        type=count,
        default=10,
        metavar="N",
        help="number of classes (default: 10)",
    )
    parser.add_argument(
        "--plot",
        type=picture,
        metavar="FILE",
        help="draw the network into FILE (.png, .svg, .pdf; default: no picture)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Print the layer table, and draw the network with `--plot`."""
    options = vars(parser().parse_args(argv))
    classes, plot = options.pop("classes"), options.pop("plot")
    config = Config.create(**options)
    with show_activity("tracing the network"):
        from jaxcifar.build.model import check_model, create_model
        from jaxcifar.diagram.network_summary import summarize

        start_jax()
        model = create_model(config, classes)
        check_model(config, model, classes)
        summary = summarize(model)
    print(summary.table(), end="")
    if plot:
        from jaxcifar.diagram.drawing import plot_network
        from jaxcifar.machine.files import atomic_write

        try:
            with atomic_write(plot) as file:
                plot_network(summary, config.network_title, file, plot.suffix.removeprefix("."))
        except OSError as error:
            raise RunError(f"--plot {plot}: {first_line(error)}") from error
