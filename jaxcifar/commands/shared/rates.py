"""The tables of speeds that `jaxcifar bench` prints."""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table
from rich.text import Text

from jaxcifar.commands.shared.output import draw_picture, make_table
from jaxcifar.errors import printable
from jaxcifar.machine.terminal import PrintLine, line_printer


def show_speeds(console: Console, results: Mapping[str, Any]) -> None:
    """Print benchmark results in a table for each network, at most 80 characters wide.

    `results` is the content of the file that `jaxcifar bench --json` writes.
    """
    print_line = line_printer(console)
    print_line(f"{results['device']}, jax {results['versions']['jax']}")
    networks = dict.fromkeys(row["arch"] for row in results["rows"])
    for arch in networks:
        rows = [row for row in results["rows"] if row["arch"] == arch]
        console.print(_network_table(arch, sorted(rows, key=lambda row: row["phase"])))
        named_rows = [(f"{row['implementation']} {row['dtype']}", row) for row in rows]
        _print_unmeasured(named_rows, print_line)
    if results["programs"]:
        console.print(_programs_table(results["programs"]))
        named_programs = [(", ".join(program["runs"]), program) for program in results["programs"]]
        _print_unmeasured(named_programs, print_line)
    _show_ratios_to_pytorch(print_line, results["ratio"])
    jaxcifar_results_by_arch = results["ours"]
    for arch, jaxcifar_results in jaxcifar_results_by_arch.items():
        _show_startup_and_parallel_runs(print_line, arch, jaxcifar_results)


def _show_ratios_to_pytorch(
    print_line: PrintLine, ratios_by_arch: Mapping[str, Mapping[str, dict[str, Any]]]
) -> None:
    """Print the speed of each network and phase in relation to PyTorch's."""
    for arch, ratios_by_phase in ratios_by_arch.items():
        for phase, ratios in ratios_by_phase.items():
            print_line(
                f"{arch} {phase}: {_ratio_text(ratios, 'float32')} x PyTorch's best float32, "
                f"{_ratio_text(ratios, 'any')} x its best of any precision"
            )


def _show_startup_and_parallel_runs(
    print_line: PrintLine, arch: str, results: Mapping[str, Any]
) -> None:
    """Print how long jaxcifar needs to start and for an epoch, and the speed of runs at once."""
    first_step = results["first_step_seconds"]
    print_line(
        f"{arch}: first step after {first_step['cold']:.1f} s, {first_step['warm']:.1f} s with a "
        f"warm compilation cache; a run's epoch of {results['epoch_images']:,} images takes "
        f"{results['epoch_seconds']:.2f} s; a run of two epochs spends "
        f"{results['seconds_beyond_steps']:.2f} s on other work than training steps"
    )
    parallel_runs = [
        (f"{arch}, {measured['runs']} at once", measured) for measured in results["at_once"]
    ]
    for _, measured in parallel_runs:
        print_line(f"{arch}: {measured['runs']} at once, {_rate_text(measured)} images/s")
    _print_unmeasured(parallel_runs, print_line)


def draw_speeds(results: dict[str, Any], path: Path) -> None:
    """Draw the measured speeds of all networks into the file of `--plot`."""
    from jaxcifar.bench.bench_chart import plot_rates

    title = f"{results['device']}, jax {results['versions']['jax']}"
    draw_picture("--plot", path, plot_rates, results["rows"], title)


def _print_unmeasured(
    named_results: list[tuple[str, dict[str, Any]]], print_line: PrintLine
) -> None:
    """Print which programs were not timed, and why.

    If a speed is an estimate, also print what its mark "~" in the table means.

    Args:
      named_results: (name, results) of each program that was to be timed.
      print_line: prints a line.
    """
    reason_by_name = {
        name: measured["left_out"] for name, measured in named_results if "left_out" in measured
    }
    for name, reason in reason_by_name.items():
        print_line(f"{name} was left out of the rounds: {reason}")
    has_estimate = any(
        measured["rounds"] == 0 and measured["images_per_second"] is not None
        for _, measured in named_results
    )
    if has_estimate:
        print_line("~ marks an estimate from the first steps")


def _rate_text(measured: dict[str, Any]) -> str:
    """Return the measured images per second as text.

    The text begins with "~" if only the first steps were measured; "-" means no measurement.
    """
    estimate_mark = "" if measured["rounds"] else "~"
    return _text_or_dash(measured["images_per_second"], lambda rate: f"{estimate_mark}{rate:,.0f}")


def _text_or_dash(value: float | None, text_of: Callable[[float], str]) -> str:
    """Return a number as text by calling `text_of`; "-" for None."""
    return "-" if value is None else text_of(value)


def _ratio_text(ratios: dict[str, Any], name: str) -> str:
    """Return the ratio `name` as text, such as "1.10 (1.02-1.15)" with its range over the rounds.

    If the range is unknown, only the ratio is returned.
    """
    spread = ratios[f"{name}_spread"]
    return f"{ratios[name]:.2f} ({_range_text(spread)})" if spread else f"{ratios[name]:.2f}"


def _range_text(spread: Sequence[float]) -> str:
    """Return (lowest, highest) as text, such as "1.02-1.10"."""
    return f"{spread[0]:.2f}-{spread[1]:.2f}"


def _gigabytes_text(memory_bytes: float) -> str:
    """Return a number of bytes as gigabytes, such as "1.25"."""
    return f"{memory_bytes / 1e9:.2f}"


def _network_table(arch: str, rows: list[dict[str, Any]]) -> Table:
    """Return the table of one network's speeds, with a line for each measurement."""
    text_columns = ("phase", "implementation", "precision")
    number_columns = ("images/s", "ours\nover it", "from-to", "peak\nGB")
    table = make_table(arch, text_columns, number_columns, wrap_text=False)
    for row in rows:
        table.add_row(
            row["phase"],
            row["implementation"],
            row["dtype"],
            _rate_text(row),
            _text_or_dash(row["ratio"], "{:.2f}".format) if "ratio" in row else "",
            _range_text(row["ratio_spread"]) if row.get("ratio_spread") else "",
            _text_or_dash(row["peak_memory_bytes"], _gigabytes_text),
        )
    return table


def _programs_table(programs: list[dict[str, Any]]) -> Table:
    """Return a table of the speed of each compiled program, with the runs that use the program."""
    number_columns = ("batch", "precision", "images/s", "from-to")
    table = make_table("", ("rows",), number_columns)
    for program in programs:
        spread = program["spread"] if program["rounds"] else None
        table.add_row(
            Text(printable(", ".join(program["runs"]))),
            str(program["batch_size"]),
            program["dtype"],
            _rate_text(program),
            f"{spread[0]:,.0f}-{spread[1]:,.0f}" if spread else "-",
        )
    return table
