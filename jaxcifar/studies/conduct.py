"""Plan the runs of a study, and train the unfinished ones."""

from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager, suppress
from functools import partial
from pathlib import Path
from threading import Event

import jax
from rich.console import Console

from jaxcifar.build.setup import Setup
from jaxcifar.build.user_metrics import MetricSet
from jaxcifar.config.experiment import Config
from jaxcifar.config.folds import all_folds, run_folder_name
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.errors import BusyError, OutOfMemoryError, RunError, UsageError
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.pace import STARTING, PlannedRuns
from jaxcifar.runs.replay import replay_runs
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Outcome, Task
from jaxcifar.runs.training_loop import fit_all
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.studies.moved_images import ImageDigests, Sha256Of, with_digests_of_moved_images
from jaxcifar.studies.study import Study
from jaxcifar.studies.study_folder import STUDY_FILE, require_same_study
from jaxcifar.studies.study_folds import require_no_fold
from jaxcifar.studies.waiting import earlier_failures, is_unfinished, wait_for_others


def plan(
    study: Study,
    rows: list[str] | None,
    seeds: Sequence[int],
    out: Path,
    force: Sequence[str],
    keep_best: bool = False,
    folds: int = 0,
    load_sha256: Sha256Of | None = None,
) -> list[Task]:
    """Return the runs of a study in the order of training: all rows for the first seed come first.

    With folds, each seed trains all rows on the first fold, then on the next.

    Args:
      study: the study.
      rows: names of the rows to run, or None for all rows.
      seeds: seeds of each row.
      out: folder of the study; the folder of a run is `out/ROW/seedN`, or with folds
        `out/ROW/foldIofK_seedN`.
      force: names of the rows to train again from the start.
      keep_best: True to delete the checkpoints of finished runs, and keep only their weights.
      folds: train each row and seed once for each of this many folds; 0 for a single split.
      load_sha256: loads the images of a config, and returns their SHA-256. Called only if the path
        of a user's images has changed. None to refuse another path.

    Raises:
      UsageError: a row is unknown, or a folder belongs to another study or config.
      RunError: a file in the study's folder can't be read.
    """
    digests = ImageDigests(load_sha256) if load_sha256 else None
    require_same_study(study, out, digests)
    selected = study.select(rows)
    for row in study.select(list(force)):
        if row not in selected:
            raise UsageError(f"--force {row.name}: this row is not among --rows; add it there")
    if folds:
        require_no_fold(study, selected)
    tasks = [
        Task(
            config=study.config_of(row, seed, fold),
            path=out / row.name / run_folder_name(seed, fold),
            name=f"{row.name} fold {fold} seed {seed}" if fold else f"{row.name} seed {seed}",
            overwrite=row.name in force,
            keep_best=keep_best,
        )
        for seed in dict.fromkeys(seeds)
        for fold in all_folds(folds) or [""]
        for row in selected
    ]
    if digests is not None:
        tasks = with_digests_of_moved_images(tasks, digests)
    for task in tasks:
        RunFolder(task.path, task.overwrite).require_usable(task.config)
    return tasks


