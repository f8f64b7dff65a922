"""Send the unfinished parts of a study to a cluster, and name the failed parts."""

import dataclasses
import sys
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.job_waiting import MAX_NAMED_RUNS, run_names, wait_for_jobs
from jaxcifar.commands.shared.study_options import Shard
from jaxcifar.commands.shared.submit_options import job_options, without_submit_options
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.command_job import CommandJob
from jaxcifar.machine.files import delete_path
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
        parts_in_queue = progress_of(earlier_parts, tasks, queue.is_over).open
        runs_in_queue = {run for part in parts_in_queue for run in part.runs}
        open_parts = _parts_that_train(tasks, parts_in_queue)
        tasks_to_train = [task for task in tasks if needs_training(task)]
        if not tasks_to_train and not open_parts:
            raise UsageError(_nothing_to_train_message(tasks))
        runs_to_send = {task.name for task in tasks_to_train if task.name not in runs_in_queue}
        if open_parts:
            print_line(f"in the queue or running: {run_names(open_parts)}")
        sent_parts: list[SentPart] = []
        if runs_to_send:
            part_count = options.parts or row_count
            runs_by_shard = _shards_with_runs(tasks, runs_to_send, part_count)
            sent_parts = _send_jobs(queue, tasks, runs_by_shard, argv, options, study_folder)
    if sent_parts:
        _print_sent_parts(sent_parts, print_line)
    if options.wait is False:
        command = tasks[0].resuming_command
        print_line(f"when the jobs are over, leave out --submit: {command} writes the report")
        return
    # With `--force`, the jobs delete the earlier runs. So each result that exists when the jobs end
    # is a new one, and no task may overwrite it.
    tasks_after_jobs = [dataclasses.replace(task, overwrite=False) for task in tasks]
    parts = [*open_parts, *sent_parts]
    wait_for_jobs(queue, parts, tasks_after_jobs, print_line)


def _nothing_to_train_message(tasks: "Sequence[Task]") -> str:
    """Return the error message for a study with nothing to train: all runs finished or failed."""
    from jaxcifar.studies.waiting import earlier_failures

    failed_outcomes = earlier_failures(tasks)
    if not failed_outcomes:
        runs = pluralize(len(tasks), "run")
        return f"--submit: all of {runs} finished; leave it out to write the report"
    failed_runs = ", ".join(outcome.task.name for outcome in failed_outcomes)
    return (
        f"--submit: nothing is left to train: {failed_runs} failed ({failed_outcomes[0].error}); "
        "--force ROW trains a row again"
    )


def _shards_with_runs(
    tasks: "Sequence[Task]", runs_to_send: Collection[str], part_count: int
) -> dict[Shard, list[str]]:
    """Divide a study into parts for jobs; return the names of the runs to train in each part.

    Args:
      tasks: all runs of the study.
      runs_to_send: names of the runs to train; parts without such runs are left out.
      part_count: number of parts into which all runs are divided.
    """
    runs_by_shard = {}
    for part in range(1, part_count + 1):
        shard = Shard(part, part_count)
        runs = [task.name for task in shard.select(tasks) if task.name in runs_to_send]
        if runs:
            runs_by_shard[shard] = runs
    return runs_by_shard


def _send_jobs(
    queue: JobQueue,
    tasks: "Sequence[Task]",
    runs_by_shard: Mapping[Shard, Sequence[str]],
    argv: Sequence[str],
    options: Namespace,
    study_folder: Path,
) -> "list[SentPart]":
    """Send a job for each part of a study, record the jobs in the study's folder, and return them.

    Args:
      queue: where to send the jobs.
      tasks: the runs of the study.
      runs_by_shard: part of the study -> names of its runs that are not finished.
      argv: the words of this command, which the jobs repeat.
      options: the parsed words.
      study_folder: folder of the study.

    Raises:
      RunError: the jobs can't be sent.
    """
    from jaxcifar.studies.forced_runs import ForcedRuns
    from jaxcifar.studies.submitted_parts import SentPart, make_job_folder, record_parts

    words = without_submit_options(argv)
    words_that_keep_new_runs = without_submit_options(argv, other_option="--force")
    command_jobs = [
        CommandJob(
            _job_command(words, shard),
            _job_command(words_that_keep_new_runs, shard),
            str(Path.cwd()),
            before_again=ForcedRuns.of_tasks_not_begun(shard.select(tasks)).delete_runs_still_there,
        )
        for shard in runs_by_shard
    ]
    queue_options = job_options(options.submit, options.submit_options)
    job_folder = make_job_folder(study_folder)
    try:
        jobs = queue.send(options.submit, command_jobs, queue_options, job_folder)
    except RunError:
        delete_path(job_folder)
        raise
    sent_parts = [
        SentPart(job, tuple(runs)) for job, runs in zip(jobs, runs_by_shard.values(), strict=True)
    ]
    record_parts(study_folder, sent_parts)
    return sent_parts


