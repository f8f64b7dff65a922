"""What the commands share: options that several have, errors as one line, exit codes."""

import argparse
import contextlib
import errno
import logging
import os
import signal
import sys
import traceback
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from jaxcifar.commands.shared.parser import OptionHolder, program
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.failures import as_one_line_error
from jaxcifar.machine.interrupt import Interrupted, InterruptGuard, block_interrupts
from jaxcifar.machine.streams import checked_output, open_missing_streams
from jaxcifar.machine.terminal import line_printer
from jaxcifar.machine.xla_flags import check_xla_flags

_WITH_LARGE_ARRAYS = ("run", "ablation", "bench")
_INTERRUPTED = "interrupted; what was saved before is kept"


def add_data_dir(parser: OptionHolder) -> None:
    """Add `--data-dir`; its default is TFDS's own (`default_data_dir`)."""
    parser.add_argument(
        "--data-dir",
        type=location,
        metavar="DIR",
        help="folder of prepared data sets (default: $TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )


def data_folder(given: Path | None) -> Path:
    """What `--data-dir` means, to be asked for when all other words are understood.

    Raises:
      UsageError: there is no such folder.
    """
    if given is None:
        return default_data_dir()
    if not given.is_dir():
        raise UsageError(
            f"--data-dir {given}: there is no such folder; prepare a data set there: "
            f"{program('prepare')} --data-dir {given}"
        )
    return given


def add_keep(parser: OptionHolder) -> None:
    """`--keep`."""
    parser.add_argument(
        "--keep",
        choices=("all", "best"),
        default="all",
        help="what stays of a finished run: its checkpoints too, or the best weights alone "
        "(default: all)",
    )


def add_devices(parser: OptionHolder) -> None:
    """`--devices`."""
    parser.add_argument(
        "--devices", type=count, metavar="N", help="devices to train on (default: all)"
    )


def count(text: str) -> int:
    """An option's value: how many of something, as far as arrays can count them."""
    if not text.isdecimal() or not 1 <= len(text) <= 10 or not 1 <= int(text) < 2**31:
        raise argparse.ArgumentTypeError(f"{text}: must be at least 1, below 2**31")
    return int(text)


def ordinal(text: str) -> int:
    """An option's value: which one of something, from 0."""
    if not text.isdecimal() or len(text) > 10 or int(text) >= 2**32:
        raise argparse.ArgumentTypeError(f"{text:.20}: must be at least 0, below 2**32")
    return int(text)


def location(text: str) -> Path:
    """An option's value: a file or folder, there or not, of a name that the file system takes."""
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise argparse.ArgumentTypeError(f"{text}: choose a shorter name") from None
    return Path(text)


def use_huge_pages_for(command: str) -> None:
    """Start a command that holds large arrays once more, as `use_huge_pages` does; no other."""
    if command in _WITH_LARGE_ARRAYS:
        use_huge_pages()


def use_huge_pages() -> None:
    """Let large arrays lie in large pages of memory, where Linux gives these to who asks.

    XLA takes the memory of a step anew each time, on a CPU tens of thousands of small pages: a
    fifth of the CNN's time. glibc reads the setting when a process starts (`glibc.malloc.hugetlb`
    in its manual), so this one starts once more; settings of the user's own stay as they are.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        _start_again_with("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")


def use_utf8() -> None:
    """Read the names of files as UTF-8, in a C locale too.

    Only a process that starts with the setting does so. Linux alone has other encodings.
    """
    reads_utf8 = sys.getfilesystemencoding().lower() == "utf-8"
    if sys.platform == "linux" and not reads_utf8 and os.environ.get("PYTHONUTF8") != "1":
        _start_again_with("PYTHONUTF8", "1")


def _start_again_with(variable: str, value: str) -> NoReturn:
    """Replace this process by the same command with another environment."""
    os.environ[variable] = value
    block_interrupts()  # until the new process can handle them
    os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def start_jax() -> None:
    """Prepare JAX for a command: its settings, the cache of compiled programs, its devices.

    Raises:
      UsageError: JAX is set in a way that nothing here can work with.
      RunError: JAX finds no device.
    """
    from jaxcifar.machine import environment, jax_settings, processes

    lines = jax_settings.use_package_settings()
    environment.use_compilation_cache()
    environment.first_devices(None)
    if processes.is_first_process():
        for line in lines:
            line_printer(Console(stderr=True))(line)


def run_as_program(main: Callable[[Sequence[str]], None]) -> NoReturn:
    """Run a command with the words after its name, and end the process.

    Args:
      main: the command's `main`.
    """
    use_huge_pages_for(main.__module__.rpartition(".")[2])
    run_command(lambda: main(sys.argv[1:]))


def run_command(command: Callable[[], None]) -> NoReturn:
    """Run a command and end the process with its exit code, as `exit_code_of` gives it."""
    use_utf8()
    code = exit_code_of(command)
    if code == 0:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # all is done: end at once, without a word
        sys.exit(0)
    # Not by `sys.exit`, which waits for threads: orbax's wait for minutes after a failed save, and
    # JAX's for other processes, which may hang or be dead.
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(AttributeError, OSError, ValueError):
            stream.flush()
    os._exit(code)


def exit_code_of(command: Callable[[], None]) -> int:
    """Run a command, and print its failure as one line.

    Returns:
      0, or 1 for a failure, 2 for wrong usage, 130 for an interruption.
    """
    os.environ["MPLBACKEND"] = "agg"  # pictures go to files, whatever screen the user has chosen
    # TFDS and orbax write hints through these loggers, and tracebacks of failures that they also
    # raise, which are told below.
    for name in ("absl", "asyncio", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _unless_given_up  # what orbax has begun when it fails, by its threads
    if not sys.warnoptions:  # a message is one line; whoever wants more says so to Python
        warnings.simplefilter("ignore")
    try:
        open_missing_streams()
        check_xla_flags()
        with InterruptGuard(_INTERRUPTED), checked_output():
            return _own_exit_code(command)
    except UsageError as error:
        return _failed(f"error: {error}", 2)
    except RunError as error:
        return _failed(f"error: {error}", 1)
    except BrokenPipeError:  # whoever read what is printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        return 1
    except OSError as error:  # of a file that nothing else is known of
        name, reason = error.filename or "a file", error.strerror or error
        return _failed(f"error: {name}: {reason}; see to it, then run the same command", 1)
    except Interrupted as error:
        return _failed(str(error), 130)  # what shells report for a process ended by SIGINT
    except KeyboardInterrupt:
        return _failed(_INTERRUPTED, 130)
    except Exception as error:
        if (known := as_one_line_error(error)) is None:
            traceback.print_exc()
            return 1
        return _failed(f"error: {known}", 2 if isinstance(known, UsageError) else 1)


def _own_exit_code(command: Callable[[], None]) -> int:
    """Run a command, and return the exit code that it asks for, as argparse does for --help."""
    try:
        command()
    except SystemExit as end:
        if isinstance(end.code, str):
            raise RunError(end.code) from None
        return end.code or 0
    return 0


def _failed(line: str, code: int) -> int:
    """Print why the command ended, and return its exit code."""
    with contextlib.suppress(OSError):  # standard error is full
        # One line in a log, and lines as wide as the screen where there is one.
        line_printer(Console(stderr=True), fold=sys.stderr.isatty())(line)
    return code


def _unless_given_up(ignored: Any) -> None:
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)
