"""Train one network: `python -m experiments.run --arch resnet18`."""

import sys
from collections.abc import Callable, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.panel import Panel

from experiments.cli import (
    Parser,
    add_config_options,
    add_data_dir,
    add_devices,
    count,
    location,
    run_command,
    use_huge_pages,
)
from jaxcifar.config import Config


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a command line into what the config takes and what only this command does."""
    parser = Parser(prog="python -m experiments.run", description=__doc__)
    add_config_options(parser, dataset=("auto",))
    where = parser.add_argument_group("where things are")
    add_data_dir(where)
    where.add_argument(
        "--run-dir", type=location, help="folder of the run (default: checkpoints/ and a name)"
    )
    where.add_argument(
        "--overwrite", action="store_true", help="delete what an earlier run left in the folder"
    )
    devices = parser.add_argument_group("devices and processes")
    add_devices(devices)
    devices.add_argument("--coordinator", metavar="HOST:PORT", help="of process 0")
    devices.add_argument(
        "--processes", type=count, metavar="N", help="that train together (default: the cluster's)"
    )
    devices.add_argument("--process-id", type=int, metavar="I", help="of this one, from 0")
    options = vars(parser.parse_args(argv))
    names = ("data_dir", "run_dir", "overwrite", "devices")
    here = {name: options.pop(name) for name in (*names, "coordinator", "processes", "process_id")}
    return options, here


def main(argv: Sequence[str]) -> None:
    """Train as the command line says, or show the result of the run that did so before."""
    overrides, here = parse(argv)
    # Complain before anything slow happens.
    batch_size = Config.create(**{**overrides, "dataset": "cifar10"}).batch_size

    # JAX and what stands on it take seconds to import: only now.
    from jaxcifar.machine import environment, processes

    processes.join(here["coordinator"], here["processes"], here["process_id"])
    environment.use_cpu_cores(batch_size, here["devices"])
    environment.use_compilation_cache()
    with processes.telling_of_lost_ones():
        processes.wait("all are here")  # later on one may wait for another for long, at first not
        train(overrides, here)


def train(overrides: dict[str, Any], here: dict[str, Any]) -> None:
    """What each of the processes does, of which the first prints."""
    from jaxcifar.data import CATALOG, choose_dataset, load_dataset
    from jaxcifar.machine import processes
    from jaxcifar.machine.environment import first_devices
    from jaxcifar.runs.fit import fit
    from jaxcifar.runs.folder import RunFolder, own_folder
    from jaxcifar.runs.run import Task

    console = Console(highlight=False, quiet=not processes.first())
    say = partial(console.print, soft_wrap=True, markup=False)
    devices = first_devices(here["devices"])
    if overrides.get("dataset") == "auto":
        with processes.after_the_first():
            overrides["dataset"] = choose_dataset(here["data_dir"], say)
    config = Config.create(**overrides)
    path = here["run_dir"] or Path("checkpoints", config.run_name())
    folder, overwrite = RunFolder(path), here["overwrite"]
    folder.check(config, overwrite)
    say(f"{config.arch} on {CATALOG[config.dataset].title}, in {path}")
    if config.dataset != "cifar10":
        console.print(not_cifar10(CATALOG[config.dataset].title))
    result = None if overwrite else folder.finished_result()
    if result is None:
        with processes.after_the_first():
            dataset = load_dataset(config, here["data_dir"], say)
        with own_folder(path, config) as own:
            result = fit(Task(config, own, overwrite=overwrite), dataset, console, devices)
    else:
        say("This run is finished; --overwrite trains anew.")
    show(say, result, path)


def not_cifar10(title: str) -> Panel:
    """The notice that can't be missed."""
    return Panel(
        f"These are NOT CIFAR-10 results: the images are {title}.", style="bold red", expand=False
    )


def show(say: Callable[[str], None], result: dict[str, Any], path: Path) -> None:
    """Print a result."""
    last = result["last_epoch"]
    say(f"test accuracy   {result['test_accuracy']:.2%} on {result['dataset']}")
    say(
        f"chosen          epoch {result['selected_epoch']}, validation accuracy "
        f"{result['val_accuracy']:.2%} ({result['selection_rule']})"
    )
    say(f"last epoch      {last['test_accuracy']:.2%} after epoch {last['epoch']}")
    say(
        f"time            {result['wall_seconds']:,.0f} s, {result['images_per_second']:,.0f} "
        f"images/s on {result['device']}, {result['compute_dtype']}"
    )
    say(f"files           {path}/: result.json, metrics.jsonl, accuracy.png, loss.png, model.png")


if __name__ == "__main__":
    use_huge_pages()
    run_command(lambda: main(sys.argv[1:]))