def _job_command(words: Sequence[str], shard: Shard) -> tuple[str, ...]:
    """Return the command of a job, which trains a part of a study's runs."""
    program = (sys.executable, "-m", "jaxcifar.commands", "ablation")
    return (*program, *words, "--shard", str(shard))


def _print_sent_parts(sent_parts: "Sequence[SentPart]", print_line: PrintLine) -> None:
    first_job, last_job = sent_parts[0].job, sent_parts[-1].job
    jobs = f"job {first_job.identity}"
    if len(sent_parts) > 1:
        jobs = f"jobs {first_job.identity} to {last_job.identity}"
    parts = pluralize(len(sent_parts), "part")
    print_line(f"sent {parts} as {jobs}: {run_names(sent_parts)}; logs: {first_job.folder}")


def _parts_that_train(tasks: "Sequence[Task]", parts: "Sequence[SentPart]") -> "list[SentPart]":
    """Return the parts of a study, each with its job, that train at least one run in `tasks`."""
    runs = {task.name for task in tasks}
    return [part for part in parts if runs.intersection(part.runs)]


def leaves_training_to_jobs(
    tasks: "Sequence[Task]", options: Namespace, study_folder: Path
) -> bool:
    """Return True if jobs of an earlier command train the study, so that this command must not.

    An earlier command with `--submit` has then sent jobs to a cluster, and one of their runs is not
    finished. Commands with `--submit` or `--shard`, such as the jobs' own, get False. A finished
    run counts as finished, even if `--force` trains its row again.

    Raises:
      RunError: the record of the jobs can't be read.
    """
    if options.submit is not None or options.shard is not None:
        return False
    from jaxcifar.studies.submitted_parts import read_parts
    from jaxcifar.studies.waiting import needs_training

    sent_runs = {run for part in read_parts(study_folder) for run in part.runs}
    sent_tasks = [task for task in tasks if task.name in sent_runs]
    return any(needs_training(dataclasses.replace(task, overwrite=False)) for task in sent_tasks)


def require_all_finished(
    tasks: "Sequence[Task]", study_folder: Path, print_line: PrintLine
) -> None:
    """Print what is left of a study that was sent to a cluster; raise an error if parts are left.

    The lines name failed parts with the reasons, parts that are not over, and runs never sent.

    Args:
      tasks: the runs of the study.
      study_folder: folder of the study.
      print_line: prints a line.

    Raises:
      RunError: not all parts are finished.
    """
    from jaxcifar.studies import submitted_parts
    from jaxcifar.studies.waiting import needs_training

    queue = JobQueue()
    parts = _parts_that_train(tasks, submitted_parts.read_parts(study_folder))
    progress = submitted_parts.progress_of(parts, tasks, queue.is_over)
    for part in progress.open:
        print_line(f"{run_names([part])}: job {part.job.identity} is {queue.state(part.job)}")
    for part in progress.failed:
        reason = submitted_parts.failure_reason(part, tasks)
        print_line(f"{run_names([part])}: {reason} (logs: {part.job.folder})")
    sent_runs = {run for part in parts for run in part.runs}
    never_sent_tasks = [task for task in tasks if task.name not in sent_runs]
    never_sent_runs = [task.name for task in never_sent_tasks if needs_training(task)]
    if never_sent_runs:
        never_sent = join_names(never_sent_runs, MAX_NAMED_RUNS)
        print_line(f"never sent: {never_sent}; add --submit to send them")
    part_count = pluralize(len(parts), "part")
    if progress.failed:
        executor = progress.failed[0].job.executor
        raise RunError(
            f"{len(progress.failed)} of {part_count} failed: {run_names(progress.failed)}; "
            f"{tasks[0].resuming_command}, with --submit {executor}, sends them again"
        )
    if progress.open:
        raise RunError(
            f"{len(progress.open)} of {part_count} not over yet: {run_names(progress.open)}; "
            "repeat the command later, or add --shard 1/1 to train here"
        )
