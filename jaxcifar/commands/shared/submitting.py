"""Send the unfinished parts of a study to a cluster, and name the failed parts."""

from argparse import Namespace
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.job_sending import group_runs_by_shard, print_sent_parts, send_jobs
from jaxcifar.commands.shared.job_waiting import MAX_NAMED_RUNS, run_names, wait_for_jobs
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.job_queue import JobQueue
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.terminal import PrintLine, pluralize

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task
    from jaxcifar.studies.submitted_parts import SentPart


def send_parts(
    tasks: "Sequence[Task]",
    row_count: int,
    argv: Sequence[str],
    options: Namespace,
    study_folder: Path,
    print_line: PrintLine,
) -> None:
    """Send the parts of a study that have unfinished runs; wait for all jobs unless `--no-wait`.

    Args:
      tasks: the runs of the study, in the order in which `--shard I/N` divides them into parts.
      row_count: number of the study's rows (sets of settings), by default also the number of parts.
      argv: the words of this command, which the jobs repeat.
      options: the parsed words; `check_submit_options` has accepted them.
      study_folder: folder of the study.
      print_line: prints a line.

    Raises:
      UsageError: nothing is left to train.
      RunError: the jobs can't be sent.
      Interrupted: the user has stopped waiting.
    """
    from jaxcifar.studies.submitted_parts import lock_jobs, progress_of, read_parts
    from jaxcifar.studies.waiting import needs_training

    queue = JobQueue()
    with lock_jobs(study_folder):
        earlier_parts = read_parts(study_folder)
        all_open_parts = progress_of(earlier_parts, tasks, queue.is_over).open
        runs_in_queue = {run for part in all_open_parts for run in part.runs}
        open_parts = _parts_that_train(tasks, all_open_parts)
        tasks_to_train = [task for task in tasks if needs_training(task)]
        if not tasks_to_train and not open_parts:
            raise UsageError(_nothing_to_train_message(tasks, earlier_parts))
        runs_to_send = {task.name for task in tasks_to_train if task.name not in runs_in_queue}
        if open_parts:
            print_line(f"in the queue or running: {run_names(open_parts)}")
        sent_parts: list[SentPart] = []
        if runs_to_send:
            part_count = options.parts or row_count
            runs_by_shard = group_runs_by_shard(tasks, runs_to_send, part_count)
            sent_parts = send_jobs(queue, tasks, runs_by_shard, argv, options, study_folder)
    if sent_parts:
        print_sent_parts(sent_parts, print_line)
    if options.wait is False:
        command = tasks[0].resuming_command
        print_line(f"when the jobs are over, leave out --submit: {command} writes the report")
        return
    parts = [*open_parts, *sent_parts]
    wait_for_jobs(queue, parts, tasks, print_line)


def _nothing_to_train_message(tasks: "Sequence[Task]", parts: "Sequence[SentPart]") -> str:
    """Return the error message for a study with nothing to train: all runs finished or failed.

    `parts` are the parts that were sent earlier. Their jobs are over.
    """
    from jaxcifar.runs.task import forcing_command
    from jaxcifar.studies.waiting import earlier_failures

    tasks_to_force = _tasks_with_earlier_results(tasks, parts)
    if tasks_to_force:
        runs = ", ".join(task.name for task in tasks_to_force)
        command = forcing_command(task.path for task in tasks_to_force)
        return (
            f"--submit: the jobs of {runs} failed before they replaced the earlier results; "
            f"{command}, sends them again"
        )
    failed_outcomes = earlier_failures(tasks)
    if not failed_outcomes:
        runs = pluralize(len(tasks), "run")
        return f"--submit: all of {runs} finished; leave it out to write the report"
    failed_runs = ", ".join(outcome.task.name for outcome in failed_outcomes)
    return (
        f"--submit: nothing is left to train: {failed_runs} failed ({failed_outcomes[0].error}); "
        "--force ROW trains a row again"
    )


def _parts_that_train(tasks: "Sequence[Task]", parts: "Sequence[SentPart]") -> "list[SentPart]":
    """Return the parts of a study, each with its job, that train at least one run in `tasks`."""
    runs = {task.name for task in tasks}
    return [part for part in parts if runs.intersection(part.runs)]


