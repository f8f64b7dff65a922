"""Record which jobs of a cluster train which runs of a study, and tell which jobs have ended."""

import contextlib
import os
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from jaxcifar.errors import RunError
from jaxcifar.machine.files import change_time, lock_folder, unused_path, write_text
from jaxcifar.machine.job_queue import Executor, Job
from jaxcifar.machine.reading import MEGABYTE, Line, Remedy, read_json
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.sources import require_no_link
from jaxcifar.runs.task import Task

_RECORD_FILE = "jobs.json"
_MAX_RECORD_BYTES = 16 * MEGABYTE
_DELETE_RECORD = Remedy("delete it if no job of this study is in the queue")


class _PartRecord(msgspec.Struct, forbid_unknown_fields=True, omit_defaults=True):
    """A job in the file `jobs.json`, with the names of the runs that it trains.

    Attributes:
      executor: "slurm" for a job of the cluster, or "local" for a process on this machine.
      job: the job's number in Slurm, or the number of the process.
      folder: name of the folder with the job's files and logs.
      runs: names of the runs, such as "norm seed 0".
      earlier_results: see `SentPart`; empty in older records.
    """

    executor: Executor
    job: Annotated[str, Meta(pattern=r"^[0-9]{1,15}(_[0-9]{1,9})?\Z")]
    folder: Annotated[str, Meta(pattern=r"^sent(-[0-9]{1,9})?\Z")]
    runs: list[Line]
    earlier_results: dict[str, int] = {}

    def __post_init__(self) -> None:
        if self.executor == "local" and not self.job.isdecimal():
            raise ValueError(
                f"a local job must be the number of its process, such as 1234, not {self.job}"
            )


class SentPart(NamedTuple):
    """A part of a study's runs that was sent to the cluster as one job.

    Attributes:
      job: the job.
      runs: the names of its runs, such as "norm seed 0".
      earlier_results: name of a run -> time of the last change of its result, in nanoseconds, if
        the run had a result when it was sent. The job replaces this result, because of `--force`.
    """

    job: Job
    runs: tuple[str, ...]
    earlier_results: Mapping[str, int]

    def has_result(self, task: Task) -> bool:
        """Return whether a run of this part has a result that is not its earlier result."""
        result_exists = RunFolder(task.path).result_file.exists()
        return result_exists and not self.has_earlier_result(task)

    def has_earlier_result(self, task: Task) -> bool:
        """Return whether a run of this part still has its earlier result, not yet replaced."""
        earlier_time = self.earlier_results.get(task.name)
        return earlier_time is not None and _result_time(task) == earlier_time


def earlier_results(tasks: Sequence[Task]) -> dict[str, int]:
    """Return `SentPart.earlier_results` for runs; call this before their job is sent."""
    times = {task.name: _result_time(task) for task in tasks}
    return {name: time for name, time in times.items() if time is not None}


def _result_time(task: Task) -> int | None:
    """Return the time of the last change of a run's result; None if the run has no result."""
    return change_time(RunFolder(task.path).result_file)


def jobs_folder(study_folder: Path) -> Path:
    """Return the folder for the jobs of a study. No row can have this folder's name."""
    return study_folder / "_jobs"


@contextlib.contextmanager
def lock_jobs(study_folder: Path) -> Iterator[None]:
    """Prevent other processes from sending jobs of a study until the block ends.

    Raises:
      BusyError: another process is sending jobs.
      RunError: the folder of the jobs is a symbolic link.
    """
    require_no_link(jobs_folder(study_folder))
    with lock_folder(jobs_folder(study_folder), wait=False):
        yield


def make_job_folder(study_folder: Path) -> Path:
    """Create and return a new folder for the files and logs of jobs of a study.

    Call this inside `lock_jobs`. A job reads a pickle in its folder, so the folder must have no
    other files.

    Raises:
      RunError: the folder can't be created.
    """
    folder = unused_path(jobs_folder(study_folder) / "sent")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(
            f"{folder}: can't be created ({error.strerror}); choose another --out, or make this "
            "one writable"
        ) from error
    return folder


def read_parts(study_folder: Path) -> list[SentPart]:
    """Return the jobs that were sent for a study, each with its runs.

    The list is empty if no job was sent.

    Raises:
      RunError: the file `jobs.json` can't be read.
    """
    folder = jobs_folder(study_folder)
    file = folder / _RECORD_FILE
    if not os.path.lexists(file):
        return []
    require_no_link(folder)
    records = read_json(file, list[_PartRecord], _DELETE_RECORD, _MAX_RECORD_BYTES)
    parts = []
    for record in records:
        job = Job(record.executor, record.job, folder / record.folder)
        parts.append(SentPart(job, tuple(record.runs), record.earlier_results))
    return parts


def record_parts(study_folder: Path, parts: Sequence[SentPart]) -> None:
    """Add jobs that were sent to the file `jobs.json`, for later commands.

    A run belongs to its latest job only.

    Args:
      study_folder: folder of the study.
      parts: the jobs, each with the names of its runs.

    Raises:
      RunError: the file can't be written.
    """
    runs_sent_now = {run for part in parts for run in part.runs}
    records = []
    for earlier_part in read_parts(study_folder):
        other_runs = [run for run in earlier_part.runs if run not in runs_sent_now]
        if other_runs:
            records.append(_record_of_part(earlier_part, other_runs))
    records += [_record_of_part(part, part.runs) for part in parts]
    file = jobs_folder(study_folder) / _RECORD_FILE
    try:
        json_text = msgspec.json.format(msgspec.json.encode(records), indent=1).decode()
        write_text(file, json_text)
    except OSError as error:
        raise RunError(
            f"{file}: can't be written ({error.strerror}); the jobs were sent, so cancel them and "
            "make the file writable before you send them again"
        ) from error


def _record_of_part(part: SentPart, runs: Sequence[str]) -> _PartRecord:
    """Return the entry of `jobs.json` for a part, with only some of its runs."""
    earlier_results = {run: time for run, time in part.earlier_results.items() if run in runs}
    job = part.job
    return _PartRecord(
        job.executor, job.identity, job.folder.name, list(runs), earlier_results=earlier_results
    )


class Progress(NamedTuple):
    """The state of the jobs of a study.

    Attributes:
      finished: jobs that are over, and have written the results of all their runs.
      failed: jobs that are over, and have not written the results of all their runs.
      open: jobs that are in the queue or running.
    """

    finished: list[SentPart]
    failed: list[SentPart]
    open: list[SentPart]


def progress_of(
    parts: Sequence[SentPart], tasks: Sequence[Task], is_over: Callable[[Job], bool]
) -> Progress:
    """Return the jobs of a study, sorted into finished, failed and open ones.

    Args:
      parts: the jobs that were sent, each with the names of its runs.
      tasks: the runs of the study.
      is_over: returns whether a job has ended.
    """
    progress = Progress([], [], [])
    for part in parts:
        # Ask for the results after the job: a job writes them before it ends.
        is_job_over = is_over(part.job)
        tasks_of_part = [task for task in tasks if task.name in part.runs]
        have_results = all(part.has_result(task) for task in tasks_of_part)
        if not is_job_over:
            progress.open.append(part)
        elif have_results:
            progress.finished.append(part)
        else:
            progress.failed.append(part)
    return progress
