"""Estimate how training scales to many devices: `jaxcifar scaling`."""

from collections.abc import Sequence

from rich.table import Table

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.options import add_archs
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.machine.terminal import line_printer

CHIPS = (8, 64, 1024)


HELP_EXAMPLES = (("--arch resnet18", "one network"), ("", "all networks of the package"))


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar scaling`."""
    parser = Parser(
        "scaling",
        "Estimate how training scales to many devices, from the bytes sent in a step.",
        HELP_EXAMPLES,
    )
    add_archs(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Print a table of the estimated efficiency of training on many devices."""
    options = parser().parse_args(argv)
    configs = [Config.create(arch) for arch in options.arch]
    console = screen()
    line_printer(console)(f"compiling a training step of {', '.join(options.arch)} for two devices")

    from jaxcifar.bench import device_traffic
    from jaxcifar.bench.jaxcifar_training import JaxcifarTraining
    from jaxcifar.bench.work import Work
    from jaxcifar.build.model import create_model
    from jaxcifar.diagram.network_summary import summarize
    from jaxcifar.machine.environment import use_cpu_cores

    use_cpu_cores(batch_size=2, device_count=2)
    start_jax()
    for arch, config in zip(options.arch, configs, strict=True):
        work = Work(arch, "float32", batch_size=8, steps=1, test_images=8, eval_batch=8)
        exchanged = device_traffic.find_collectives(JaxcifarTraining(work).train_program)
        macs = summarize(create_model(config, 10)).macs
        flops = 6 * config.batch_size * macs
        largest = max(c.bytes for c in exchanged)
        others = sum(c.bytes for c in exchanged) - largest
        console.print(
            f"{arch}: {len(exchanged)} exchanges a step: the gradients {largest:,} bytes, "
            f"{len(exchanged) - 1} others {others:,} bytes together",
            soft_wrap=True,
        )
        table = Table(title=f"{arch}: modelled efficiency, batch {config.batch_size}")
        for column in ("chips", "batch", *(machine.name for machine in device_traffic.MACHINES)):
            table.add_column(column, justify="right")
        for chips in CHIPS:
            for batch in ("growing", "same"):
                if batch == "same" and config.batch_size % chips:
                    continue
                values = [
                    device_traffic.scaling_efficiency(machine, flops, exchanged, chips, batch)
                    for machine in device_traffic.MACHINES
                ]
                size = f"{config.batch_size * (chips if batch == 'growing' else 1):,}"
                table.add_row(f"{chips:,}", size, *(f"{value:.0%}" for value in values))
        console.print(table)
