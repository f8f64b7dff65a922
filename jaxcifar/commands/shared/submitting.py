"""Send the unfinished parts of a study to a cluster, wait, and name the failed parts."""

import dataclasses
import sys
import time
from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.submit_options import job_options, without_submit_options
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.command_job import CommandJob
from jaxcifar.machine.files import delete_path
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.machine.job_queue import JobQueue, cancel_command
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.terminal import PrintLine, pluralize

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task
    from jaxcifar.studies.submitted_parts import Progress, SentPart

_POLL_SECONDS = 1.0
_STATUS_SECONDS = 600.0  # between two lines about the jobs while nothing else happens
_NAMED_PARTS = 20  # in a line that lists parts


def send_parts(
    tasks: "Sequence[Task]",
    rows: int,
    argv: Sequence[str],
    options: Namespace,
    out: Path,
    print_line: PrintLine,
) -> None:
    """Send the parts of a study that have unfinished runs; wait for all jobs unless `--no-wait`.

    Args:
      tasks: the runs of the study, in the order in which `--shard I/N` divides them into shares.
      rows: number of the study's rows (sets of settings), by default also the number of parts.
      argv: the words of this command, which the jobs repeat.
      options: the parsed words; `check_submit_options` has accepted them.
      out: folder of the study.
      print_line: prints a line.

    Raises:
      UsageError: nothing is left to train.
      RunError: the jobs can't be sent.
      Interrupted: the user has stopped waiting.
    """
    from jaxcifar.studies.submitted_parts import is_left, lock_jobs, progress_of, read_parts

    queue = JobQueue()
    with lock_jobs(out):
        earlier = progress_of(read_parts(out), tasks, queue.is_over).open
        names_in_queue = {name for part in earlier for name in part.runs}
        earlier = _with_runs_of(tasks, earlier)
        left = [task for task in tasks if is_left(task)]
        if not left and not earlier:
            raise UsageError(_nothing_left(tasks))
        to_send = {task.name for task in left if task.name not in names_in_queue}
        if earlier:
            print_line(f"in the queue or running: {_names(earlier)}")
        sent = _send(queue, tasks, to_send, rows, argv, options, out) if to_send else []
    if sent:
        folder = sent[0].job.folder
        jobs = f"job {sent[0].job.identity}"
        if len(sent) > 1:
            jobs = f"jobs {sent[0].job.identity} to {sent[-1].job.identity}"
        parts = pluralize(len(sent), "part")
        print_line(f"sent {parts} as {jobs}: {_names(sent)}; logs: {folder}")
    if options.wait is False:
        print_line("the same command without --submit writes the report when they are over")
        return
    # The jobs overwrite what `--force` names, so whatever is there when they end is the result.
    tasks = [dataclasses.replace(task, overwrite=False) for task in tasks]
    _wait(queue, [*earlier, *sent], tasks, print_line)


def _nothing_left(tasks: "Sequence[Task]") -> str:
    """Return the error message for a study whose runs are all finished or have failed for good."""
    from jaxcifar.studies.waiting import earlier_failures

    failures = earlier_failures(tasks)
    if not failures:
        runs = pluralize(len(tasks), "run")
        return f"--submit: all of {runs} finished; leave it out to write the report"
    names = ", ".join(outcome.task.name for outcome in failures)
    return (
        f"--submit: nothing is left to train: {names} failed ({failures[0].error}); --force ROW "
        "trains a row again"
    )


def _send(
    queue: JobQueue,
    tasks: "Sequence[Task]",
    to_send: set[str],
    rows: int,
    argv: Sequence[str],
    options: Namespace,
    out: Path,
) -> "list[SentPart]":
    """Send a job for each share of a study that has unfinished runs, and record the jobs.

    `to_send` has the names of the unfinished runs. The other arguments are those of `send_parts`.
    """
    from jaxcifar.studies.submitted_parts import SentPart, make_job_folder, record_parts

    number = options.parts or rows
    names_of_shard = {
        f"{i}/{number}": [task.name for task in tasks[i - 1 :: number] if task.name in to_send]
        for i in range(1, number + 1)
    }
    names_of_shard = {shard: names for shard, names in names_of_shard.items() if names}
    words = without_submit_options(argv)
    words_again = without_submit_options(argv, also="--force")  # keep what the first time trained
    commands = [
        CommandJob(_command(words, shard), _command(words_again, shard), str(Path.cwd()))
        for shard in names_of_shard
    ]
    asked_for = job_options(options.submit, options.submit_options)
    folder = make_job_folder(out)
    try:
        jobs = queue.send(options.submit, commands, asked_for, folder)
    except RunError:
        delete_path(folder)
        raise
    sent = [
        SentPart(job, tuple(names))
        for job, names in zip(jobs, names_of_shard.values(), strict=True)
    ]
    record_parts(out, sent)
    return sent


