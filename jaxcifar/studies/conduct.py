"""Carrying out a study: which runs are left to do, and doing them."""

import json
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
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.errors import BusyError, OutOfMemoryError, RunError, UsageError
from jaxcifar.machine.files import lock_folder, write_text
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.machine.reading import Remedy
from jaxcifar.runs.crew import fit_all
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.observing_again import replay_runs
from jaxcifar.runs.pace import STARTING
from jaxcifar.runs.run import Run
from jaxcifar.runs.task import Outcome, Task
from jaxcifar.runs.training_progress import TrainProgress
from jaxcifar.studies.code_files import without_folders
from jaxcifar.studies.study import Study
from jaxcifar.studies.waiting import failure_of, is_unfinished, wait_for_others

STUDY_FILE = "study.json"
RECORD_AGAIN = Remedy("delete it, and the study's command writes it again")


def plan(
    study: Study,
    rows: list[str] | None,
    seeds: Sequence[int],
    out: Path,
    force: Sequence[str],
    keep_best: bool = False,
) -> list[Task]:
    """Return the runs of a study: first all rows with the first seed, then with the next seed.

    Args:
      study: the study.
      rows: names of the rows to run, or None for all rows.
      seeds: seeds of each row.
      out: folder of the study; the folder of a run is `out/ROW/seedN`.
      force: rows to train again.
      keep_best: delete the checkpoints of finished runs.

    Raises:
      UsageError: a row is unknown, or a folder belongs to another study or config.
      RunError: a file in the study's folder can't be read.
    """
    _require_ours(study, out)
    selected = study.select(rows)
    for row in study.select(list(force)):
        if row not in selected:
            raise UsageError(f"--force {row.name}: not among --rows")
    tasks = [
        Task(
            config=study.config_of(row, seed),
            path=out / row.name / f"seed{seed}",
            name=f"{row.name} seed {seed}",
            overwrite=row.name in force,
            keep_best=keep_best,
        )
        for seed in dict.fromkeys(seeds)
        for row in selected
    ]
    for task in tasks:
        RunFolder(task.path).check(task.config, task.overwrite)
    return tasks


def record(study: Study, out: Path) -> None:
    """Write down in `out` what is studied there, for reports.

    Raises:
      RunError: it can't be written.
    """
    try:
        with lock_folder(out):
            write_text(out / STUDY_FILE, study.to_json())
    except OSError as error:
        raise RunError(f"--out {out}: can't be written ({error.strerror})") from error


def _require_ours(study: Study, out: Path) -> None:
    """Raise if the folder's study trains otherwise; new rows, titles and references are allowed."""
    file = out / STUDY_FILE
    if not file.exists():
        return
    there, study = Study.read(file, RECORD_AGAIN), Study.from_dict(json.loads(study.to_json()))
    there, study = (each.with_settings(without_folders) for each in (there, study))
    changes = {row.name: row.changes for row in study.rows}
    changed = [row.name for row in there.rows if changes.get(row.name) != row.changes]
    if there.config == study.config and not changed:
        return
    unset, differing = "as usual", []
    for name in sorted(there.config.keys() | study.config.keys()):
        old, new = (each.config.get(name, unset) for each in (there, study))
        differing += [f"{name} {old} there, {new} asked for"] * (old != new)
    what = ", ".join(differing) or f"with another row {changed[0]}"
    raise UsageError(f"--out {out}: belongs to another study ({what}); choose another folder")


