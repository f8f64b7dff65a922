"""The options that send the parts of a study to a cluster."""

import argparse
import math
import re
from argparse import ArgumentTypeError
from collections.abc import Iterable, Sequence
from datetime import timedelta
from pathlib import Path

from jaxcifar.commands.shared.common_options import parse_count
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.job_queue import EXECUTORS, Executor, JobOptions, check_executor
from jaxcifar.machine.terminal import pluralize

_OPTION_NAME_PATTERN = re.compile(r"[a-z][a-z0-9-]{0,39}")
# Slurm's forms of a time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
_SLURM_TIME_PATTERNS = (
    re.compile(r"(?P<minutes>\d{1,7})(:(?P<seconds>\d{1,2}))?"),
    re.compile(r"(?P<hours>\d{1,7}):(?P<minutes>\d{1,2}):(?P<seconds>\d{1,2})"),
    re.compile(
        r"(?P<days>\d{1,3})-(?P<hours>\d{1,7})(:(?P<minutes>\d{1,2})(:(?P<seconds>\d{1,2}))?)?"
    ),
)
_AT_MOST_OPTION = "at-most"
# Options of sbatch that would contradict what submitit writes, or start a part more than once.
_OPTIONS_SET_BY_JAXCIFAR = {
    "array", "chdir", "error", "export", "input", "nodes", "ntasks", "ntasks-per-node", "open-mode",
    "output", "parsable", "signal", "test-only", "wait", "wrap",
}  # fmt: skip
_MAX_VALUE_LENGTH = 200


def add_submit_options(parser: OptionHolder) -> None:
    parser.add_argument(
        "--submit",
        choices=EXECUTORS,
        help="send the runs that are not finished as jobs: to Slurm, or as processes of this "
        "machine's CPU to try it (default: train them here)",
    )
    parser.add_argument(
        "--parts",
        type=parse_count,
        metavar="N",
        help="number of jobs for all runs of the study (default: one job for each row)",
    )
    parser.add_argument(
        "--submit-options",
        nargs="+",
        type=parse_submit_option,
        default=[],
        metavar="NAME=VALUE",
        help="options of sbatch, such as partition=gpu gres=gpu:1 time=2:00:00, where time is the "
        f"limit of a job; {_AT_MOST_OPTION}=N runs at most N jobs at a time (default: time=60, in "
        "minutes)",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="wait for the jobs and write the report (default: yes)",
    )


def check_submit_options(options: argparse.Namespace, run_count: int, study_folder: Path) -> None:
    """Check the options that send a study to a cluster, before anything that takes long.

    Args:
      options: the parsed options of the command.
      run_count: number of runs of the study.
      study_folder: folder of the study.

    Raises:
      UsageError: an option has no effect or can't be used here.
    """
    if options.submit is None:
        _require_no_option_of_submit(options)
        return
    if options.shard is not None:
        raise UsageError(
            "--shard: can't be used with --submit, which divides the study itself; set the number "
            "of jobs with --parts N"
        )
    if options.parts is not None and options.parts > run_count:
        raise UsageError(
            f"--parts {options.parts}: the study has {pluralize(run_count, 'run')}; use --parts "
            f"{run_count} or less"
        )
    job_options(options.submit, options.submit_options)  # raises an error if a value is wrong
    check_executor(options.submit, study_folder)


def _require_no_option_of_submit(options: argparse.Namespace) -> None:
    """Raise a `UsageError` if an option was given that only works with `--submit`."""
    value_of_option = {
        "--parts": options.parts,
        "--submit-options": options.submit_options,
        "--wait": options.wait is True,
        "--no-wait": options.wait is False,
    }
    for option, value in value_of_option.items():
        if value:
            raise UsageError(f"{option}: has no effect without --submit; add --submit slurm")


