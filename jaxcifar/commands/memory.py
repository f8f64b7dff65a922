"""Print the memory that training takes: `jaxcifar memory --arch resnet18`."""

import dataclasses
from collections.abc import Sequence

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import parse_count
from jaxcifar.commands.shared.options import add_archs, add_config_options, pop_image_size
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import format_bytes, line_printer, report_elapsed_time, show_activity

BATCH_SIZES = (128, 512, 2048)

# Widths of the columns batch size, precision, data and weights, one step, total.
_COLUMN_WIDTHS = (12, 11, 18, 10, 10)

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
        type=parse_count,
        default=BATCH_SIZES,
        metavar="N",
        help="training images a step (default: 128 512 2048)",
    )
    add_config_options(parser, only=("image_size",))
    parser.add_argument(
        "--accumulate",
        type=parse_count,
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
    image_size = pop_image_size(options)
    config_of_row = {}
    for arch in options.arch:
        for batch_size in options.batch_size:
            config = Config.create(
                arch, batch_size=batch_size, accumulate=options.accumulate, dtype=options.dtype
            )
            config_of_row[arch, batch_size] = dataclasses.replace(config, image_size=image_size)

    from jaxcifar.bench.training_memory import training_memory
    from jaxcifar.machine.environment import all_devices, describe_devices, package_versions

    start_jax()
    console = screen()
    device = all_devices()[0]
    print_line = line_printer(console)
    print_line(
        f"on one device, {describe_devices([device])}, jax {package_versions()['jax']}; "
        f"data and weights: 45,000 images of {image_size}x{image_size}, weights and "
        "optimizer state"
    )
    name_width = max(len("network"), *map(len, options.arch))
    headings = ("batch size", "precision", "data and weights", "one step", "total")
    print_line(_table_line("network", *headings, name_width=name_width))
    # Each row is printed as soon as it is known.
    for (arch, batch_size), config in config_of_row.items():
        activity = f"compiling {arch} for batch size {batch_size}"
        with report_elapsed_time(console, print_line, activity), show_activity(activity):
            memory = training_memory(config, device)
        if memory is None:
            raise RunError(
                f"{device.device_kind}: XLA does not report the memory of programs on this device; "
                "measure on a CPU with JAX_PLATFORMS=cpu before the command"
            )
        total_bytes = memory.persistent_bytes + memory.step_bytes
        cells = (
            f"{batch_size:,}",
            memory.dtype,
            format_bytes(memory.persistent_bytes),
            format_bytes(memory.step_bytes),
            format_bytes(total_bytes),
        )
        print_line(_table_line(arch, *cells, name_width=name_width))


def _table_line(network: str, *cells: str, name_width: int) -> str:
    """Return a line of a text table: a network, padded to `name_width` characters, and cells."""
    line = f"{network:{name_width}}"
    for cell, cell_width in zip(cells, _COLUMN_WIDTHS, strict=True):
        line += f"{cell:>{cell_width}}"
    return line
