"""Run a command as a process: environment, JAX, errors as one line, exit codes."""

import contextlib
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from enum import IntEnum
from typing import Any, NoReturn

from rich.console import Console

from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.command_line import same_command
from jaxcifar.machine.failures import as_one_line_error
from jaxcifar.machine.interrupt import Interrupted, InterruptGuard, block_interrupts
from jaxcifar.machine.streams import checked_output, open_missing_streams
from jaxcifar.machine.terminal import line_printer
from jaxcifar.machine.xla_flags import check_xla_flags

_COMMANDS_WITH_LARGE_ARRAYS = ("run", "ablation", "bench")
_INTERRUPTED_MESSAGE = "interrupted; what was saved before is kept"
_STANDARD_OUTPUT = 1  # number of the open file


class ExitCode(IntEnum):
    """The exit codes of all commands."""

    SUCCESS = 0
    FAILURE = 1
    WRONG_USAGE = 2
    INTERRUPTED = 130  # what shells report for a process ended by SIGINT


def use_huge_pages_for(command: str) -> None:
    """Restart the process with large pages of memory if a command, such as "run", trains."""
    if command in _COMMANDS_WITH_LARGE_ARRAYS:
        use_huge_pages()


def use_huge_pages() -> None:
    """On Linux, restart the process with large pages of memory for large arrays.

    On a CPU, XLA allocates new memory for each training step. With tens of thousands of small
    pages, this takes a fifth of the CNN's training time. The C library glibc reads its setting for
    large pages only when a process starts. If the user has set GLIBC_TUNABLES, nothing is changed.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        _restart_process_with("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")


def use_utf8() -> None:
    """On Linux, restart the process if Python would not read file names as UTF-8.

    Python chooses the encoding only when a process starts. Only Linux uses other encodings.
    """
    reads_utf8 = sys.getfilesystemencoding().lower() == "utf-8"
    if sys.platform == "linux" and not reads_utf8 and os.environ.get("PYTHONUTF8") != "1":
        _restart_process_with("PYTHONUTF8", "1")


def _restart_process_with(variable: str, value: str) -> NoReturn:
    """Set an environment variable, and restart this process with the same command line."""
    os.environ[variable] = value
    block_interrupts()  # until the new process can handle interrupts
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def start_jax() -> None:
    """Prepare JAX: apply settings, enable the cache of compiled programs, and find the devices.

    Raises:
      UsageError: jaxcifar can't work with the user's settings of JAX.
      RunError: JAX finds no device.
    """
    from jaxcifar.machine import environment, jax_settings, processes

    notices = jax_settings.use_package_settings()
    environment.use_compilation_cache()
    environment.require_device()
    if processes.is_first_process():
        print_line = line_printer(Console(stderr=True))
        for notice in notices:
            print_line(notice)


def run_as_program(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command's `main` with this process's arguments, and end the process."""
    _, _, command_name = main.__module__.rpartition(".")
    use_huge_pages_for(command_name)
    run_command(lambda: main(sys.argv[1:]))


def run_command(command: Callable[[], None]) -> NoReturn:
    """Run a command, and end the process with the command's exit code (see `exit_code_of`)."""
    use_utf8()
    exit_code = exit_code_of(command)
    if exit_code != ExitCode.SUCCESS:
        _end_process_without_waiting_for_threads(exit_code)
    signal.signal(signal.SIGINT, signal.SIG_DFL)  # Ctrl-C now ends the process silently
    sys.exit(exit_code)


def _end_process_without_waiting_for_threads(exit_code: int) -> NoReturn:
    """End the process at once, with all output written.

    `sys.exit` would wait for threads. After a failed save, orbax's threads wait for minutes. JAX's
    threads wait for other processes, which may hang or be dead.
    """
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(exit_code)


def exit_code_of(command: Callable[[], None]) -> int:
    """Run a command, and print its failure as one line.

    Returns:
      an `ExitCode`, or the code with which the command has ended itself.
    """
    os.environ["MPLBACKEND"] = "agg"  # pictures are written to files, never shown
    # TFDS and orbax log hints, and tracebacks of errors that they also raise.
    for logger in ("absl", "asyncio", "matplotlib", "PIL"):
        logging.getLogger(logger).setLevel(logging.CRITICAL)
    sys.unraisablehook = _print_unraisable_error
    if not sys.warnoptions:  # the user has not asked for warnings with `python -W`
        warnings.simplefilter("ignore")
    try:
        open_missing_streams()
        check_xla_flags()
        with InterruptGuard(_INTERRUPTED_MESSAGE), checked_output():
            return _run_and_return_exit_code(command)
    except UsageError as error:
        return _print_failure(f"error: {error}", ExitCode.WRONG_USAGE)
    except RunError as error:
        return _print_failure(f"error: {error}", ExitCode.FAILURE)
    except BrokenPipeError:  # the program that reads the output has ended, such as `head`
        os.dup2(os.open(os.devnull, os.O_WRONLY), _STANDARD_OUTPUT)
        return ExitCode.FAILURE
    except OSError as error:  # an error with a file that no other code has explained
        file, reason = error.filename or "a file", error.strerror or error
        message = f"error: {file}: {reason}; repair this, then run {same_command()}"
        return _print_failure(message, ExitCode.FAILURE)
    except Interrupted as error:
        return _print_failure(str(error), ExitCode.INTERRUPTED)
    except KeyboardInterrupt:
        return _print_failure(_INTERRUPTED_MESSAGE, ExitCode.INTERRUPTED)
    except Exception as error:
        known_error = as_one_line_error(error)
        if known_error is None:
            traceback.print_exc()
            return ExitCode.FAILURE
        is_wrong_usage = isinstance(known_error, UsageError)
        exit_code = ExitCode.WRONG_USAGE if is_wrong_usage else ExitCode.FAILURE
        return _print_failure(f"error: {known_error}", exit_code)


def _run_and_return_exit_code(command: Callable[[], None]) -> int:
    """Run a command and return its exit code, also if the command calls `sys.exit`.

    argparse calls it, for example after `--help`.

    Raises:
      RunError: the command called `sys.exit` with an error message instead of a code.
    """
    try:
        command()
    except SystemExit as exit_call:
        code_or_message = exit_call.code
        if isinstance(code_or_message, str):
            raise RunError(code_or_message) from None
        return code_or_message or ExitCode.SUCCESS
    return ExitCode.SUCCESS


def _print_failure(message: str, exit_code: ExitCode) -> ExitCode:
    """Print an error message, wrapped only on a terminal, and return the exit code."""
    with contextlib.suppress(OSError):  # standard error can't be written
        print_line = line_printer(Console(stderr=True), wrap=sys.stderr.isatty())
        print_line(message)
    return exit_code


def _print_unraisable_error(unraisable: Any) -> None:
    """Print an error in a destructor or thread, except orbax's known error after a failed save."""
    if str(unraisable.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(unraisable)
