"""Train one network: `jaxcifar run --arch resnet18`."""

import argparse
import dataclasses
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import (
    add_data_dir,
    add_device_count,
    add_keep_options,
    add_run_dir,
    add_user_metrics,
    check_keep_options,
    data_folder,
    parse_count,
    parse_number_from_zero,
)
from jaxcifar.commands.shared.config_file import add_config_file, read_given_settings
from jaxcifar.commands.shared.default_network import require_chosen_network
from jaxcifar.commands.shared.dry_run import add_dry_run
from jaxcifar.commands.shared.options import add_config_options, add_observers, pop_settings
from jaxcifar.commands.shared.output import not_cifar10_notice, screen
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.shared.run_plan import show_run_plan
from jaxcifar.commands.shared.run_result import show_metric, show_result
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import KINDS
from jaxcifar.config.saved_config import config_of_begun_run
from jaxcifar.machine.paths import require_image_path
from jaxcifar.machine.terminal import PrintLine, line_printer, show_activity

if TYPE_CHECKING:
    from jaxcifar.build.user_metrics import UserMetric

HELP_EXAMPLES = (
    ("--arch cnn --recipe strong", "the CNN with our best settings: 91% on CIFAR-10"),
    (
        "--arch cnn --dataset auto --epochs 2 --run-dir first",
        "a first try in minutes: CIFAR-10 or, if it can't be loaded, drawn images",
    ),
    ("--arch resnet18", "the best run of the reference report; hours on a CPU, so use a GPU"),
)
COMMON_OPTIONS = (
    *("--arch", "--recipe", "--dataset", "--train-examples", "--epochs", "--batch-size"),
    *("--learning-rate", "--augment", "--dtype", "--seed", "--run-dir", "--overwrite"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar run`."""
    description = "Train a network. The same command resumes a stopped run."
    parser = Parser("run", description, HELP_EXAMPLES, COMMON_OPTIONS)
    add_config_options(parser, has_auto_dataset=True)
    plan = parser.add_argument_group("plan")
    add_config_file(plan)
    add_dry_run(plan)
    files = parser.add_argument_group("files")
    add_data_dir(files)
    add_run_dir(files, default="checkpoints/ and a name made from the options")
    add_keep_options(files)
    add_observers(files)
    add_user_metrics(parser.add_argument_group("metrics"))
    devices = parser.add_argument_group("devices and processes")
    add_device_count(devices)
    devices.add_argument(
        "--coordinator", metavar="HOST:PORT", help="address of process 0 (default: the cluster's)"
    )
    devices.add_argument(
        "--processes",
        type=parse_count,
        metavar="N",
        help="number of processes that train together (default: the cluster's)",
    )
    devices.add_argument(
        "--process-id",
        type=parse_number_from_zero,
        metavar="I",
        help="number of this process, from 0 (default: the cluster's)",
    )
    return parser


def parse(argv: Sequence[str]) -> tuple[dict[str, Any], argparse.Namespace]:
    """Parse a command line into the settings for `Config`, and a namespace of the other options."""
    options = parser().parse_args(argv)
    return pop_settings(options), options


def main(argv: Sequence[str]) -> None:
    """Train a network and print the result; for a finished run, only print the result."""
    settings, options = parse(argv)
    check_keep_options(options)
    if settings.get("dataset") == "auto" and settings.get("continue_from"):
        del settings["dataset"]  # the run to continue has chosen the data set
    earlier_config = None
    may_resume_run = options.run_dir is not None and not options.overwrite
    if may_resume_run:
        earlier_config = config_of_begun_run(options.run_dir, Config)
    given_settings = read_given_settings(settings, options, earlier_config)
    config, is_auto_dataset = given_settings.config, given_settings.is_auto_dataset
    options.data_dir = data_folder(options.data_dir, config.dataset)
    is_finished = (_run_folder(options, config) / "result.json").exists()
    if config.dataset not in KINDS["dataset"] and not is_finished:
        require_image_path(config.dataset)
    with show_activity("importing JAX"):
        from jaxcifar.build.user_metrics import load_metrics
        from jaxcifar.machine import environment, processes
        from jaxcifar.machine.lost import report_lost_processes
        from jaxcifar.runs import fit  # noqa: F401 - imported here so that the status line covers it
        from jaxcifar.runs.joint_run import require_same_start

    print_line = line_printer(Console())
    processes.join_processes(options.coordinator, options.processes, options.process_id, print_line)
    environment.use_cpu_cores(config.batch_size, options.devices, config.accumulate)
    with report_lost_processes():
        start_jax()
        if processes.is_first_process():
            for notice in given_settings.notices:
                print_line(notice)
        if options.dry_run:
            show_run_plan(given_settings, _run_folder(options, config))
            return
        if not is_finished:
            require_chosen_network(given_settings.all_settings, config, argv)
        user_metrics = load_metrics(options.metric)
        require_same_start(
            config,
            is_auto_dataset,
            options.devices,
            user_metrics,
            options.keep_every,
            options.overwrite,
        )
        train(config, is_auto_dataset, options, user_metrics, given_settings.recorded_config)


def _run_folder(options: argparse.Namespace, config: Config) -> Path:
    """Return the folder of `--run-dir`; by default, a folder with a name made from the settings."""
    return options.run_dir or Path("checkpoints", config.run_name())


def train(
    config: Config,
    is_auto_dataset: bool,
    options: argparse.Namespace,
    user_metrics: "tuple[UserMetric, ...]",
    recorded_config: Config | None = None,
) -> None:
    """Train a network and print the result; processes that train together all call this function.

    Args:
      config: settings of the run.
      is_auto_dataset: True to train on shapes10, a generated data set, if CIFAR-10 can't be loaded.
      options: the options that are not settings of the config.
      user_metrics: metrics of the user, measured in addition to the built-in ones.
      recorded_config: the config of the earlier run that `--config` names; None if it names none.
    """
    from jaxcifar.data import Dataset, dataset_title, load_dataset
    from jaxcifar.machine import processes
    from jaxcifar.machine.environment import first_devices
    from jaxcifar.machine.interrupt import stop_signal
    from jaxcifar.runs.fit import fit
    from jaxcifar.runs.joint_run import call_in_first_process, task_of_process
    from jaxcifar.runs.observers import create_observers, find_factories
    from jaxcifar.runs.task import Task

    console_of_this_process = screen()
    console = console_of_this_process if processes.is_first_process() else Console(quiet=True)
    print_line = line_printer(console)
    devices = first_devices(options.devices)
    if is_auto_dataset:
        dataset_name = _choose_dataset(options.data_dir, print_line)
        config = dataclasses.replace(config, dataset=dataset_name)
    run_folder = _run_folder(options, config)
    title = dataset_title(config.dataset)
    print_line(f"{config.network_title} on {title}, in {run_folder}")
    if config.dataset == "shapes10":
        console.print(not_cifar10_notice(title))

    def load_images() -> Dataset:
        with processes.first_process_first():
            dataset = load_dataset(config, options.data_dir, print_line)
        if not dataset.is_from_catalog:
            processes.require_same_settings({"the SHA-256 of the images": dataset.sha256})
        recorded_sha256 = recorded_config.data_sha256 if recorded_config else None
        is_recorded = recorded_sha256 is not None
        if is_recorded and dataset.sha256 != recorded_sha256:
            print_line("The images have changed since the run that --config names.")
        return dataset

    observers = call_in_first_process(lambda: create_observers(find_factories(options.observers)))
    task = Task(
        config,
        run_folder,
        overwrite=options.overwrite,
        keep_best=options.keep == "best",
        observers=observers or (),
        user_metrics=user_metrics,
        keep_every=options.keep_every,
    )
    # Every process stops at its own Ctrl-C and reports that on its own screen.
    stopping = stop_signal(console_of_this_process)
    with task_of_process(task) as own_task:
        result = fit(own_task, load_images, console, devices, lambda _: stopping)
    show_result(print_line, result, run_folder)
    for user_metric in user_metrics:
        show_metric(print_line, result, user_metric, run_folder)


def _choose_dataset(data_dir: Path, print_line: PrintLine) -> str:
    """Return "cifar10", or "shapes10" if one of the training processes can't load CIFAR-10."""
    from jaxcifar.data import choose_dataset
    from jaxcifar.machine import processes

    with processes.first_process_first():  # it downloads CIFAR-10 if needed
        dataset_of_this_process = choose_dataset(data_dir, print_line)
    is_cifar10_missing_here = dataset_of_this_process != "cifar10"
    [is_missing_in_any_process] = processes.any_process(is_cifar10_missing_here)
    if is_missing_in_any_process and not is_cifar10_missing_here:
        print_line("CIFAR-10 can't be loaded in another process")
    return "shapes10" if is_missing_in_any_process else "cifar10"
