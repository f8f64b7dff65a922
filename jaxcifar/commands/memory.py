"""Print the memory that training takes: `jaxcifar memory --arch resnet18`."""

import dataclasses
from collections.abc import Sequence

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import count
from jaxcifar.commands.shared.options import add_archs, add_config_options, split_image_size
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import format_bytes, line_printer, report_elapsed_time, show_activity

BATCH_SIZES = (128, 512, 2048)

# Widths of the columns batch size, precision, data and weights, one step, total.
_WIDTHS = (12, 11, 18, 10, 10)

HELP_EXAMPLES = (
    ("--arch cnn --batch-size 128 4096", "one network at two batch sizes"),
    ("", "all networks of the package; compiling takes minutes on a CPU"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar memory`."""
    parser = Parser(
        "memory", "Print the memory that training takes, without training.", HELP_EXAMPLES
    )
    add_archs(parser)
    parser.add_argument(
        "--batch-size",
        nargs="+",
        type=count,
        default=BATCH_SIZES,
        metavar="N",
        help="training images a step (default: 128 512 2048)",
    )
    add_config_options(parser, only=("image_size",))
    parser.add_argument(
        "--accumulate",
        type=count,
        default=1,
        metavar="N",
        help="compute each batch in N parts, as for run (default: 1)",
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="precision, as for run (default: auto)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Compile training programs, and print a table of the memory that they need."""
    options = parser().parse_args(argv)
    image_size = split_image_size(options)
    configs = {
        (arch, size): dataclasses.replace(
            Config.create(
                arch, batch_size=size, accumulate=options.accumulate, dtype=options.dtype
            ),
            image_size=image_size,
        )
        for arch in options.arch
        for size in options.batch_size
    }

    from jaxcifar.bench.training_memory import training_memory
    from jaxcifar.machine.environment import describe_devices, first_devices, package_versions

    start_jax()
    console = screen()
    device = first_devices(None)[0]
    print_line = line_printer(console)
    print_line(
        f"on one device, {describe_devices([device])}, jax {package_versions()['jax']}; "
        f"data and weights: 45,000 images of {image_size}x{image_size}, weights and "
        "optimizer state"
    )
    width = max(len("network"), *map(len, options.arch))
    sizes = ("data and weights", "one step", "total")
    print_line(_row("network", "batch size", "precision", *sizes, width=width))
    for (arch, size), config in configs.items():  # each row is printed as soon as it is known
        activity = f"compiling {arch} for batch size {size}"
        with report_elapsed_time(console, print_line, activity), show_activity(activity):
            need = training_memory(config, device)
        if need is None:
            raise RunError(
                f"{device.device_kind}: XLA does not report the memory of programs on this device"
            )
        total = need.persistent_bytes + need.step_bytes
        parts = map(format_bytes, (need.persistent_bytes, need.step_bytes, total))
        print_line(_row(arch, f"{size:,}", need.dtype, *parts, width=width))


def _row(network: str, *cells: str, width: int) -> str:
    """Return a line of a text table: the `network` in `width` columns, and then the `cells`."""
    line = f"{network:{width}}"
    for cell, cell_width in zip(cells, _WIDTHS, strict=True):
        line += f"{cell:>{cell_width}}"
    return line
