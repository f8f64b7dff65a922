"""Carrying out a study: which runs are left to do, and doing them."""

import dataclasses
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

import jax
from rich.console import Console

from jaxcifar.config import Config
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.errors import BusyError, DivergedError, RunError, UsageError
from jaxcifar.machine.files import locked, write_text
from jaxcifar.machine.interrupt import Stopper, stop_signal
from jaxcifar.machine.reading import Remedy
from jaxcifar.runs.crew import Outcome, fit_all
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.pace import STARTING
from jaxcifar.runs.progress import TrainProgress
from jaxcifar.runs.run import Run
from jaxcifar.runs.setup import Setup
from jaxcifar.runs.task import Task
from jaxcifar.runs.tensorboard import write_events_of
from jaxcifar.studies.code_files import without_folders
from jaxcifar.studies.study import Study

STUDY_FILE = "study.json"
_POLL_SECONDS = 1.0  # between two looks at runs of other processes
RECORD_AGAIN = Remedy("delete it, and the study's command writes it again")


def plan(
    study: Study,
    rows: list[str] | None,
    seeds: Sequence[int],
    out: Path,
    force: Sequence[str],
    keep_best: bool = False,
    tensorboard: bool = False,
) -> list[Task]:
    """The runs of a study, all rows of the first seed first.

    Args:
      study: its rows and settings.
      rows: names of those to run; None for all.
      seeds: of each row.
      out: folder of the study; a run lies in `out/ROW/seedN`.
      force: rows to be run anew.
      keep_best: delete the checkpoints of runs that are finished.
      tensorboard: write events for TensorBoard too.

    Raises:
      UsageError: an unknown row, or a folder that belongs to another study or config.
      RunError: what is recorded there can't be read.
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
            tensorboard=tensorboard,
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
        with locked(out):
            write_text(out / STUDY_FILE, study.to_json())
    except OSError as error:
        raise RunError(f"--out {out}: can't be written ({error.strerror})") from error


def _require_ours(study: Study, out: Path) -> None:
    """What trains must be as it was; titles and references may change, and rows be added."""
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
    """Do what is left of some tasks; those that share a program share its compilation.

    Runs that other processes are at are waited for, and taken over where these end before the run
    does. So afterwards all are over.

    Args:
      tasks: finished ones are not touched, half-done ones are gone on with.
      data_dir: TFDS folder.
      at_once: runs to train together; None for what suits the devices.
      devices: to train on.
      console: shows one bar for all.
      load: called as `load_dataset` is.
      stopper: asks to stop; by default SIGINT and SIGTERM do.

    Returns:
      how the tasks ended that were done now, and those that failed before or elsewhere.

    Raises:
      Interrupted: when asked to stop, with everything saved.
      RunError: the data can't be had.
      UsageError: a row can't be trained, for what its own code or arguments are.
    """
    outcomes = [Outcome(task, error=error) for task in tasks if (error := _failure(task))]
    failed = {outcome.task for outcome in outcomes}
    left = [task for task in tasks if task not in failed and _unfinished(task)]
    write_events_of(task for task in tasks if task not in left)
    held: list[Task] = []  # by other processes
    # By all of a table's runs, so that what is left to do does not change the program.
    alike = Counter(task.config.shared_part() for task in tasks)
    with TrainProgress(console) as progress:
        progress.runs(len(tasks) - len(left), len(tasks))
        for config, todo in _by_shared_part(left).items():  # before hours go into the first of them
            if config.sources or config.alters_network:
                _check_row(todo[0], load(config, data_dir, progress.say), devices)
        while left:
            for config, todo in _by_shared_part(left).items():
                together = min(at_once or sensible_at_once(devices), alike[config])
                with progress.during(STARTING):
                    dataset = load(config, data_dir, progress.say)
                    setup = Setup.create(config, dataset, together, devices)
                progress.expect(setup, config.epochs, len(todo))
                with stopper(console) as stop:
                    runs = [Run(task, progress.say) for task in todo]
                    for outcome in fit_all(runs, setup, progress, stop):
                        left.remove(outcome.task)
                        if isinstance(outcome.error, BusyError):
                            held.append(outcome.task)
                        else:
                            outcomes.append(outcome)
                        progress.runs(len(tasks) - len(left) - len(held), len(tasks))
            if held:
                left, held, over = _wait_for_others(held, progress.say)
                write_events_of(over)
                outcomes += [Outcome(task, error=_failure(task)) for task in over if _failure(task)]
        if any(outcome.result for outcome in outcomes):
            progress.tell_times()
    return outcomes


def _check_row(task: Task, dataset: Dataset, devices: Sequence[jax.Device]) -> None:
    """Find out what is wrong with a network of one's own, or other code, of a run.

    Raises:
      UsageError: something is; the message names the run.
    """
    try:
        Setup.checked(task.config, dataset, at_once=1, devices=devices)
    except UsageError as error:
        raise UsageError(f"{task.name}: {error}") from error


def _wait_for_others(
    held: Sequence[Task], say: Callable[[str], None]
) -> tuple[list[Task], list[Task], list[Task]]:
    """Wait until other processes have let go of a run that is not over, or all runs are over.

    Returns:
      the runs to be taken over, those still held, and those that are over.
    """
    say(f"waiting for other processes: {', '.join(task.name for task in held)}")
    # What is being run anew need not be so once more.
    left = [dataclasses.replace(task, overwrite=False) for task in held]
    over: list[Task] = []
    while True:
        free = [task for task in left if not _is_held(task)]
        # Looked at after the lock, which is let go when the result is written.
        over += [task for task in left if _failure(task) or not _unfinished(task)]
        left = [task for task in left if task not in over]
        free = [task for task in free if task not in over]
        if free or not left:
            return free, [task for task in left if task not in free], over
        time.sleep(_POLL_SECONDS)


def _is_held(task: Task) -> bool:
    try:
        with locked(task.path, wait=False):
            return False
    except BusyError:
        return True
    except (OSError, RunError):
        return False  # whoever opens it tells that


def _by_shared_part(tasks: Sequence[Task]) -> dict[Config, list[Task]]:
    groups: dict[Config, list[Task]] = {}
    for task in tasks:
        groups.setdefault(task.config.shared_part(), []).append(task)
    return groups


def _unfinished(task: Task) -> bool:
    return task.overwrite or not RunFolder(task.path).result.exists()


def _failure(task: Task) -> DivergedError | None:
    """What ended the task before, and would end it again."""
    failure = None if task.overwrite else RunFolder(task.path).read_failure()
    return None if failure is None else DivergedError(failure)


def sensible_at_once(devices: Sequence[jax.Device]) -> int:
    """How many runs to train together, by measurement (docs/performance.md).

    The cores of a CPU do best sharing one run; accelerators do best with a run each.
    """
    return 1 if devices[0].platform == "cpu" else len(devices)
