"""Estimate how training scales to many devices: `jaxcifar scaling`."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.table import Table

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.options import add_archs
from jaxcifar.commands.shared.output import screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.machine.terminal import line_printer

if TYPE_CHECKING:
    from jaxcifar.bench.device_traffic import Collective

CHIP_COUNTS = (8, 64, 1024)


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
    from jaxcifar.diagram.network_summary import summarize, training_flops
    from jaxcifar.machine.environment import use_cpu_cores

    use_cpu_cores(batch_size=2, device_count=2)
    start_jax()
    for arch, config in zip(options.arch, configs, strict=True):
        tiny_work = Work(arch, "float32", batch_size=8, steps=1, test_images=8, eval_batch=8)
        exchanges = device_traffic.find_collectives(JaxcifarTraining(tiny_work).train_program)
        # The exchange of the gradients is the largest one.
        *sizes_of_others, size_of_gradients = sorted(exchange.bytes for exchange in exchanges)
        console.print(
            f"{arch}: {len(exchanges)} exchanges a step: the gradients {size_of_gradients:,} "
            f"bytes, {len(sizes_of_others)} others {sum(sizes_of_others):,} bytes together",
            soft_wrap=True,
        )
        macs = summarize(create_model(config, num_classes=10)).macs
        flops = training_flops(macs, config.batch_size)
        console.print(_efficiency_table(config, flops, exchanges))


def _efficiency_table(config: Config, flops: float, exchanges: "Sequence[Collective]") -> Table:
    """Return a table of the estimated efficiency of training, for several numbers of chips.

    For each number of chips, the batch grows with the number of chips. If the number divides the
    batch size, a second row is for chips that share one batch.

    Args:
      config: the settings of the run.
      flops: number of multiplications and additions in a step with the whole batch on one chip.
      exchanges: data exchanges between chips in a step.
    """
    from jaxcifar.bench import device_traffic

    machines = device_traffic.MACHINES
    table = Table(title=f"{config.arch}: modelled efficiency, batch {config.batch_size}")
    for heading in ("chips", "batch", *(machine.name for machine in machines)):
        table.add_column(heading, justify="right")

    def add_row(chips: int, batch_size: int, same_or_growing_batch: str) -> None:
        efficiencies = [
            device_traffic.scaling_efficiency(
                machine, flops, exchanges, chips, same_or_growing_batch
            )
            for machine in machines
        ]
        percentages = [f"{efficiency:.0%}" for efficiency in efficiencies]
        table.add_row(f"{chips:,}", f"{batch_size:,}", *percentages)

    for chips in CHIP_COUNTS:
        add_row(chips, config.batch_size * chips, "growing")
        can_chips_share_batch = config.batch_size % chips == 0
        if can_chips_share_batch:
            add_row(chips, config.batch_size, "same")
    return table
