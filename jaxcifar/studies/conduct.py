"""Plan the runs of a study, and train the unfinished ones."""

import dataclasses
import itertools
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from functools import partial
from pathlib import Path
from threading import Event

import jax
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.config.folds import all_folds, run_folder_name
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.errors import BusyError, OutOfMemoryError, RunError, UsageError
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.pace import STARTING, PlannedRuns
from jaxcifar.runs.replay import report_ended_runs
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Outcome, Task
from jaxcifar.runs.training_loop import fit_all
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.studies.moved_images import ImageDigests, LoadSha256, with_digests_of_moved_images
from jaxcifar.studies.programs import check_user_parts, group_by_program
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import STUDY_FILE, require_same_study
from jaxcifar.studies.study_folds import require_no_fold_setting
from jaxcifar.studies.waiting import (
    earlier_failures,
    unfinished_and_failed,
    wait_for_other_processes,
)


def plan(
    study: Study,
    row_names: list[str] | None,
    seeds: Sequence[int],
    study_folder: Path,
    forced_rows: Sequence[str],
    keep_best: bool = False,
    fold_count: int = 0,
    load_sha256: LoadSha256 | None = None,
) -> list[Task]:
    """Return the runs of a study in the order of training: all rows for the first seed come first.

    With folds, each seed trains all rows on the first fold, then on the next.

    Args:
      study: the study.
      row_names: names of the rows to run, or None for all rows.
      seeds: seeds of each row.
      study_folder: folder of the study; the folder of a run is `ROW/seedN` in it, or with folds
        `ROW/foldIofK_seedN`.
      forced_rows: names of the rows to train again from the start.
      keep_best: True to delete the checkpoints of finished runs, and keep only their weights.
      fold_count: train each row and seed once for each of this many folds; 0 for a single split.
      load_sha256: loads the images of a config, and returns their SHA-256. Called only if the path
        of a user's images has changed. None to refuse another path.

    Raises:
      UsageError: a row is unknown, or a folder belongs to another study or config.
      RunError: a file in the study's folder can't be read.
    """
    digests = ImageDigests(load_sha256) if load_sha256 else None
    study = dataclasses.replace(study, folder=study_folder, forced_rows=tuple(forced_rows))
    require_same_study(study, study_folder, digests)
    selected_rows = study.select(row_names)
    for row in study.select(list(forced_rows)):
        if row not in selected_rows:
            raise UsageError(f"--force {row.name}: this row is not among --rows; add it there")
    if fold_count:
        require_no_fold_setting(study, selected_rows)
    folds = all_folds(fold_count) or [""]  # "" for a single split
    different_seeds = dict.fromkeys(seeds)
    tasks = []
    for seed, fold, row in itertools.product(different_seeds, folds, selected_rows):
        name = f"{row.name} fold {fold} seed {seed}" if fold else f"{row.name} seed {seed}"
        task = Task(
            config=study.config_of(row, seed, fold),
            path=study_folder / row.name / run_folder_name(seed, fold),
            name=name,
            overwrite=row.name in forced_rows,
            keep_best=keep_best,
            is_study_forced=len(forced_rows) > 0,
        )
        tasks.append(task)
    if digests is not None:
        tasks = with_digests_of_moved_images(tasks, digests)
    for task in tasks:
        RunFolder(task.path, task.overwrite).require_usable(task.config)
    return tasks


def record(study: Study, study_folder: Path) -> None:
    """Write the study to its folder, for reports and for later commands.

    Raises:
      RunError: the file can't be written.
    """
    try:
        with lock_folder(study_folder):
            write_text(study_folder / STUDY_FILE, study.to_json())
    except OSError as error:
        raise RunError(
            f"--out {study_folder}: can't be written ({error.strerror}); choose another folder"
        ) from error


