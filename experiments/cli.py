"""What the commands share: options that several have, errors as one line, exit codes."""

import argparse
import errno
import logging
import os
import sys
import traceback
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from experiments.parser import program
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.failures import one_line
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.machine.terminal import teller
from jaxcifar.machine.xla_flags import check_xla_flags


def add_data_dir(parser: argparse.ArgumentParser, made: bool = False) -> None:
    """`--data-dir`, with TFDS's own default.

    Args:
      parser: to add to.
      made: whether the command makes a folder that there is not; others ask `data_folder`.
    """
    parser.add_argument(
        "--data-dir",
        type=location,
        default=default_data_dir() if made else None,
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


def add_keep(parser: argparse.ArgumentParser) -> None:
    """`--keep`."""
    parser.add_argument(
        "--keep",
        choices=("all", "best"),
        default="all",
        help="what stays of a finished run: its checkpoints too, or the best weights alone "
        "(default: all)",
    )


def add_tensorboard(parser: argparse.ArgumentParser) -> None:
    """`--tensorboard`."""
    parser.add_argument(
        "--tensorboard",
        action="store_true",
        help="write events for TensorBoard too, of finished runs as well (default: no)",
    )


def add_devices(parser: argparse.ArgumentParser) -> None:
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


def use_huge_pages() -> None:
    """Let large arrays lie in large pages of memory, where Linux gives these to who asks.

    XLA takes the memory of a step anew each time, on a CPU tens of thousands of small pages: a
    fifth of the CNN's time. glibc reads the setting when a process starts (`glibc.malloc.hugetlb`
    in its manual), so this one starts once more; settings of the user's own stay as they are.
    """
    if sys.platform == "linux" and "GLIBC_TUNABLES" not in os.environ:
        os.environ["GLIBC_TUNABLES"] = "glibc.malloc.hugetlb=1"
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def start_jax() -> None:
    """Prepare JAX for a command: its settings, the cache of compiled programs, its devices.

    Raises:
      UsageError: JAX is set in a way that nothing here can work with.
      RunError: JAX finds no device.
    """
    from jaxcifar.machine import environment, jax_settings, processes

    lines = jax_settings.use_our_settings()
    environment.use_compilation_cache()
    environment.first_devices(None)
    if processes.first():
        for line in lines:
            teller(Console(stderr=True))(line)


def run_command(command: Callable[[], None]) -> NoReturn:
    """Run a command; print its failure as one line and exit 2 (usage), 1 (failure) or 130."""
    # TFDS and orbax write hints through these loggers, and tracebacks of failures that they also
    # raise, which are told below.
    for name in ("absl", "asyncio", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _unless_given_up  # what orbax has begun when it fails, by its threads
    if not sys.warnoptions:  # a message is one line; whoever wants more says so to Python
        warnings.simplefilter("ignore")
    # One line in a log, and lines as wide as the screen where there is one.
    say = teller(Console(stderr=True), fold=sys.stderr.isatty())
    try:
        check_xla_flags()
        command()
    except UsageError as error:
        say(f"error: {error}")
        _leave(2)
    except RunError as error:
        say(f"error: {error}")
        _leave(1)
    except BrokenPipeError:  # whoever read what is printed has had enough
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        _leave(1)
    except OSError as error:  # of a file that nothing else is known of
        name = error.filename or "a file"
        say(f"error: {name}: {error.strerror or error}; see to it, then run the same command")
        _leave(1)
    except Interrupted as error:
        say(str(error))
        sys.exit(130)  # what shells report for a process ended by SIGINT
    except KeyboardInterrupt:
        say("interrupted; what was saved before is kept")
        _leave(130)
    except Exception as error:
        if (told := one_line(error)) is not None:
            say(f"error: {told}")
            _leave(2 if isinstance(told, UsageError) else 1)
        if not _has_other_processes():
            raise
        traceback.print_exc()
        _leave(1)
    sys.exit(0)


def _unless_given_up(ignored: Any) -> None:
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


def _has_other_processes() -> bool:
    jax = sys.modules.get("jax")
    return bool(jax) and jax.distributed.is_initialized()


def _leave(code: int) -> NoReturn:
    if _has_other_processes():
        # Else JAX waits for the other processes to end too, which may hang or be dead, and aborts.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