def without_submit_options(argv: Sequence[str], other_option: str | None = None) -> list[str]:
    """Return the words of a command line without the options that send a study to a cluster.

    Args:
      argv: the words of a command line that the command's parser has accepted.
      other_option: another option to leave out with all its values, such as "--force"; None for
        none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_submit_options(parser)
    if other_option is not None:
        parser.add_argument(other_option, nargs="*")
    _, other_words = parser.parse_known_args(list(argv))
    return other_words


def parse_submit_option(text: str) -> tuple[str, str | bool]:
    """Parse a word of `--submit-options`, an option of sbatch (Slurm's command) without `--`.

    Returns:
      the name and the value of `NAME=VALUE`; for `NAME` alone, the name and True.
    """
    name_text, equals, value = text.partition("=")
    name = name_text.removeprefix("--").replace("_", "-")
    if not _OPTION_NAME_PATTERN.fullmatch(name):
        raise ArgumentTypeError(f"{text}: must be NAME=VALUE with an option of sbatch as the name")
    if name in _OPTIONS_SET_BY_JAXCIFAR:
        raise ArgumentTypeError(f"{text}: jaxcifar sets {name} itself; remove it")
    if not equals:
        return name, True
    if not value or len(value) > _MAX_VALUE_LENGTH or not value.isprintable():
        raise ArgumentTypeError(
            f"{printable(text)}: the value must be one line of 1 to {_MAX_VALUE_LENGTH} characters"
        )
    return name, value


def job_options(executor: Executor, named_values: Sequence[tuple[str, str | bool]]) -> JobOptions:
    """Return the time limit, number of jobs and other options that `--submit-options` asks for.

    Args:
      executor: "slurm" for a cluster, or "local" for processes of this machine.
      named_values: (name, value) for each word of the option.

    Raises:
      UsageError: a value is wrong, or the executor has no such option.
    """
    value_by_name = dict(named_values)
    if executor == "local":
        _require_only_time(value_by_name)
    minutes, max_running_jobs = None, None
    if "time" in value_by_name:
        minutes = _slurm_time_in_minutes(str(value_by_name["time"]))
    if _AT_MOST_OPTION in value_by_name:
        max_running_jobs = _parse_job_limit(str(value_by_name[_AT_MOST_OPTION]))
    flags_for_submitit = {
        name.replace("-", "_"): value
        for name, value in value_by_name.items()
        if name not in ("time", _AT_MOST_OPTION)
    }
    return JobOptions(minutes, max_running_jobs, flags_for_submitit)


def _require_only_time(option_names: Iterable[str]) -> None:
    """Raise a `UsageError` if there is an option that local jobs do not take."""
    for name in option_names:
        if name != "time":
            raise UsageError(
                f"--submit-options {name}: only Slurm has this option; leave {name} out, because "
                "--submit local takes only time=..."
            )


def _slurm_time_in_minutes(text: str) -> int:
    """Return a time in one of Slurm's forms, such as "2:00:00", in minutes, rounded up.

    Raises:
      UsageError: the text has another form, or the time is 0.
    """
    duration = _parse_slurm_time(text)
    if duration is None:
        raise UsageError(f"--submit-options time={text}: must be minutes, H:MM:SS or D-HH:MM:SS")
    if duration == timedelta(0):
        raise UsageError(f"--submit-options time={text}: must be longer than 0 minutes")
    return math.ceil(duration / timedelta(minutes=1))


def _parse_slurm_time(text: str) -> timedelta | None:
    """Return a time in one of Slurm's forms as a `timedelta`; None for any other text."""
    for pattern in _SLURM_TIME_PATTERNS:
        match = pattern.fullmatch(text)
        if match:
            count_of_unit = {unit: int(digits or 0) for unit, digits in match.groupdict().items()}
            return timedelta(**count_of_unit)
    return None


def _parse_job_limit(text: str) -> int:
    """Return the value of `--submit-options at-most=N` as a number.

    Raises:
      UsageError: `text` is not a whole number, at least 1.
    """
    try:
        return parse_count(text)
    except ArgumentTypeError as error:
        raise UsageError(f"--submit-options {_AT_MOST_OPTION}={error}") from None