def conduct(
    tasks: Sequence[Task],
    data_dir: Path,
    at_once: int | None,
    devices: Sequence[jax.Device],
    console: Console,
    load: Callable[..., Dataset] = load_dataset,
    stopper: Stopper = stop_signal,
) -> list[Outcome]:
    """Train the unfinished tasks; tasks with the same program share its compilation.

    Wait for runs that other processes are training, and take over a run if its process ends early.
    When this returns, every task has a result or an error.

    Args:
      tasks: finished tasks are left alone, started tasks go on where they stopped.
      data_dir: TFDS folder.
      at_once: runs to train together; None for what suits the devices.
      devices: to train on.
      console: shows one bar for all.
      load: called as `load_dataset` is.
      stopper: asks to stop; by default SIGINT and SIGTERM do.

    Returns:
      the outcomes of tasks done now, and of tasks that failed earlier or in other processes. A task
      that runs out of memory fails; the others continue.

    Raises:
      Interrupted: when asked to stop, with everything saved.
      RunError: the data can't be loaded.
      UsageError: a row can't be trained because of its user code or arguments.
    """
    outcomes = [Outcome(task, error=error) for task in tasks if (error := failure_of(task))]
    failed = {outcome.task for outcome in outcomes}
    left = [task for task in tasks if task not in failed and is_unfinished(task)]
    held: list[Task] = []  # by other processes
    # Count all runs of the table, not only those left: the program must not depend on what is left.
    alike = Counter(task.config.shared_part() for task in tasks)
    with TrainProgress(console) as progress:
        progress.runs(len(tasks) - len(left), len(tasks))
        replay_runs([task for task in tasks if task not in left], progress.say)
        for config, todo in _by_shared_part(left).items():
            # Check all rows before the first one trains for hours.
            if config.sources or config.alters_network or todo[0].metrics:
                # If memory runs out here, the error is reported when the row starts.
                with suppress(OutOfMemoryError), progress.during(STARTING):
                    dataset = load(config, data_dir, progress.say)
                    _check_row(todo[0], dataset, devices)
                    del dataset
        while left:
            for config, todo in _by_shared_part(left).items():
                together = min(at_once or sensible_at_once(devices), alike[config])
                get = partial(load, config, data_dir, progress.say)
                create = partial(_set_up, todo[0], get, together, devices)
                for outcome in _fit_group(todo, create, progress, stopper(console)):
                    left.remove(outcome.task)
                    if isinstance(outcome.error, BusyError):
                        held.append(outcome.task)
                    else:
                        outcomes.append(outcome)
                    progress.runs(len(tasks) - len(left) - len(held), len(tasks))
            if held:
                left, held, over = wait_for_others(held, progress.say)
                replay_runs(over, progress.say)
                failures = {task: failure_of(task) for task in over}
                outcomes += [
                    Outcome(task, error=error) for task, error in failures.items() if error
                ]
        if any(outcome.result for outcome in outcomes):
            progress.tell_times()
    return outcomes


def _set_up(
    task: Task, get: Callable[[], Dataset], at_once: int, devices: Sequence[jax.Device]
) -> Setup:
    return Setup.create(task.config.shared_part(), get(), at_once, devices, task.metrics)


def _fit_group(
    tasks: Sequence[Task],
    create: Callable[[], Setup],
    progress: TrainProgress,
    stopping: AbstractContextManager[Event],
) -> Iterator[Outcome]:
    """Train tasks that share a program; their images and program are freed at the end.

    Args:
      tasks: at least one.
      create: loads the images and sets up.
      progress: shows how far the tasks are.
      stopping: gives the event that asks to stop.

    Yields:
      how each ended, in any order.
    """
    try:
        with progress.during(STARTING):
            setup = create()
    except OutOfMemoryError as error:
        reason = str(error)  # the error itself holds on to what was made before
        yield from (Outcome(task, error=OutOfMemoryError(reason)) for task in tasks)
        return
    progress.expect(setup, tasks[0].config.epochs, len(tasks))
    with stopping as stop:
        runs = [Run(task, progress.say, progress.observers_of(task)) for task in tasks]
        yield from fit_all(runs, setup, progress, stop)


def _check_row(task: Task, dataset: Dataset, devices: Sequence[jax.Device]) -> None:
    """Check the user code and the network arguments of a run.

    Raises:
      UsageError: the run can't be trained with them; the message names the run.
    """
    try:
        Setup.checked(task.config, dataset, at_once=1, devices=devices)
        MetricSet.tried(dataset.num_classes, task.metrics)
    except UsageError as error:
        raise UsageError(f"{task.name}: {error}") from error


def _by_shared_part(tasks: Sequence[Task]) -> dict[Config, list[Task]]:
    groups: dict[Config, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.config.shared_part(), []).append(task)
    return groups


def sensible_at_once(devices: Sequence[jax.Device]) -> int:
    """Return how many runs to train together.

    According to measurements (docs/performance.md), a CPU is fastest when its cores share one run.
    Accelerators are fastest with one run per device.
    """
    return 1 if devices[0].platform == "cpu" else len(devices)
