"""Send a job for each part of a study."""

import sys
from argparse import Namespace
from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from jaxcifar.commands.shared.job_waiting import run_names
from jaxcifar.commands.shared.study_options import Shard
from jaxcifar.commands.shared.submit_options import job_options, without_submit_options
from jaxcifar.errors import RunError
from jaxcifar.machine.command_job import CommandJob
from jaxcifar.machine.files import delete_path
from jaxcifar.machine.job_queue import JobQueue
from jaxcifar.machine.terminal import PrintLine, pluralize

if TYPE_CHECKING:
    from jaxcifar.runs.task import Task
    from jaxcifar.studies.submitted_parts import SentPart


def group_runs_by_shard(
    tasks: "Sequence[Task]", runs_to_send: Collection[str], shard_count: int
) -> dict[Shard, list[str]]:
    """Return the names of the runs that the job of each shard trains.

    A shard is a part of a study. Shards without runs to train are left out.

    Args:
      tasks: all runs of the study, which are divided into shards.
      runs_to_send: names of the runs to train.
      shard_count: number of shards.
    """
    runs_by_shard = {}
    for part in range(1, shard_count + 1):
        shard = Shard(part, shard_count)
        runs = [task.name for task in shard.select(tasks) if task.name in runs_to_send]
        if runs:
            runs_by_shard[shard] = runs
    return runs_by_shard


def send_jobs(
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
    from jaxcifar.studies.submitted_parts import (
        SentPart,
        earlier_results,
        make_job_folder,
        record_parts,
    )

    tasks_by_shard = {shard: shard.select(tasks) for shard in runs_by_shard}
    words = without_submit_options(argv)
    words_that_keep_new_runs = without_submit_options(argv, other_option="--force")
    command_jobs = [
        _command_job(words, words_that_keep_new_runs, shard, tasks_of_shard)
        for shard, tasks_of_shard in tasks_by_shard.items()
    ]
    results_by_shard = {
        shard: earlier_results([task for task in tasks_by_shard[shard] if task.name in runs])
        for shard, runs in runs_by_shard.items()
    }
    queue_options = job_options(options.submit, options.submit_options)
    job_folder = make_job_folder(study_folder)
    try:
        jobs = queue.send(options.submit, command_jobs, queue_options, job_folder)
    except RunError:
        delete_path(job_folder)
        raise
    sent_parts = [
        SentPart(job, tuple(runs), results_by_shard[shard])
        for job, (shard, runs) in zip(jobs, runs_by_shard.items(), strict=True)
    ]
    record_parts(study_folder, sent_parts)
    return sent_parts


def _command_job(
    words: Sequence[str],
    words_that_keep_new_runs: Sequence[str],
    shard: Shard,
    tasks_of_shard: "Sequence[Task]",
) -> CommandJob:
    """Return a job that repeats this command for one part of a study.

    Args:
      words: the words of this command that the job repeats.
      words_that_keep_new_runs: the same without `--force`. If the job runs a second time because
        its time was over, it repeats these words, and so keeps the runs that it has trained.
      shard: the part of the study.
      tasks_of_shard: the runs of this part.
    """
    from jaxcifar.studies.forced_runs import ForcedRuns

    earlier_runs = ForcedRuns.replaced_by(tasks_of_shard)
    return CommandJob(
        command=_job_command(words, shard),
        command_again=_job_command(words_that_keep_new_runs, shard),
        folder=str(Path.cwd()),
        before_again=earlier_runs.delete_still_there,
    )


def _job_command(ablation_arguments: Sequence[str], shard: Shard) -> tuple[str, ...]:
    """Return the command of a job, which trains a part of a study's runs."""
    program = (sys.executable, "-m", "jaxcifar.commands", "ablation")
    return (*program, *ablation_arguments, "--shard", str(shard))


def print_sent_parts(sent_parts: "Sequence[SentPart]", print_line: PrintLine) -> None:
    """Print the numbers of the jobs that were sent, their runs and the folder of their logs."""
    first_job, last_job = sent_parts[0].job, sent_parts[-1].job
    jobs = f"job {first_job.identity}"
    if len(sent_parts) > 1:
        jobs = f"jobs {first_job.identity} to {last_job.identity}"
    parts = pluralize(len(sent_parts), "part")
    print_line(f"sent {parts} as {jobs}: {run_names(sent_parts)}; logs: {first_job.folder}")
