"""Train one network: `python -m experiments.run --arch resnet18`."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.panel import Panel

from jaxcifar.commands.shared.cli import (
    add_data_dir,
    add_devices,
    add_keep,
    count,
    data_folder,
    location,
    ordinal,
    start_jax,
)
from jaxcifar.commands.shared.metric_option import add_metric, show_metric
from jaxcifar.commands.shared.options import add_config_options, add_observers
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.machine.paths import require_image_path
from jaxcifar.machine.terminal import line_printer, show_activity

if TYPE_CHECKING:
    from jaxcifar.runs.saved import Result

EXAMPLES = (
    ("--arch cnn --recipe strong", "the CNN by the best settings we know: 91% of CIFAR-10"),
    (
        "--arch cnn --dataset auto --epochs 2 --run-dir first",
        "a first try, in minutes: CIFAR-10 or, offline, drawn images",
    ),
    ("--arch resnet18", "the reference's best run; use a GPU: it takes hours on a CPU"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser(
        "run", "Train one network. The same command resumes a run that was stopped.", EXAMPLES
    )
    add_config_options(parser)
    where = parser.add_argument_group("where things are")
    add_data_dir(where)
    where.add_argument(
        "--run-dir",
        type=location,
        metavar="DIR",
        help="folder of the run (default: checkpoints/ and a name made from the options)",
    )
    where.add_argument(
        "--overwrite", action="store_true", help="delete an earlier run in the folder"
    )
    add_keep(where)
    add_observers(where)
    add_metric(parser.add_argument_group("what is measured"))
    devices = parser.add_argument_group("devices and processes")
    add_devices(devices)
    devices.add_argument("--coordinator", metavar="HOST:PORT", help="where process 0 listens")
    devices.add_argument(
        "--processes", type=count, metavar="N", help="how many there are (default: the cluster's)"
    )
    devices.add_argument(
        "--process-id", type=ordinal, metavar="I", help="its number among them, from 0"
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], dict[str, Any]]:
    """Split a command line into what the config takes and what only this command does."""
    options = vars(parser().parse_args(argv))
    names = ("data_dir", "run_dir", "overwrite", "keep", "observers", "metric", "devices")
    here = {name: options.pop(name) for name in (*names, "coordinator", "processes", "process_id")}
    return options, here


def main(argv: Sequence[str]) -> None:
    """Train as the command line says, or show the result of the run that did so before."""
    overrides, here = parse(argv)
    auto = overrides.get("dataset") == "auto"
    config = Config.create(**{**overrides, "dataset": "cifar10"} if auto else overrides)
    here["data_dir"] = data_folder(here["data_dir"])
    path = here["run_dir"] or Path("checkpoints", config.run_name())
    is_finished = (path / "result.json").exists()  # then its images are not needed
    if config.dataset not in KINDS["dataset"] and not is_finished:
        require_image_path(config.dataset)
    with show_activity("importing JAX"):  # and what stands on it, which takes seconds
        from jaxcifar.build.user_metrics import load_metrics
        from jaxcifar.machine import environment, processes
        from jaxcifar.machine.lost import report_lost_processes
        from jaxcifar.runs import fit  # noqa: F401 - imported here so that the status line covers it
        from jaxcifar.runs.joint_run import require_same_start

    say = line_printer(Console(emoji=False))
    processes.join_processes(here["coordinator"], here["processes"], here["process_id"], say)
    environment.use_cpu_cores(config.batch_size, here["devices"])
    with report_lost_processes():
        start_jax()
        here["metric"] = load_metrics(here["metric"])
        require_same_start(config, auto, here["devices"], here["metric"])
        train(config, auto, here)


def train(config: Config, auto: bool, here: dict[str, Any]) -> None:
    """Train in each of the processes; only the first process prints.

    Args:
      config: what to train.
      auto: whether on CIFAR-10 or, if it can't be had, the embedded images.
      here: what only this command does.
    """
    from jaxcifar.data import Dataset, choose_dataset, dataset_title, load_dataset
    from jaxcifar.machine import processes
    from jaxcifar.machine.environment import first_devices
    from jaxcifar.machine.interrupt import stop_signal
    from jaxcifar.runs.fit import fit
    from jaxcifar.runs.joint_run import only_by_the_first, own_task
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.runs.task import Task

    screen = Console(emoji=False, highlight=False)
    console = screen if processes.is_first_process() else Console(quiet=True)
    say = line_printer(console)
    devices = first_devices(here["devices"])
    if auto:
        with processes.first_process_first():
            dataset = choose_dataset(here["data_dir"], say)
        if any(processes.any_process(dataset != "cifar10")) and dataset == "cifar10":
            say("CIFAR-10 can't be had in another process")
            dataset = "shapes10"
        config = dataclasses.replace(config, dataset=dataset)
    path = here["run_dir"] or Path("checkpoints", config.run_name())
    title = dataset_title(config.dataset)
    say(f"{config.network_title} on {title}, in {path}")
    if config.dataset == "shapes10":
        console.print(not_cifar10(title))

    def load() -> Dataset:
        with processes.first_process_first():
            dataset = load_dataset(config, here["data_dir"], say)
        if not dataset.is_known:
            processes.require_same_settings({"the SHA-256 of the images": dataset.sha256})
        return dataset

    observers = only_by_the_first(lambda: create_observers(find_factories(here["observers"]))) or ()
    task = Task(
        config,
        path,
        overwrite=here["overwrite"],
        keep_best=here["keep"] == "best",
        observers=observers,
        metrics=here["metric"],
    )
    # Each process stops at its own Ctrl-C and says so on its screen, also those whose `console` is
    # quiet.
    with own_task(task) as task:
        result = fit(task, load, console, devices, lambda _: stop_signal(screen))
    show(say, result, path)
    for user in here["metric"]:
        show_metric(say, result, user, path)


def not_cifar10(title: str) -> Panel:
    """The notice that can't be missed."""
    return Panel(
        f"NOT CIFAR-10: the images are {title.partition(' (')[0]}, drawn by a program.",
        style="bold red",
        expand=False,
    )


def show(say: Callable[[str], None], result: "Result", path: Path) -> None:
    """Print a result."""
    import numpy as np

    from jaxcifar.runs.result import only_answer
    from jaxcifar.runs.saved import class_names

    say(f"test accuracy   {result['test_accuracy']:.2%} on {result['dataset']}")
    if "test_accuracy_flip" in result:
        say(f"with flips      {result['test_accuracy_flip']:.2%}, each image seen from both sides")
    if "converted" in result:
        say(f"weights         converted from {result['converted']['file']}, not trained here")
        say(f"files           result.json, weights.safetensors, model.png in {path}/")
        return
    if (label := only_answer(np.asarray(result["confusion_matrix"]))) is not None:
        name = class_names(result)[label]
        say(f"collapsed       it takes every image for {name}: nothing was learnt")
    last, validated = result["last_epoch"], result.get("val_accuracy")
    by = "" if validated is None else f", validation accuracy {validated:.2%}"
    say(f"chosen          epoch {result['selected_epoch']}{by} ({result['selection_rule']})")
    say(f"last epoch      {last['test_accuracy']:.2%} after epoch {last['epoch']}")
    say(
        f"time            {result['wall_seconds']:,.0f} s, {result['images_per_second']:,.0f} "
        f"images/s on {result['device']}, {result['compute_dtype']}"
    )
    written = "result.json, weights.safetensors, metrics.jsonl, accuracy.png, loss.png, model.png"
    say(f"files           {written} in {path}/")
