"""Record which jobs of a cluster train which runs of a study, and read their state."""

import contextlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Annotated, NamedTuple

import msgspec
from msgspec import Meta

from jaxcifar.errors import RunError, printable
from jaxcifar.machine.files import lock_folder, unused_path, write_text
from jaxcifar.machine.job_queue import Executor, Job
from jaxcifar.machine.reading import MEGABYTE, Line, Remedy, open_regular_file, read_json
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.sources import require_no_link
from jaxcifar.runs.task import Task
from jaxcifar.studies.waiting import earlier_failure, is_unfinished

_RECORD = "jobs.json"
_MAX_BYTES = 16 * MEGABYTE
_LOG_BYTES = 2**16  # read from the end of a log
_REASON_CHARACTERS = 300
_FORGET_JOBS = Remedy("delete it if no job of this study is in the queue")


class _PartRecord(msgspec.Struct, forbid_unknown_fields=True):
    """A job in the file `jobs.json`, with the names of the runs that it trains.

    Attributes:
      executor: "slurm" for a job of the cluster, or "local" for a process on this machine.
      job: the job's number in Slurm, or the number of the process.
      folder: name of the folder with the job's files and logs.
      runs: names of the runs, such as "norm seed 0".
    """

    executor: Executor
    job: Annotated[str, Meta(pattern=r"^[0-9]{1,15}(_[0-9]{1,9})?\Z")]
    folder: Annotated[str, Meta(pattern=r"^sent(-[0-9]{1,9})?\Z")]
    runs: list[Line]

    def __post_init__(self) -> None:
        if self.executor == "local" and not self.job.isdecimal():
            raise ValueError(f"a local job is the number of a process, not {self.job}")


class SentPart(NamedTuple):
    """A part of a study's runs that was sent to the cluster as one job.

    Attributes:
      job: the job.
      runs: the names of its runs, such as "norm seed 0".
    """

    job: Job
    runs: tuple[str, ...]


def jobs_folder(out: Path) -> Path:
    """Return the folder for the jobs of the study in `out`. No row can have this folder's name."""
    return out / "_jobs"


@contextlib.contextmanager
def lock_jobs(out: Path) -> Iterator[None]:
    """Prevent other processes from sending jobs of the study in `out` until the block ends.

    Raises:
      BusyError: another process is sending jobs.
      RunError: the folder of the jobs is a symbolic link.
    """
    require_no_link(jobs_folder(out))
    with lock_folder(jobs_folder(out), wait=False):
        yield


def make_job_folder(out: Path) -> Path:
    """Create and return a new folder for the files and logs of jobs of the study in `out`.

    Call this inside `lock_jobs`. A job reads a pickle in its folder, so the folder must have no
    other files.

    Raises:
      RunError: the folder can't be created.
    """
    folder = unused_path(jobs_folder(out) / "sent")
    try:
        folder.mkdir(parents=True)
    except OSError as error:
        raise RunError(f"{folder}: can't be created ({error.strerror})") from error
    return folder


def read_parts(out: Path) -> list[SentPart]:
    """Return the jobs that were sent for the study in the folder `out`, each with its runs.

    The list is empty if no job was sent.

    Raises:
      RunError: the file `jobs.json` can't be read.
    """
    folder = jobs_folder(out)
    if not os.path.lexists(folder / _RECORD):
        return []
    require_no_link(folder)
    records = read_json(folder / _RECORD, list[_PartRecord], _FORGET_JOBS, _MAX_BYTES)
    return [
        SentPart(Job(part.executor, part.job, folder / part.folder), tuple(part.runs))
        for part in records
    ]


def record_parts(out: Path, parts: Sequence[SentPart]) -> None:
    """Add jobs that were sent to the file `jobs.json`, for later commands.

    A run belongs to its latest job only.

    Args:
      out: folder of the study.
      parts: the jobs, each with the names of its runs.

    Raises:
      RunError: the file can't be written.
    """
    sent_now = {run for part in parts for run in part.runs}
    records = []
    for part in read_parts(out):
        runs = [run for run in part.runs if run not in sent_now]
        if runs:
            records.append(_record(part.job, runs))
    records += [_record(part.job, part.runs) for part in parts]
    file = jobs_folder(out) / _RECORD
    try:
        write_text(file, msgspec.json.format(msgspec.json.encode(records), indent=1).decode())
    except OSError as error:
        raise RunError(f"{file}: can't be written ({error.strerror})") from error


def _record(job: Job, runs: Sequence[str]) -> _PartRecord:
    """Return the entry of `jobs.json` for a job that trains the runs with these names."""
    return _PartRecord(job.executor, job.identity, job.folder.name, list(runs))


def is_left(task: Task) -> bool:
    """Return whether a run is still to be trained: it has no result and has not diverged."""
    return is_unfinished(task) and earlier_failure(task) is None


class Progress(NamedTuple):
    """The state of the jobs of a study.

    Attributes:
      finished: jobs whose runs all have a result.
      failed: jobs that are over, and whose runs do not all have a result.
      open: jobs that are in the queue or running.
    """

    finished: list[SentPart]
    failed: list[SentPart]
    open: list[SentPart]


def progress_of(
    parts: Sequence[SentPart], tasks: Sequence[Task], is_over: Callable[[Job], bool]
) -> Progress:
    """Sort the jobs of a study into finished, failed and open ones.

    Args:
      parts: the jobs that were sent, each with the names of its runs.
      tasks: the runs of the study.
      is_over: returns whether a job has ended.
    """
    progress = Progress([], [], [])
    for part in parts:
        # Ask for the results after the job: a job writes them before it ends.
        job_is_over = is_over(part.job)
        runs = [task for task in tasks if task.name in part.runs]
        results = [RunFolder(task.path).result_file.exists() for task in runs]
        if not job_is_over:
            progress.open.append(part)
        elif all(results):
            progress.finished.append(part)
        else:
            progress.failed.append(part)
    return progress


def failure_reason(part: SentPart, tasks: Sequence[Task]) -> str:
    """Return in one line why a job has failed: an error of its runs, or the end of its log.

    Args:
      part: the job, with the names of its runs.
      tasks: the runs of the study.
    """
    failures = [earlier_failure(task) for task in tasks if task.name in part.runs]
    for failure in filter(None, failures):
        return str(failure)
    errors, output = (_end_of(log) for log in part.job.logs)
    # The command prints a line "norm seed 0: REASON" about a run, and later its own error.
    names = "|".join(map(re.escape, part.runs))
    about_runs = re.findall(rf"^(?:{names}): .*(?:\n  .*)*", output, re.MULTILINE)
    error_lines = re.findall(r"^(?:.*: )?error: .*", errors, re.MULTILINE)
    lines = (errors.strip() or output.strip()).splitlines()
    if error_lines and re.search("runs? failed", error_lines[-1]) and about_runs:
        reason = about_runs[-1]
    elif error_lines:
        reason = error_lines[-1]
    else:
        reason = lines[-1] if lines else "the job has written no log"
    return printable(" ".join(reason.split()), _REASON_CHARACTERS)


def _end_of(log: Path) -> str:
    """Return the last 64 KiB of a log file as text; "" if the log can't be read."""
    try:
        with open_regular_file(log) as file:
            size = file.seek(0, os.SEEK_END)
            file.seek(max(0, size - _LOG_BYTES))
            return file.read(_LOG_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""
