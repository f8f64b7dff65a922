"""Send commands as jobs to Slurm, or to processes of this machine, through submitit."""

import contextlib
import io
import logging
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Literal, NamedTuple

from jaxcifar.errors import RunError, UsageError, first_line, printable
from jaxcifar.machine.command_job import CommandJob
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.system import WINDOWS, is_running

Executor = Literal["slurm", "local"]
EXECUTORS: tuple[Executor, ...] = ("slurm", "local")
_SLURM_PROGRAMS = ("sbatch", "srun")
_SLURM_MINUTES = 60
_LOCAL_MINUTES = 7 * 24 * 60  # submitit ends a local job after its time
_MAX_RESTARTS_AFTER_TIMEOUT = 20  # how often a job whose time is over is put into the queue again


class JobOptions(NamedTuple):
    """Time, number and other options of the jobs that the user asks for.

    Attributes:
      minutes: time limit of each job; None for the default.
      max_running_jobs: number of jobs that may run at the same time; None for no limit.
      flags: other options of sbatch, Slurm's command: name -> value, such as `{"gres": "gpu:1"}`.
        The value of an option without a value is True.
    """

    minutes: int | None
    max_running_jobs: int | None
    flags: dict[str, str | bool]


class Job(NamedTuple):
    """A job that has been sent.

    Attributes:
      executor: "slurm" for a cluster, "local" for a process of this machine.
      identity: the number of the job, such as "4711", or "4711_0" in an array of jobs.
      folder: folder of the job's files and logs.
    """

    executor: Executor
    identity: str
    folder: Path

    @property
    def logs(self) -> tuple[Path, Path]:
        """The paths of the logs of standard error and of standard output."""
        error_log = self.folder / f"{self.identity}_0_log.err"
        output_log = self.folder / f"{self.identity}_0_log.out"
        return error_log, output_log


def check_executor(executor: Executor, folder: Path) -> None:
    """Check that jobs can be sent from this machine to Slurm or to local processes.

    Args:
      executor: "slurm" for a cluster, "local" for processes of this machine.
      folder: where the files and logs of the jobs will be.

    Raises:
      UsageError: submitit or Slurm is missing, or the folder's name can't be used.
    """
    if WINDOWS:
        raise UsageError("--submit: jobs can't be sent from Windows; use Linux or macOS")
    try:
        import_extra("submitit")
    except RunError as error:
        raise UsageError(f"--submit {executor}: {error}") from error
    needed_programs = _SLURM_PROGRAMS if executor == "slurm" else ()
    for needed_program in needed_programs:
        if shutil.which(needed_program) is None:
            raise UsageError(
                f"--submit slurm: there is no program {needed_program} on the path; use a machine "
                "from which jobs are sent to the cluster, or try --submit local"
            )
    absolute_path = str(folder.absolute())
    if "%" in absolute_path or not absolute_path.isprintable():
        raise UsageError(
            f"{printable(absolute_path)}: Slurm can't use a folder whose path has % or unprintable "
            "characters; choose another run folder"
        )


class JobQueue:
    """Sends jobs through the package submitit, and says whether they are over.

    The results that jobs write as pickles are never read, because a pickle can execute code.
    """

    def __init__(self) -> None:
        self._submitit = import_extra("submitit")
        logging.getLogger("submitit").setLevel(logging.CRITICAL)
        self._jobs: dict[Job, Any] = {}  # submitit's object of each job, which caches the state

    def send(
        self, executor: Executor, commands: Sequence[CommandJob], options: JobOptions, folder: Path
    ) -> list[Job]:
        """Send a job for each command; on Slurm, all jobs of this call are one array.

        Args:
          executor: "slurm" or "local", which `check_executor` has accepted.
          commands: the commands that the jobs run.
          options: time limits and other options that the user asks for.
          folder: a new folder, for the files and logs of the jobs.

        Raises:
          RunError: the jobs can't be sent.
        """
        sbatch_messages = io.StringIO()
        try:
            # submitit prints what sbatch says before it raises an error that says it too.
            with contextlib.redirect_stderr(sbatch_messages):
                submitit_executor = self._executor(executor, options, folder)
                submitit_jobs = submitit_executor.submit_array(list(commands))
        except (OSError, RuntimeError, ValueError) as error:
            reason = printable(first_line(error), 300)
            advice = "correct the options of the jobs, or use --submit local"
            if executor == "local":
                advice = f"make sure that {folder} can be written and processes can be started"
            raise RunError(
                f"--submit {executor}: the jobs can't be sent ({reason}); {advice}"
            ) from error
        jobs = [Job(executor, job.job_id, folder) for job in submitit_jobs]
        self._jobs.update(zip(jobs, submitit_jobs, strict=True))
        return jobs

    def _executor(self, executor: Executor, options: JobOptions, folder: Path) -> Any:
        """Return an object of the package submitit that sends jobs to Slurm or starts them here.

        Args:
          executor: where jobs run: "slurm" for the cluster, "local" for this machine.
          options: the user's options for the jobs, such as their time limit.
          folder: folder for the jobs' logs.
        """
        if executor == "local":
            submitit_executor = self._submitit.LocalExecutor(
                folder, max_num_timeout=_MAX_RESTARTS_AFTER_TIMEOUT
            )
            submitit_executor.update_parameters(timeout_min=options.minutes or _LOCAL_MINUTES)
            return submitit_executor
        submitit_executor = self._submitit.SlurmExecutor(
            folder, max_num_timeout=_MAX_RESTARTS_AFTER_TIMEOUT
        )
        slurm_parameters: dict[str, Any] = {
            "time": options.minutes or _SLURM_MINUTES,
            "additional_parameters": {"job_name": "jaxcifar", **options.flags},
        }
        if options.max_running_jobs:
            slurm_parameters["array_parallelism"] = options.max_running_jobs
        submitit_executor.update_parameters(**slurm_parameters)
        return submitit_executor

    def is_over(self, job: Job) -> bool:
        """Return True if a job has ended: it succeeded, failed or was cancelled."""
        if job.executor == "local" and job not in self._jobs:  # another process has started it
            has_result = (job.folder / f"{job.identity}_0_result.pkl").exists()
            return has_result or not is_running(int(job.identity))
        return bool(self._submitit_job(job).done())

    def state(self, job: Job) -> str:
        """Return the state of a job that is not over, such as "PENDING" or "RUNNING"."""
        if job.executor == "local":
            return "RUNNING"
        return printable(self._submitit_job(job).state, 40)

    def _submitit_job(self, job: Job) -> Any:
        if job not in self._jobs:
            job_types = {"slurm": self._submitit.SlurmJob, "local": self._submitit.LocalJob}
            job_type = job_types[job.executor]
            self._jobs[job] = job_type(folder=job.folder, job_id=job.identity)
        return self._jobs[job]


def cancel_command(jobs: Sequence[Job]) -> str:
    """Return the shell command that cancels the Slurm jobs among `jobs`; "" if there are none."""
    slurm_jobs = [job for job in jobs if job.executor == "slurm"]
    array_ids = dict.fromkeys(job.identity.split("_")[0] for job in slurm_jobs)
    return " ".join(["scancel", *array_ids]) if array_ids else ""
