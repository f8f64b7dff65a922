"""Wait for the jobs that train the parts of a study, and name their runs."""

import time
from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.machine.job_queue import Job, JobQueue, cancel_command
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.terminal import PrintLine, pluralize

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task
    from jaxcifar.studies.submitted_parts import Progress, SentPart

_POLL_SECONDS = 1.0
_SECONDS_BETWEEN_STATUS_LINES = 600.0  # while nothing else happens
MAX_NAMED_RUNS = 20  # in a line


def wait_for_jobs(
    queue: JobQueue,
    parts: "Sequence[SentPart]",
    tasks: "Sequence[Task]",
    print_line: PrintLine,
) -> None:
    """Wait until all jobs are over, and print a line about each that has ended.

    Args:
      queue: the queue of the jobs.
      parts: the parts of the study, each with its job.
      tasks: the study's runs.
      print_line: prints a line.

    Raises:
      Interrupted: the user has stopped waiting; the jobs go on.
    """
    from jaxcifar.studies.submitted_parts import progress_of

    ended_jobs: set[Job] = set()
    last_line_time = time.monotonic()
    print_line(f"waiting for {pluralize(len(parts), 'job')}; Ctrl-C stops waiting")
    try:
        while True:
            progress = progress_of(parts, tasks, queue.is_over)
            newly_ended_parts = [
                part
                for part in (*progress.finished, *progress.failed)
                if part.job not in ended_jobs
            ]
            ended_jobs.update(part.job for part in newly_ended_parts)
            for part in newly_ended_parts:
                last_line_time = time.monotonic()
                outcome = "finished" if part in progress.finished else "failed"
                print_line(f"job {part.job.identity} {outcome}: {run_names([part])}")
            if not progress.open:
                return
            if time.monotonic() - last_line_time > _SECONDS_BETWEEN_STATUS_LINES:
                last_line_time = time.monotonic()
                print_line(_status_line(queue, progress))
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        open_jobs = [part.job for part in parts if part.job not in ended_jobs]
        message = _stopped_waiting_message(open_jobs, tasks[0].resuming_command)
        raise Interrupted(message) from None


def _stopped_waiting_message(open_jobs: Sequence[Job], resuming_command: str) -> str:
    """Return the message after Ctrl-C, with the commands to wait again and to cancel the jobs."""
    cancelling_command = cancel_command(open_jobs)
    hint = f"; {cancelling_command} cancels the jobs" if cancelling_command else ""
    return (
        f"you stopped waiting for the jobs, which go on; repeat {resuming_command} to wait again, "
        f"and leave out --submit to write the report{hint}"
    )


def _status_line(queue: JobQueue, progress: "Progress") -> str:
    """Return a line about all jobs of a study, such as "jobs: 1 finished, 0 failed, 2 RUNNING"."""
    state_counts = Counter(queue.state(part.job) for part in progress.open)
    open_jobs = ", ".join(f"{count} {state}" for state, count in state_counts.items())
    ended_jobs = f"{len(progress.finished)} finished, {len(progress.failed)} failed"
    return f"jobs: {ended_jobs}, {open_jobs}"


def run_names(parts: "Sequence[SentPart]") -> str:
    """Return the names of the runs that some jobs train, as text; a long list is cut."""
    runs = [run for part in parts for run in part.runs]
    return join_names(runs, MAX_NAMED_RUNS)