def record(study: Study, out: Path) -> None:
    """Write the study to its folder `out`, for reports and for later commands.

    Raises:
      RunError: the file can't be written.
    """
    try:
        with lock_folder(out):
            write_text(out / STUDY_FILE, study.to_json())
    except OSError as error:
        raise RunError(f"--out {out}: can't be written ({error.strerror})") from error


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
    outcomes = earlier_failures(tasks)
    failed = {outcome.task for outcome in outcomes}
    left = [task for task in tasks if task not in failed and is_unfinished(task)]
    held: list[Task] = []  # by other processes
    # Count all runs of the table, not only those left: the program must not depend on what is left.
    runs_of_program = Counter(task.config.shared_part() for task in tasks)
    with TrainProgress(console) as progress:
        progress.show_runs(len(tasks) - len(left), len(tasks))
        replay_runs([task for task in tasks if task not in left], progress.print_line)
        for config, group in _by_shared_part(left).items():
            # Check all rows before the first one trains for hours.
            if config.sources or config.alters_network or group[0].user_metrics:
                # If memory runs out here, the error is reported when the row starts.
                with suppress(OutOfMemoryError), progress.during(STARTING):
                    dataset = load(config, data_dir, progress.print_line)
                    _check_row(group[0], dataset, devices)
                    del dataset
        while left:
            groups = _by_shared_part(left)
            most = at_once or sensible_at_once(devices)
            planned = [
                PlannedRuns(config.epochs, len(group), at_once=min(most, runs_of_program[config]))
                for config, group in groups.items()
            ]
            for number, (config, group) in enumerate(groups.items()):
                load_images = partial(load, config, data_dir, progress.print_line)
                for outcome in _fit_group(
                    group, planned[number:], load_images, devices, progress, stopper(console)
                ):
                    left.remove(outcome.task)
                    if isinstance(outcome.error, BusyError):
                        held.append(outcome.task)
                    else:
                        outcomes.append(outcome)
                    progress.show_runs(len(tasks) - len(left) - len(held), len(tasks))
            if held:
                left, held, ended = wait_for_others(held, progress.print_line)
                replay_runs(ended, progress.print_line)
                outcomes += earlier_failures(ended)
        if any(outcome.result for outcome in outcomes):
            progress.print_times()
    return outcomes


def _fit_group(
    tasks: Sequence[Task],
    planned: Sequence[PlannedRuns],
    load_images: Callable[[], Dataset],
    devices: Sequence[jax.Device],
    progress: TrainProgress,
    stopping: AbstractContextManager[Event],
) -> Iterator[Outcome]:
    """Train tasks whose runs share one compiled program, and yield their outcomes in any order.

    Args:
      tasks: the runs.
      planned: number and epochs of these runs, then of all later runs, to estimate the time left.
      load_images: loads the data set, which is freed at the end.
      devices: devices to train on.
      progress: shows the progress.
      stopping: a context manager that gives an event; once set, the event stops training.
    """
    first, at_once = tasks[0], planned[0].at_once
    try:
        with progress.during(STARTING):
            config = first.config.shared_part()
            dataset = load_images()
            for line in dataset.warnings:
                progress.print_line(line)
            setup = Setup.create(config, dataset, at_once, devices, first.user_metrics)
    except OutOfMemoryError as error:
        reason = str(error)  # the error itself refers to arrays that must be freed
        yield from (Outcome(task, error=OutOfMemoryError(reason)) for task in tasks)
        return
    progress.expect(setup, planned[0], planned[1:])
    with stopping as stop:
        runs = [Run(task, progress.print_line, progress.observers_of(task)) for task in tasks]
        yield from fit_all(runs, setup, progress, stop)


def _check_row(task: Task, dataset: Dataset, devices: Sequence[jax.Device]) -> None:
    """Check the user code and the network arguments of a run.

    Raises:
      UsageError: the run can't be trained with this code or these arguments.
    """
    try:
        Setup.check(task.config, dataset, run_count=1, devices=devices)
        MetricSet.create(dataset.num_classes, task.user_metrics)
    except UsageError as error:
        raise UsageError(f"{task.name}: {error}") from error


def _by_shared_part(tasks: Sequence[Task]) -> dict[Config, list[Task]]:
    """Group runs that share a compiled program; return the settings that they share -> the runs."""
    groups: dict[Config, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.config.shared_part(), []).append(task)
    return groups


def sensible_at_once(devices: Sequence[jax.Device]) -> int:
    """Return the number of runs to train together, from measurements in docs/performance.md.

    A CPU is fastest if all cores train one run. Accelerators are fastest with one run each.
    """
    return 1 if devices[0].platform == "cpu" else len(devices)
