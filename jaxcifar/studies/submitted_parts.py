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
from jaxcifar.studies.waiting import earlier_failure

_RECORD_FILE = "jobs.json"
_MAX_RECORD_BYTES = 16 * MEGABYTE
_MAX_LOG_BYTES = 2**16  # read from the end of a log
_MAX_REASON_LENGTH = 300
_DELETE_RECORD = Remedy("delete it if no job of this study is in the queue")


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
            raise ValueError(
                f"a local job must be the number of its process, such as 1234, not {self.job}"
            )


class SentPart(NamedTuple):
    """A part of a study's runs that was sent to the cluster as one job.

    Attributes:
      job: the job.
      runs: the names of its runs, such as "norm seed 0".
    """

    job: Job
    runs: tuple[str, ...]


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
    return [
        SentPart(Job(record.executor, record.job, folder / record.folder), tuple(record.runs))
        for record in records
    ]


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
            records.append(_record_of_job(earlier_part.job, other_runs))
    records += [_record_of_job(part.job, part.runs) for part in parts]
    file = jobs_folder(study_folder) / _RECORD_FILE
    try:
        json_text = msgspec.json.format(msgspec.json.encode(records), indent=1).decode()
        write_text(file, json_text)
    except OSError as error:
        raise RunError(
            f"{file}: can't be written ({error.strerror}); the jobs were sent, so cancel them and "
            "make the file writable before you send them again"
        ) from error


def _record_of_job(job: Job, runs: Sequence[str]) -> _PartRecord:
    """Return the entry of `jobs.json` for a job that trains the runs with these names."""
    return _PartRecord(job.executor, job.identity, job.folder.name, list(runs))


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
        have_results = all(RunFolder(task.path).result_file.exists() for task in tasks_of_part)
        if not is_job_over:
            progress.open.append(part)
        elif have_results:
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
    tasks_of_part = [task for task in tasks if task.name in part.runs]
    for task in tasks_of_part:
        failure = earlier_failure(task)
        if failure is not None:
            return str(failure)
    error_log, output_log = [_read_end_of_log(log) for log in part.job.logs]
    reason = _last_error_in_logs(error_log, output_log, part.runs)
    return printable(" ".join(reason.split()), _MAX_REASON_LENGTH)


def _last_error_in_logs(error_log: str, output_log: str, runs: Sequence[str]) -> str:
    """Return the last error message in the logs of a job, or the last line if there is none.

    The command prints a line "norm seed 0: REASON" about a run, and later its own error, which only
    counts the failed runs.
    """
    any_run_name = "|".join(map(re.escape, runs))
    indented_lines = r"(?:\n  .*)*"
    message_pattern = re.compile(rf"^(?:{any_run_name}): .*{indented_lines}", re.MULTILINE)
    error_pattern = re.compile(r"^(?:.*: )?error: .*", re.MULTILINE)
    messages_about_runs: list[str] = message_pattern.findall(output_log)
    command_errors: list[str] = error_pattern.findall(error_log)
    if command_errors:
        only_counts_failed_runs = re.search("runs? failed", command_errors[-1])
        if only_counts_failed_runs and messages_about_runs:
            return messages_about_runs[-1]
        return command_errors[-1]
    log = error_log.strip() or output_log.strip()
    return log.splitlines()[-1] if log else "the job has written no log"


def _read_end_of_log(log: Path) -> str:
    """Return the last 64 KiB of a log file as text; "" if the log can't be read."""
    try:
        with open_regular_file(log) as file:
            file_size = file.seek(0, os.SEEK_END)
            file.seek(max(0, file_size - _MAX_LOG_BYTES))
            return file.read(_MAX_LOG_BYTES).decode(errors="replace")
    except (OSError, ValueError):
        return ""
