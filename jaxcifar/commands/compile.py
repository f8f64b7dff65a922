"""Compile training for devices that are not here: `jaxcifar compile --target v5e:2x4`."""

import os
from collections import defaultdict
from collections.abc import Sequence
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table

from jaxcifar.bench.absent_devices import EXAMPLES, Target, compiler_version
from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_json_file, parse_count, parse_path
from jaxcifar.commands.shared.options import add_config_options, pop_settings
from jaxcifar.commands.shared.output import explain_write_errors, make_table, screen, write_json
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.config.experiment import Config
from jaxcifar.machine.files import write_text
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import (
    PrintLine,
    format_bytes,
    line_printer,
    pluralize,
    report_elapsed_time,
    show_activity,
)

if TYPE_CHECKING:
    from jaxcifar.bench.absent_program import AbsentProgram

HELP_EXAMPLES = (
    ("--target v5e:2x4 --arch resnet18", "8 chips of a TPU v5e; needs the extra tpu"),
    ("--target h100 --arch cnn --at-once 8", "8 runs on an H100; needs the extra cuda"),
)
COMMON_OPTIONS = (
    *("--target", "--arch", "--arch-args", "--recipe", "--batch-size", "--dtype", "--at-once"),
    *("--json", "--hlo"),
)

# Settings that this command ignores: its program trains on CIFAR-10 with unchanged labels.
_IGNORED_SETTINGS = (
    *("dataset", "image_size", "train_examples", "val_fraction", "fold", "init", "continue_from"),
    *("patience", "label_noise", "class_weights", "mixup", "cutmix"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar compile`."""
    description = (
        "Compile the training program for a TPU or an H100 that is not here, and print\n"
        "what its compiler says: memory, kernels, bytes, exchanges, and the least time of\n"
        "a step."
    )
    parser = Parser("compile", description, HELP_EXAMPLES, COMMON_OPTIONS)
    target = parser.add_argument(
        "--target",
        required=True,
        metavar="NAME",
        help=f"devices to compile for, such as {', '.join(EXAMPLES)}",
    )
    suggest(target, EXAMPLES)
    add_config_options(parser, without=_IGNORED_SETTINGS)
    parser.add_argument(
        "--at-once",
        type=parse_count,
        default=1,
        metavar="N",
        help="number of runs that train together (default: 1)",
    )
    add_json_file(parser)
    parser.add_argument(
        "--hlo",
        type=parse_path,
        metavar="FILE",
        help="write the compiled program, as XLA's text, to FILE (default: no file)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Compile a training program for devices that this machine does not have, and describe it."""
    options = parser().parse_args(argv)
    target = Target.parse(options.target)
    config = Config.create(**pop_settings(options))
    require_folder_of("--json", options.json)
    require_folder_of("--hlo", options.hlo)
    _make_jax_use_only_the_cpu()
    compiler = compiler_version(target)
    program = _compile_program(config, target, options.at_once, compiler)
    _show_program(screen(), config, program)
    write_json(options.json, {"arch": config.arch, "compiler": compiler, **program.as_record()})
    if options.hlo:
        with explain_write_errors(f"--hlo {options.hlo}"):
            write_text(options.hlo, program.text)


def _make_jax_use_only_the_cpu() -> None:
    """Keep JAX, which must not be imported yet, from looking for a GPU or TPU.

    Compiling for absent devices needs no device, and JAX could wait for one that is in use.
    """
    os.environ["JAX_PLATFORMS"] = "cpu"


def _compile_program(
    config: Config, target: Target, run_count: int, compiler: str
) -> "AbsentProgram":
    """Compile and return the program that trains runs with a config; show the progress.

    Args:
      config: the settings of the runs.
      target: the devices to compile for.
      run_count: number of runs that train together in the program.
      compiler: the compiler's version, for the text on the screen.
    """
    with show_activity("importing JAX"):
        from jaxcifar.bench.absent_program import compile_for

        start_jax()
    console = screen()
    print_line = line_printer(console)
    print_line(
        f"compiling {config.arch}, batch size {config.batch_size:,}, for {target.title} "
        f"({target.name}) with {compiler}; this takes a minute or two"
    )
    activity = f"compiling {config.arch}"
    with report_elapsed_time(console, print_line, activity), show_activity(activity):
        return compile_for(target, config, run_count)


def _show_program(console: Console, config: Config, program: "AbsentProgram") -> None:
    """Print the memory and kernels of a compiled training program, and its least time per step."""
    print_line = line_printer(console)
    target = program.target
    print_line(
        f"{config.arch} in {program.dtype}, compiled in {program.compile_seconds:.0f} s; all "
        "figures are those of one device"
    )
    needed_bytes = program.persistent_bytes + program.step_bytes
    print_line(
        f"memory: {format_bytes(needed_bytes)} of {format_bytes(target.chip.memory)}: "
        f"{format_bytes(program.persistent_bytes)} images, weights and optimizer state, "
        f"{format_bytes(program.step_bytes)} more during a step"
    )
    console.print(_table_of_kernels(program))
    if program.branch_kernels:
        print_line(
            f"{program.branch_kernels:,} of the kernels are in branches that only some steps take"
        )
    for kind, byte_counts in _exchanged_bytes_by_kind(program).items():
        exchanges = pluralize(len(byte_counts), kind)
        total_bytes = sum(byte_counts)
        print_line(f"exchanges between devices: {exchanges} a step, {total_bytes:,} bytes together")
    _show_least_time(program, print_line)


def _table_of_kernels(program: "AbsentProgram") -> Table:
    """Return a table of the kernels of a training step by kind, with the bytes that they move."""
    number_columns = ("kernels", "bytes moved", "share")
    table = make_table("kernels of a training step", ("kind",), number_columns)
    for kind_total in program.kinds:
        kind, kernel_count, kind_bytes = kind_total.kind, kind_total.kernels, kind_total.bytes
        share = kind_bytes / max(program.moved_bytes, 1)
        table.add_row(kind, f"{kernel_count:,}", format_bytes(kind_bytes), f"{share:.0%}")
    table.add_row("all", f"{program.kernel_count:,}", format_bytes(program.moved_bytes), "")
    return table


def _exchanged_bytes_by_kind(program: "AbsentProgram") -> dict[str, list[int]]:
    """Return the bytes of each exchange between devices, by XLA's name of the kind of exchange."""
    bytes_by_kind: defaultdict[str, list[int]] = defaultdict(list)
    for exchange in program.exchanged:
        bytes_by_kind[exchange.kind].append(exchange.bytes)
    return dict(bytes_by_kind)


def _show_least_time(program: "AbsentProgram", print_line: PrintLine) -> None:
    """Print the shortest possible time of a training step on the device.

    It follows from the device's published rates of arithmetic, memory access and exchanges.
    """
    target = program.target
    least_seconds = program.least_seconds
    least_time_text = {part: f"{1e3 * seconds:.3g} ms" for part, seconds in least_seconds.items()}
    gigaflops = program.flops / 1e9
    teraflops_per_second = target.machine.flops / 1e12
    gigabytes_per_second = target.chip.bandwidth / 1e9
    print_line(
        "at the published limits a step takes at least: arithmetic "
        f"{least_time_text['arithmetic']} ({gigaflops:,.0f} GFLOP at {teraflops_per_second:,.0f} "
        f"TFLOP/s), memory {least_time_text['memory']} (at {gigabytes_per_second:,.0f} GB/s), "
        f"exchanges {least_time_text['exchanges']} (a model)"
    )
    # A device computes while it reads memory, so only the slower of the two counts.
    is_memory_slower = least_seconds["memory"] > least_seconds["arithmetic"]
    slower_part = "memory" if is_memory_slower else "arithmetic"
    step_seconds = least_seconds[slower_part] + least_seconds["exchanges"]
    images_per_step = program.run_count * program.batch_size
    images_per_second = images_per_step / step_seconds
    print_line(
        f"so {slower_part} is the limit, and at most {images_per_second:,.0f} images/s are "
        "possible; this is a bound, not a measurement"
    )
