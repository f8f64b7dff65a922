"""Tell how much memory training takes: `python -m experiments.memory --arch resnet18`."""

import sys
from collections.abc import Sequence

from rich.console import Console
from rich.table import Table

from experiments.cli import count, run_command, start_jax
from experiments.options import names
from experiments.parser import Parser
from jaxcifar.config import ARCHS, Config
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import elapsing, gigabytes, status_line, teller

BATCH_SIZES = (128, 512, 2048)

EXAMPLES = (
    ("--arch cnn --batch-size 128 4096", "one network at two batch sizes"),
    ("", "all of ours; compiling takes minutes on a CPU"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser(
        "memory", "Tell how much memory training takes; nothing is trained for it.", EXAMPLES
    )
    parser.add_argument(
        "--arch",
        nargs="+",
        metavar="NAME",
        default=ARCHS,
        help=f"{names('arch')} (default: all of ours)",
    )
    parser.add_argument(
        "--batch-size",
        nargs="+",
        type=count,
        default=BATCH_SIZES,
        metavar="N",
        help="training images a step (default: 128 512 2048)",
    )
    parser.add_argument(
        "--dtype",
        choices=("auto", "float32", "bfloat16"),
        default="auto",
        help="precision, as for run (default: auto)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Compile the training programs, and print what XLA says of their memory."""
    options = parser().parse_args(argv)
    configs = {
        (arch, size): Config.create(arch, batch_size=size, dtype=options.dtype)
        for arch in options.arch
        for size in options.batch_size
    }

    from jaxcifar.bench.memory import training_memory
    from jaxcifar.machine.environment import describe_devices, first_devices, versions

    start_jax()
    console = Console(emoji=False, highlight=False)
    device = first_devices(None)[0]
    table = Table(title="Memory that training takes on one device")
    for column in ("network", "batch size", "precision", "kept", "a step", "together"):
        table.add_column(column, justify="left" if column == "network" else "right")
    for (arch, size), config in configs.items():
        what = f"compiling {arch} for batch size {size}"
        with elapsing(console, teller(console), what), status_line(what):
            need = training_memory(config, device)
        if need is None:
            raise RunError(f"{device.device_kind}: XLA does not tell what programs take on it")
        parts = (need.kept, need.step, need.kept + need.step)
        table.add_row(arch, f"{size:,}", need.dtype, *map(gigabytes, parts))
    console.print(table)
    teller(console)(
        f"by {describe_devices([device])}, jax {versions()['jax']}; kept: 45,000 images, weights "
        "and the optimiser's state"
    )


if __name__ == "__main__":
    run_command(lambda: main(sys.argv[1:]))
