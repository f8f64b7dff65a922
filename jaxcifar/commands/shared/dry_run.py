"""The option `--dry-run`: show what would be trained, and what it takes in time and memory."""

import dataclasses
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.text import Text

from jaxcifar.commands.shared.output import make_table
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.config.experiment import Config
from jaxcifar.config.origins import SettingOrigin, value_text
from jaxcifar.errors import printable
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.terminal import (
    PrintLine,
    duration,
    format_bytes,
    line_printer,
    pluralize,
    show_activity,
)

if TYPE_CHECKING:  # they would import JAX
    import jax

    from jaxcifar.bench.trial_steps import Trial
    from jaxcifar.runs.task import Task

_MOST_PROGRAMS = 8  # that are compiled and timed
_MOST_NAMES = 4  # of rows in a line


def add_dry_run(parser: OptionHolder) -> None:
    parser.add_argument(
        "--dry-run",
        action="store_true",
        help="show the settings, where they come from, and the time and memory that training "
        "takes, by compiling and timing a few steps; no run is trained or written",
    )


def show_settings(console: Console, rows: Mapping[str, Sequence[SettingOrigin]]) -> None:
    """Print a table of the settings that all rows of a study share, and a table of the others.

    Args:
      console: where to print.
      rows: name of a row of the study -> settings of the row. For a single run, the mapping has one
        entry, with any name.
    """
    by_name: dict[str, dict[str, SettingOrigin]] = {}
    for row, settings in rows.items():
        for setting in settings:
            by_name.setdefault(setting.name, {})[row] = setting
    table = make_table("", ("setting", "value", "from"), ())
    varying = []
    for name, by_row in by_name.items():
        distinct = {(setting.value, setting.origin) for setting in by_row.values()}
        if len(distinct) == 1 and len(by_row) == len(rows):
            [(value, origin)] = distinct
            table.add_row(name, Text(printable(value_text(value))), Text(printable(origin)))
        else:
            varying.append(name)
    console.print(table)
    if varying:
        by_row_table = make_table("Settings that differ between rows", ("row", *varying), ())
        for row in rows:
            of_row = [by_name[name].get(row) for name in varying]
            cells = ["-" if setting is None else value_text(setting.value) for setting in of_row]
            by_row_table.add_row(*[Text(printable(cell)) for cell in (row, *cells)])
        console.print(by_row_table)


def show_costs(
    console: Console,
    tasks: "Sequence[Task]",
    data_dir: Path,
    devices: "Sequence[jax.Device]",
    at_once: int,
) -> None:
    """Compile and time a few steps of each program, and print the time and memory of the runs.

    Args:
      console: where to print.
      tasks: the runs; finished ones cost nothing.
      data_dir: folder of data sets.
      devices: devices to train on.
      at_once: largest number of runs that are trained together.

    Raises:
      UsageError: a run can't be trained with these settings.
      RunError: the devices have too little memory.
    """
    from jaxcifar.machine.environment import describe_devices
    from jaxcifar.studies.waiting import is_unfinished

    print_line = line_printer(console)
    left = [task for task in tasks if is_unfinished(task)]
    if len(left) < len(tasks):
        print_line(f"finished        {len(tasks) - len(left)} of {pluralize(len(tasks), 'run')}")
    if not left:
        return
    print_line(
        f"on {describe_devices(devices)}. Estimates are marked with ≈: from steps that are timed "
        "now. Memory is what XLA counts for the compiled program."
    )
    groups: dict[Config, list[Task]] = {}
    for task in left:
        groups.setdefault(_speed_key(task.config), []).append(task)
    total = 0.0
    for group in list(groups.values())[:_MOST_PROGRAMS]:
        trial = _try(console, group[0].config, data_dir, devices, min(at_once, len(group)))
        if trial is None:
            return
        seconds = trial.compile_seconds
        epochs_of_runs = [_new_epochs(task.config) for task in group]
        for epochs in set(epochs_of_runs):
            seconds += trial.seconds(epochs, epochs_of_runs.count(epochs))
        total += seconds
        if len(groups) > 1:
            names = join_names((task.name for task in group), _MOST_NAMES)
            print_line(f"{names}:")
        _show_trial(print_line, group, trial, seconds)
    if len(groups) > _MOST_PROGRAMS:
        print_line(f"{len(groups) - _MOST_PROGRAMS} more programs were not timed.")
    elif len(groups) > 1:
        print_line(f"all together    ≈ {duration(total)}, for {pluralize(len(left), 'run')}")


