"""Find out why a job of a study has failed."""

import os
import re
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.errors import printable
from jaxcifar.machine.reading import open_regular_file
from jaxcifar.runs.task import Task
from jaxcifar.studies.submitted_parts import SentPart
from jaxcifar.studies.waiting import earlier_failure

_MAX_LOG_BYTES = 2**16  # read from the end of a log
_MAX_REASON_LENGTH = 300


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
