"""Show the layers of a network: `jaxcifar summary --arch resnet18`."""

import dataclasses
from collections.abc import Sequence

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_picture_option, parse_count
from jaxcifar.commands.shared.options import (
    add_config_options,
    pop_image_size,
    pop_settings,
)
from jaxcifar.commands.shared.output import draw_picture
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.machine.terminal import show_activity

HELP_EXAMPLES = (
    ("--arch resnet18", "print the layers of ResNet-18"),
    ("--arch cnn --plot cnn.png", "print the layers of the CNN and draw them"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar summary`."""
    parser = Parser("summary", "Show the layers, sizes and FLOPs of a network.", HELP_EXAMPLES)
    add_config_options(parser, only=("arch", "arch_args", "image_size"))
    parser.add_argument(
        "--classes",
        type=parse_count,
        default=10,
        metavar="N",
        help="number of classes (default: 10)",
    )
    add_picture_option(parser, "--plot", "the network")
    return parser


def main(argv: Sequence[str]) -> None:
    """Print a table of the layers of a network, and draw the network if asked to."""
    options = parser().parse_args(argv)
    image_size = pop_image_size(options)
    config = Config.create(**pop_settings(options))
    config = dataclasses.replace(config, image_size=image_size)
    with show_activity("tracing the network"):
        from jaxcifar.build.model import check_model, create_model
        from jaxcifar.diagram.network_summary import summarize

        start_jax()
        model = create_model(config, options.classes)
        check_model(config, model, options.classes)
        summary = summarize(model, image_size)
    print(summary.table(), end="")
    if options.plot:
        from jaxcifar.diagram.drawing import plot_network

        draw_picture("--plot", options.plot, plot_network, summary, config.network_title)