def _new_epochs(config: Config) -> int:
    """Return the number of epochs that a run trains, without the epochs of a continued run."""
    return config.epochs - (config.continue_epochs or 0)


def _speed_key(config: Config) -> Config:
    """Return a config that is equal for runs whose training steps take the same time."""
    shared = config.shared_part()
    fold = f"1/{config.fold.partition('/')[2]}" if config.fold else ""
    return dataclasses.replace(shared, epochs=1, fold=fold)


def _try(
    console: Console,
    config: Config,
    data_dir: Path,
    devices: "Sequence[jax.Device]",
    at_once: int,
) -> "Trial | None":
    """Time a few training steps of a run.

    If images of the user are not prepared, print a line and return None. If CIFAR-10 or another
    data set of the catalogue is not prepared, train on random noise of the same size instead.

    Args:
      console: where to print.
      config: the settings of the run.
      data_dir: folder of data sets.
      devices: devices to train on.
      at_once: number of runs that are trained together.
    """
    from jaxcifar.bench.trial_steps import random_dataset_like, time_trial_steps
    from jaxcifar.data import CATALOG, NotPreparedError, load_dataset

    print_line = line_printer(console)
    try:
        dataset = load_dataset(config, data_dir, print_line, may_prepare=False)
    except NotPreparedError as reason:
        if config.dataset not in CATALOG:
            command = f"{shell_command('prepare')} --dataset {config.dataset}"
            print_line(f"{reason}: time and memory are known after {command}")
            return None
        is_drawn = CATALOG[config.dataset].draw is not None
        source = "drawn" if is_drawn else "downloaded (about 170 MB), unless TFDS has them,"
        print_line(f"{reason}: its images would be {source} and prepared. Noise stands for them.")
        config, dataset = random_dataset_like(config)
    activity = f"compiling and timing {config.arch} with batch size {config.batch_size}"
    with show_activity(activity):
        return time_trial_steps(config, dataset, at_once, devices, print_line)


def _show_trial(
    print_line: PrintLine, tasks: "Sequence[Task]", trial: "Trial", seconds: float
) -> None:
    """Print the size and cost of runs that share a compiled program.

    The lines are the numbers of images and of training steps, the time and the memory.

    Args:
      print_line: prints a line.
      tasks: the runs.
      trial: the measured time and memory of a few steps.
      seconds: the estimated time of all these runs.
    """
    train, val, test = trial.images
    epochs = sorted({task.config.epochs for task in tasks})
    print_line(f"images          {train:,} to train, {val:,} to validate, {test:,} to test")
    print_line(
        f"steps           {', '.join(map(str, epochs))} epochs of {trial.steps_per_epoch:,} steps "
        f"of {tasks[0].config.batch_size:,} images"
    )
    together = f" of {trial.runs_at_once} runs together" if trial.runs_at_once > 1 else ""
    print_line(
        f"time            ≈ {duration(seconds)} for {pluralize(len(tasks), 'run')}: "
        f"{1000 * trial.step_seconds:,.1f} ms a step{together} (mean of {trial.timed_steps}), "
        f"{1e6 * trial.evaluation_seconds:,.0f} µs an image to validate and test, "
        f"{trial.compile_seconds:.0f} s to compile"
    )
    print_line(f"memory          {_memory(trial)}, {trial.dtype}")


def _memory(trial: "Trial") -> str:
    """Return text about the memory that a trial measured, such as "340 MB on each device: ..."."""
    if trial.persistent_bytes is None or trial.step_bytes is None:
        return "XLA does not report it on this device"
    parts: dict[str, Any] = {
        "images, weights and optimizer state": trial.persistent_bytes,
        "one step": trial.step_bytes,
    }
    text = " + ".join(f"{format_bytes(size)} {name}" for name, size in parts.items())
    return f"{format_bytes(sum(parts.values()))} on each device: {text}"
