"""The option `--dry-run`: show what would be trained, and what it takes in time and memory."""

import dataclasses
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console
from rich.table import Table
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

_MAX_TIMED_PROGRAMS = 8
_MAX_NAMED_ROWS = 4  # of rows in a line


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
      rows: name of a row of the study -> settings of the row. A single run is one unnamed row.
    """
    settings_by_name: dict[str, list[SettingOrigin]] = {}  # one for each row that has the setting
    for settings_of_row in rows.values():
        for setting in settings_of_row:
            settings_by_name.setdefault(setting.name, []).append(setting)
    shared_table = make_table("", ("setting", "value", "from"), ())
    varying_names = []
    for name, settings_of_rows in settings_by_name.items():
        values_and_origins = {(setting.value, setting.origin) for setting in settings_of_rows}
        is_in_all_rows = len(settings_of_rows) == len(rows)
        if is_in_all_rows and len(values_and_origins) == 1:
            [(value, origin)] = values_and_origins
            shared_table.add_row(name, Text(printable(value_text(value))), Text(printable(origin)))
        else:
            varying_names.append(name)
    console.print(shared_table)
    if varying_names:
        console.print(_varying_table(rows, varying_names))


def _varying_table(rows: Mapping[str, Sequence[SettingOrigin]], names: Sequence[str]) -> Table:
    """Return a table of the settings in `names`, with a line for each row of the study."""
    table = make_table("Settings that differ between rows", ("row", *names), ())
    for row, settings in rows.items():
        text_of_setting = {setting.name: value_text(setting.value) for setting in settings}
        cells = [row, *(text_of_setting.get(name, "-") for name in names)]
        table.add_row(*[Text(printable(cell)) for cell in cells])
    return table


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
      tasks: the runs that are to be trained.
      data_dir: folder of data sets.
      devices: devices to train on.
      at_once: largest number of runs that are trained together.

    Raises:
      UsageError: a run can't be trained with these settings.
      RunError: the devices have too little memory.
    """
    from jaxcifar.machine.environment import describe_devices

    print_line = line_printer(console)
    print_line(
        f"on {describe_devices(devices)}. Estimates are marked with ≈: from steps that are timed "
        "now. Memory is what XLA counts for the compiled program."
    )
    task_groups = _group_tasks_of_equal_speed(tasks)
    total_seconds = 0.0
    for tasks_of_group in task_groups[:_MAX_TIMED_PROGRAMS]:
        config = tasks_of_group[0].config
        run_count = min(at_once, len(tasks_of_group))
        trial = _time_few_steps(console, config, data_dir, devices, run_count)
        if trial is None:
            return
        seconds = _estimate_seconds(trial, tasks_of_group)
        total_seconds += seconds
        if len(task_groups) > 1:
            names = join_names((task.name for task in tasks_of_group), _MAX_NAMED_ROWS)
            print_line(f"{names}:")
        _show_cost(print_line, tasks_of_group, trial, seconds)
    untimed_count = len(task_groups) - _MAX_TIMED_PROGRAMS
    if untimed_count > 0:
        print_line(f"{untimed_count} more programs were not timed.")
    elif len(task_groups) > 1:
        runs = pluralize(len(tasks), "run")
        print_line(f"all together    ≈ {duration(total_seconds)}, for {runs}")


def _group_tasks_of_equal_speed(tasks: "Sequence[Task]") -> "list[list[Task]]":
    """Group runs whose training steps take equal time, because they use the same program."""
    tasks_by_speed: dict[Config, list[Task]] = {}
    for task in tasks:
        tasks_by_speed.setdefault(_settings_that_set_speed(task.config), []).append(task)
    return list(tasks_by_speed.values())


def _estimate_seconds(trial: "Trial", tasks: "Sequence[Task]") -> float:
    """Estimate the seconds that runs with the same compiled program take, from a trial of it.

    Runs with the same number of epochs are trained together.
    """
    run_count_by_epochs = Counter(_epochs_to_train(task.config) for task in tasks)
    seconds = trial.compile_seconds
    for epochs, run_count in run_count_by_epochs.items():
        seconds += trial.seconds(epochs, run_count)
    return seconds


def _epochs_to_train(config: Config) -> int:
    """Return the number of epochs that a run trains, without the epochs of a continued run."""
    return config.epochs - config.earlier_epochs


def _settings_that_set_speed(config: Config) -> Config:
    """Return a copy of a config with fixed values for settings that do not change a step's time.

    The steps of runs with equal copies take the same time.
    """
    _, _, fold_count = config.fold.partition("/")
    first_fold = f"1/{fold_count}" if config.fold else ""
    return dataclasses.replace(config.shared_part(), epochs=1, fold=first_fold)


def _time_few_steps(
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
    except NotPreparedError as error:
        if config.dataset not in CATALOG:
            command = f"{shell_command('prepare')} --dataset {config.dataset}"
            print_line(f"{error}: time and memory are known after {command}")
            return None
        drawn_or_downloaded = "downloaded (about 170 MB), unless TFDS has them,"
        if CATALOG[config.dataset].draw is not None:
            drawn_or_downloaded = "drawn"
        print_line(
            f"{error}: its images would be {drawn_or_downloaded} and prepared. Random images are "
            "used instead."
        )
        config, dataset = random_dataset_like(config)
    activity = f"compiling and timing {config.arch} with batch size {config.batch_size}"
    with show_activity(activity):
        return time_trial_steps(config, dataset, at_once, devices, print_line)


def _show_cost(
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
    epoch_counts = sorted({task.config.epochs for task in tasks})
    epoch_counts_text = ", ".join(map(str, epoch_counts))
    print_line(f"images          {train:,} to train, {val:,} to validate, {test:,} to test")
    print_line(
        f"steps           {epoch_counts_text} epochs of {trial.steps_per_epoch:,} steps of "
        f"{tasks[0].config.batch_size:,} images"
    )
    of_runs_together = f" of {trial.runs_at_once} runs together" if trial.runs_at_once > 1 else ""
    print_line(
        f"time            ≈ {duration(seconds)} for {pluralize(len(tasks), 'run')}: "
        f"{1000 * trial.step_seconds:,.1f} ms a step{of_runs_together} (mean of "
        f"{trial.timed_steps}), {1e6 * trial.evaluation_seconds:,.0f} µs an image to validate and "
        f"test, {trial.compile_seconds:.0f} s to compile"
    )
    print_line(f"memory          {_memory_text(trial)}, {trial.dtype}")


def _memory_text(trial: "Trial") -> str:
    """Return text about the memory that a trial measured, such as "340 MB on each device: ..."."""
    if trial.persistent_bytes is None or trial.step_bytes is None:
        return "XLA does not report it on this device"
    total_bytes = trial.persistent_bytes + trial.step_bytes
    return (
        f"{format_bytes(total_bytes)} on each device: {format_bytes(trial.persistent_bytes)} "
        f"images, weights and optimizer state + {format_bytes(trial.step_bytes)} one step"
    )
