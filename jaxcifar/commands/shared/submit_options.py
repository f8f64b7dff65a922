"""The options that send the parts of a study to a cluster."""

import argparse
import re
from argparse import ArgumentTypeError
from collections.abc import Sequence
from pathlib import Path

from jaxcifar.commands.shared.common_options import count
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.errors import UsageError, printable
from jaxcifar.machine.job_queue import EXECUTORS, Executor, JobOptions, check_executor
from jaxcifar.machine.terminal import pluralize

_NAME = re.compile(r"[a-z][a-z0-9-]{0,39}")
# Slurm's forms of a time: M, M:S, H:M:S, D-H, D-H:M, D-H:M:S.
_TIME = re.compile(r"(?:(\d{1,3})-)?(\d{1,7})(?::(\d{1,2}))?(?::(\d{1,2}))?")
_AT_MOST = "at-most"
# Options of sbatch that would contradict what submitit writes, or start a part more than once.
_OURS = {
    "array", "chdir", "error", "export", "input", "nodes", "ntasks", "ntasks-per-node", "open-mode",
    "output", "parsable", "signal", "test-only", "wait", "wrap",
}  # fmt: skip
_MOST_CHARACTERS = 200


def add_submit_options(parser: OptionHolder) -> None:
    parser.add_argument(
        "--submit",
        choices=EXECUTORS,
        help="send the runs that are not finished as jobs: to Slurm, or as processes of this "
        "machine's CPU to try it (default: train them here)",
    )
    parser.add_argument(
        "--parts",
        type=count,
        metavar="N",
        help="number of jobs for all runs of the study (default: one job for each row)",
    )
    parser.add_argument(
        "--submit-options",
        nargs="+",
        type=submit_option,
        default=[],
        metavar="NAME=VALUE",
        help="options of sbatch, such as partition=gpu gres=gpu:1 time=2:00:00, where time is the "
        f"limit of a job; {_AT_MOST}=N runs at most N jobs at a time (default: time=60, in "
        "minutes)",
    )
    parser.add_argument(
        "--wait",
        action=argparse.BooleanOptionalAction,
        default=None,
        help="wait for the jobs and write the report (default: yes)",
    )


def check_submit_options(options: argparse.Namespace, runs: int, out: Path) -> None:
    """Check the options that send a study to a cluster, before anything that takes long.

    Args:
      options: the parsed options of the command.
      runs: number of runs of the study.
      out: folder of the study.

    Raises:
      UsageError: an option has no effect or can't be used here.
    """
    if options.submit is None:
        given = {"--parts": options.parts, "--submit-options": options.submit_options}
        if options.wait is not None:
            given["--wait" if options.wait else "--no-wait"] = True
        without_effect = [name for name, value in given.items() if value]
        if without_effect:
            raise UsageError(
                f"{without_effect[0]}: has no effect without --submit; add --submit slurm"
            )
        return
    if options.shard is not None:
        raise UsageError(
            "--shard: can't be used with --submit, which divides the study itself; set the number "
            "of jobs with --parts N"
        )
    if options.parts is not None and options.parts > runs:
        raise UsageError(f"--parts {options.parts}: the study has {pluralize(runs, 'run')}")
    job_options(options.submit, options.submit_options)
    check_executor(options.submit, out)


def without_submit_options(argv: Sequence[str], also: str | None = None) -> list[str]:
    """Return the words of a command line without the options that send a study to a cluster.

    Args:
      argv: the words of a command line that the command's parser has accepted.
      also: another option to leave out with all its values, such as "--force"; None for none.
    """
    parser = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    add_submit_options(parser)
    if also is not None:
        parser.add_argument(also, nargs="*")
    _, others = parser.parse_known_args(list(argv))
    return others


def submit_option(text: str) -> tuple[str, str | bool]:
    """Parse a word of `--submit-options`, an option of sbatch (Slurm's command) without `--`.

    Returns:
      the name and the value of `NAME=VALUE`; for `NAME` alone, the name and True.
    """
    name, equals, value = text.partition("=")
    name = name.removeprefix("--").replace("_", "-")
    if not _NAME.fullmatch(name):
        raise ArgumentTypeError(f"{text}: must be NAME=VALUE with an option of sbatch as the name")
    if name in _OURS:
        raise ArgumentTypeError(f"{text}: {name} is set for you; remove it")
    if not equals:
        return name, True
    if not value or len(value) > _MOST_CHARACTERS or not value.isprintable():
        raise ArgumentTypeError(
            f"{printable(text)}: the value must be one line of 1 to {_MOST_CHARACTERS} characters"
        )
    return name, value


def job_options(executor: Executor, words: Sequence[tuple[str, str | bool]]) -> JobOptions:
    """Return the time limit, number of jobs and other options that `--submit-options` asks for.

    Args:
      executor: "slurm" for a cluster, or "local" for processes of this machine.
      words: (name, value) for each word of the option.

    Raises:
      UsageError: a value is wrong, or the executor has no such option.
    """
    flags = dict(words)
    minutes = flags.pop("time", None)
    at_most = flags.pop(_AT_MOST, None)
    if executor == "local" and (flags or at_most):
        name = next(iter(flags), _AT_MOST)
        raise UsageError(f"--submit-options {name}: only Slurm has it; --submit local takes time")
    return JobOptions(
        minutes=None if minutes is None else _minutes(str(minutes)),
        max_running_jobs=None if at_most is None else _number_of_jobs(str(at_most)),
        flags={name.replace("-", "_"): value for name, value in flags.items()},
    )


def _minutes(text: str) -> int:
    """Return a time in one of Slurm's forms, such as "2:00:00", in minutes, rounded up."""
    match = _TIME.fullmatch(text)
    if match is None:
        raise UsageError(f"--submit-options time={text}: must be minutes, H:MM:SS or D-HH:MM:SS")
    days, *numbers = match.groups()
    first, second, third = (int(number or 0) for number in numbers)
    if days is not None:
        seconds = 86400 * int(days) + 3600 * first + 60 * second + third
    elif numbers[2] is not None:
        seconds = 3600 * first + 60 * second + third
    else:
        seconds = 60 * first + second
    if seconds == 0:
        raise UsageError(f"--submit-options time={text}: must be longer than 0 minutes")
    return -(-seconds // 60)


def _number_of_jobs(text: str) -> int:
    """Return the value of `--submit-options at-most=N` as a number.

    Raises:
      UsageError: `text` is not a whole number, at least 1.
    """
    try:
        return count(text)
    except ArgumentTypeError as error:
        raise UsageError(f"--submit-options {_AT_MOST}={error}") from None