def _command(words: Sequence[str], shard: str) -> tuple[str, ...]:
    """Return the command of a job, which trains a share of a study's runs, such as "2/4"."""
    return (sys.executable, "-m", "jaxcifar.commands", "ablation", *words, "--shard", shard)


def _wait(
    queue: JobQueue, parts: "Sequence[SentPart]", tasks: "Sequence[Task]", print_line: PrintLine
) -> None:
    """Wait until all jobs are over, and print a line about each that has ended.

    `parts` are the parts of the study, each with its job; `tasks` are the study's runs.

    Raises:
      Interrupted: the user has stopped waiting; the jobs go on.
    """
    from jaxcifar.studies.submitted_parts import progress_of

    ended: set[SentPart] = set()
    last_line = time.monotonic()
    print_line(f"waiting for {pluralize(len(parts), 'job')}; Ctrl-C stops waiting")
    try:
        while True:
            progress = progress_of(parts, tasks, queue.is_over)
            for part in (*progress.finished, *progress.failed):
                if part not in ended:
                    ended.add(part)
                    last_line = time.monotonic()
                    outcome = "finished" if part in progress.finished else "failed"
                    print_line(f"job {part.job.identity} {outcome}: {_names([part])}")
            if not progress.open:
                return
            if time.monotonic() - last_line > _STATUS_SECONDS:
                last_line = time.monotonic()
                print_line(_status(queue, progress))
            time.sleep(_POLL_SECONDS)
    except KeyboardInterrupt:
        cancel = cancel_command([part.job for part in parts if part not in ended])
        hint = f"; {cancel} cancels the jobs" if cancel else ""
        raise Interrupted(
            "stopped waiting; repeat the command to wait again, or leave out --submit to write the "
            f"report{hint}"
        ) from None


def _status(queue: JobQueue, progress: "Progress") -> str:
    """Return a line about all jobs of a study, such as "jobs: 1 finished, 0 failed, 2 RUNNING"."""
    states = [queue.state(part.job) for part in progress.open]
    counts = [f"{states.count(state)} {state}" for state in dict.fromkeys(states)]
    done = f"{len(progress.finished)} finished, {len(progress.failed)} failed"
    return f"jobs: {done}, {', '.join(counts)}"


def _with_runs_of(tasks: "Sequence[Task]", parts: "Sequence[SentPart]") -> "list[SentPart]":
    """Return the parts of a study, each with its job, that train at least one run in `tasks`."""
    selected = {task.name for task in tasks}
    return [part for part in parts if selected.intersection(part.runs)]


def _names(parts: "Sequence[SentPart]") -> str:
    """Return the names of all runs of some jobs as text; a long list is cut."""
    names = [name for part in parts for name in part.runs]
    return join_names(names, _NAMED_PARTS)


def sent_and_unfinished(tasks: "Sequence[Task]", out: Path) -> bool:
    """Return whether one of a study's unfinished runs was sent to a cluster by an earlier command.

    Raises:
      RunError: the record of the jobs can't be read.
    """
    from jaxcifar.studies.submitted_parts import is_left, read_parts

    sent = {name for part in read_parts(out) for name in part.runs}
    return any(task.name in sent and is_left(task) for task in tasks)


def require_all_finished(tasks: "Sequence[Task]", out: Path, print_line: PrintLine) -> None:
    """Print what is left of a study that was sent to a cluster; raise an error if parts are left.

    The lines name failed parts with the reasons, parts that are not over, and runs never sent.

    Args:
      tasks: the runs of the study.
      out: folder of the study.
      print_line: prints a line.

    Raises:
      RunError: not all parts are finished.
    """
    from jaxcifar.studies.submitted_parts import failure_reason, is_left, progress_of, read_parts

    queue = JobQueue()
    parts = _with_runs_of(tasks, read_parts(out))
    _, failed, unfinished = progress_of(parts, tasks, queue.is_over)
    for part in unfinished:
        print_line(f"{_names([part])}: job {part.job.identity} is {queue.state(part.job)}")
    for part in failed:
        print_line(f"{_names([part])}: {failure_reason(part, tasks)} (logs: {part.job.folder})")
    number = pluralize(len(parts), "part")
    sent = {name for part in parts for name in part.runs}
    never_sent = [task.name for task in tasks if task.name not in sent and is_left(task)]
    if never_sent:
        print_line(f"never sent: {join_names(never_sent, _NAMED_PARTS)}; add --submit to send them")
    if failed:
        raise RunError(
            f"{len(failed)} of {number} failed: {_names(failed)}; the same command with "
            f"--submit {failed[0].job.executor} sends them again"
        )
    if unfinished:
        raise RunError(
            f"{len(unfinished)} of {number} not over yet: {_names(unfinished)}; repeat the "
            "command later, or add --shard 1/1 to train here"
        )