def must_leave_training_to_jobs(
    tasks: "Sequence[Task]", options: Namespace, study_folder: Path
) -> bool:
    """Return True if this command must not train, because jobs of an earlier command do.

    The reason is a run that was sent with `--submit`, and that its job has not finished yet. A run
    with a result is no reason if this command has `--force` for its row.

    With `--submit` or `--shard`, as in the commands of the jobs, return False.

    Raises:
      RunError: the record of the jobs can't be read.
    """
    if options.submit is not None or options.shard is not None:
        return False
    from jaxcifar.studies.submitted_parts import read_parts
    from jaxcifar.studies.waiting import needs_training, without_overwriting

    part_by_run = {run: part for part in read_parts(study_folder) for run in part.runs}
    for task in tasks:
        part = part_by_run.get(task.name)
        if part is None:
            continue
        needs_job = needs_training(without_overwriting(task))
        waits_for_forced_run = part.has_earlier_result(task) and not task.overwrite
        if needs_job or waits_for_forced_run:
            return True
    return False


def require_all_finished(
    tasks: "Sequence[Task]", study_folder: Path, print_line: PrintLine
) -> None:
    """Raise an error if parts of a study that were sent to a cluster are not finished.

    Before that, lines name the failed parts with the reasons, the parts that are not over, and the
    runs that were never sent.

    Args:
      tasks: the runs of the study.
      study_folder: folder of the study.
      print_line: prints a line.

    Raises:
      RunError: not all parts are finished.
    """
    from jaxcifar.studies.job_failures import failure_reason
    from jaxcifar.studies.submitted_parts import progress_of, read_parts

    queue = JobQueue()
    parts = _parts_that_train(tasks, read_parts(study_folder))
    progress = progress_of(parts, tasks, queue.is_over)
    for part in progress.open:
        print_line(f"{run_names([part])}: job {part.job.identity} is {queue.state(part.job)}")
    for part in progress.failed:
        reason = failure_reason(part, tasks)
        print_line(f"{run_names([part])}: {reason} (logs: {part.job.folder})")
    never_sent_runs = _unfinished_runs_never_sent(tasks, parts)
    if never_sent_runs:
        names = join_names(never_sent_runs, MAX_NAMED_RUNS)
        print_line(f"never sent: {names}; add --submit to send them")
    all_parts = pluralize(len(parts), "part")
    if progress.failed:
        executor = progress.failed[0].job.executor
        raise RunError(
            f"{len(progress.failed)} of {all_parts} failed: {run_names(progress.failed)}; "
            f"{_sending_command(progress.failed, tasks)} --submit {executor}, sends them again"
        )
    if progress.open:
        raise RunError(
            f"{len(progress.open)} of {all_parts} not over yet: {run_names(progress.open)}; "
            "repeat the command later, or add --shard 1/1 to train here"
        )


def _sending_command(failed_parts: "Sequence[SentPart]", tasks: "Sequence[Task]") -> str:
    """Return words for the command that sends failed parts again, for a message.

    A run that still has the result from before `--force` needs `--force` again.
    """
    from jaxcifar.runs.task import forcing_command

    tasks_to_force = _tasks_with_earlier_results(tasks, failed_parts)
    if tasks_to_force:
        return f"{forcing_command(task.path for task in tasks_to_force)}, and"
    return f"{tasks[0].resuming_command}, with"


def _tasks_with_earlier_results(
    tasks: "Sequence[Task]", parts: "Sequence[SentPart]"
) -> "list[Task]":
    """Return the tasks in `parts` that still have their results from before `--force`."""
    return [task for task in tasks if any(part.has_earlier_result(task) for part in parts)]


def _unfinished_runs_never_sent(tasks: "Sequence[Task]", parts: "Sequence[SentPart]") -> list[str]:
    """Return the names of the runs that are still to be trained, and that no job trains."""
    from jaxcifar.studies.waiting import needs_training

    sent_runs = {run for part in parts for run in part.runs}
    never_sent_tasks = [task for task in tasks if task.name not in sent_runs]
    return [task.name for task in never_sent_tasks if needs_training(task)]