def conduct(
    tasks: Sequence[Task],
    data_dir: Path,
    at_once: int | None,
    devices: Sequence[jax.Device],
    console: Console,
    load: Callable[..., Dataset] = load_dataset,
    stopper: Stopper = stop_signal,
) -> list[Outcome]:
    """Train the unfinished runs of a study; runs with the same program compile it only once.

    Wait for runs that other processes are training. If such a process ends early, train its run.
    When this returns, every task has a result or an error.

    Args:
      tasks: the runs of the study; finished ones are skipped, and interrupted ones are resumed.
      data_dir: folder of TensorFlow Datasets (TFDS).
      at_once: number of runs to train together; None for the number that suits the devices.
      devices: devices to train on.
      console: where to show the progress.
      load: returns the data set for a config, `data_dir`, and a function that prints a line.
      stopper: returns a context manager that gives an event; once set, the event stops training.

    Returns:
      the outcomes of tasks that ended in this call, or that failed earlier or in other processes.
      A task that runs out of memory fails; the others continue.

    Raises:
      Interrupted: the user has stopped the study; everything is saved.
      RunError: the data can't be loaded.
      UsageError: a row can't be trained because of its user code or arguments.
    """
    tasks_to_train, outcomes = unfinished_and_failed(tasks)
    ended_tasks = [task for task in tasks if task not in tasks_to_train]
    tasks_of_others: list[Task] = []  # runs that other processes are training
    max_at_once = at_once or sensible_count_of_parallel_runs(devices)
    # Count all runs of the table, not only those left: the program must not depend on what is left.
    run_counts = Counter(task.config.shared_part() for task in tasks)
    with TrainProgress(console) as progress:
        progress.show_runs(len(ended_tasks), len(tasks))
        report_ended_runs(ended_tasks, progress.print_line)
        # Check all rows before the first one trains for hours.
        for config, tasks_of_program in group_by_program(tasks_to_train).items():
            load_images = partial(load, config, data_dir, progress.print_line)
            check_user_parts(tasks_of_program[0], load_images, devices, progress)
        while tasks_to_train:
            programs = group_by_program(tasks_to_train)
            planned_runs = [
                PlannedRuns(config.epochs, len(runs), at_once=min(max_at_once, run_counts[config]))
                for config, runs in programs.items()
            ]
            for number, (config, tasks_of_program) in enumerate(programs.items()):
                later_programs = list(programs.values())[number + 1 :]
                later_tasks = [task for later in later_programs for task in later]
                load_images = partial(load, config, data_dir, progress.print_line)
                stop_context = stopper(console)
                for outcome in _train_program(
                    tasks_of_program,
                    planned_runs[number:],
                    later_tasks,
                    load_images,
                    devices,
                    progress,
                    stop_context,
                ):
                    tasks_to_train.remove(outcome.task)
                    if isinstance(outcome.error, BusyError):
                        tasks_of_others.append(outcome.task)
                    else:
                        outcomes.append(outcome)
                    unfinished_count = len(tasks_to_train) + len(tasks_of_others)
                    progress.show_runs(len(tasks) - unfinished_count, len(tasks))
            if tasks_of_others:
                after_waiting = wait_for_other_processes(tasks_of_others, progress.print_line)
                tasks_to_train = after_waiting.released_tasks
                tasks_of_others = after_waiting.held_tasks
                report_ended_runs(after_waiting.ended_tasks, progress.print_line)
                outcomes += earlier_failures(after_waiting.ended_tasks)
        if any(outcome.result for outcome in outcomes):
            progress.print_times()
    return outcomes


def _train_program(
    tasks: Sequence[Task],
    planned_runs: Sequence[PlannedRuns],
    later_tasks: Sequence[Task],
    load_images: Callable[[], Dataset],
    devices: Sequence[jax.Device],
    progress: TrainProgress,
    stop_context: AbstractContextManager[Event],
) -> Iterator[Outcome]:
    """Train tasks whose runs share one compiled program, and yield their outcomes in any order.

    Args:
      tasks: the runs.
      planned_runs: the number and the epochs of the runs of each program that is still to be
        trained, this program first. They serve to estimate the time left.
      later_tasks: the runs of later programs, for the message after a stop.
      load_images: loads the data set, which is freed at the end.
      devices: devices to train on.
      progress: shows the progress.
      stop_context: a context manager that yields an event; once set, the event stops training.
    """
    runs_of_program, *later_runs = planned_runs
    user_metrics = tasks[0].user_metrics
    try:
        with progress.during(STARTING):
            config = tasks[0].config.shared_part()
            dataset = load_images()
            for warning in dataset.warnings:
                progress.print_line(warning)
            setup = Setup.create(config, dataset, runs_of_program.at_once, devices, user_metrics)
    except OutOfMemoryError as error:
        reason = str(error)  # the error itself refers to arrays that must be freed
        yield from (Outcome(task, error=OutOfMemoryError(reason)) for task in tasks)
        return
    progress.expect(setup, runs_of_program, later_runs)
    with stop_context as stop_event:
        runs = [Run(task, progress.print_line, progress.observers_of(task)) for task in tasks]
        yield from fit_all(runs, setup, progress, stop_event, later_tasks)


def sensible_count_of_parallel_runs(devices: Sequence[jax.Device]) -> int:
    """Return the number of runs to train together, from measurements in docs/performance.md.

    A CPU is fastest if all cores train one run. Accelerators are fastest with one run each.
    """
    return 1 if devices[0].platform == "cpu" else len(devices)
