"""What the commands share: options made from `Config`, errors as one line, exit codes."""

import argparse
import dataclasses
import errno
import logging
import os
import sys
import warnings
from collections.abc import Callable, Collection
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console

from jaxcifar import registry
from jaxcifar.config import Config
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.interrupt import Interrupted
from jaxcifar.machine.terminal import teller
from jaxcifar.settings import defaults, parsed


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and whose options are written out."""

    def __init__(self, **options: Any) -> None:
        super().__init__(allow_abbrev=False, **options)

    def error(self, message: str) -> NoReturn:
        """Exit with code 2."""
        self.exit(2, f"{self.prog}: {printable(message)} (see --help)\n")


def reference_default(name: str) -> str:
    """The value of a `Config` field at the reference settings, in words."""
    if name == "arch":
        return "resnet18"
    if name == "arch_args":
        return "the network's own"
    values = {arch: defaults(arch)[name] for arch in registry.KINDS["arch"]}
    if len(set(values.values())) == 1:
        return str(values.popitem()[1])
    return ", ".join(f"{value} for {arch}" for arch, value in values.items())


def names(kind: str) -> str:
    """What an option takes that names an entry or somebody's own code."""
    own = "the path of your own" if kind == "dataset" else "FILE.py:NAME"
    return ", ".join((*registry.KINDS[kind], f"or {own}"))


def _whose(name: str) -> str:
    """Which entries take an option, if not all of a kind do."""
    for entries in registry.KINDS.values():
        takers = [known for known, entry in entries.items() if name in entry.takes]
        if 0 < len(takers) < len(entries):
            return f" ({', '.join(takers)} only)"
    return ""


def add_config_options(
    parser: argparse.ArgumentParser,
    without: Collection[str] = (),
    only: Collection[str] = (),
    default_of: Callable[[str], str] = reference_default,
) -> None:
    """One option for each field of `Config`; those not given are absent from the namespace.

    Args:
      parser: to add to.
      without: fields that get none.
      only: fields that get one, if not all the others.
      default_of: says what a field is if its option is not given.
    """
    group = parser.add_argument_group("the experiment")
    for field in dataclasses.fields(Config):
        left_out = field.name in without or (only and field.name not in only)
        if left_out or "help" not in field.metadata:
            continue
        options = {k: v for k, v in field.metadata.items() if k in ("help", "choices", "type")}
        if field.name in registry.KINDS:
            options["help"] += f": {names(field.name)}"
            options["metavar"] = "NAME"
        options["help"] += _whose(field.name)
        options["help"] += f" (default: {default_of(field.name)})"
        options["default"] = argparse.SUPPRESS
        if field.name == "arch_args":
            options |= {"nargs": "+", "action": _Arguments, "metavar": "NAME=VALUE"}
        elif field.type is bool:
            options["action"] = argparse.BooleanOptionalAction
        elif "choices" not in options:
            options.setdefault("type", field.type)
        group.add_argument(f"--{field.name.replace('_', '-')}", **options)


class _Arguments(argparse.Action):
    """`width=64 widths=16,32 norm=layer` as a dictionary of Python values."""

    def __call__(
        self,
        parser: argparse.ArgumentParser,
        namespace: argparse.Namespace,
        values: Any,
        option_string: str | None = None,
    ) -> None:
        given = {}
        for word in values:
            name, equals, value = word.partition("=")
            if not equals or not name.isidentifier():
                parser.error(f"{option_string} {word}: must be NAME=VALUE")
            given[name] = parsed(value)
        setattr(namespace, self.dest, given)


def add_data_dir(parser: argparse.ArgumentParser) -> None:
    """`--data-dir`, with TFDS's own default."""
    parser.add_argument(
        "--data-dir",
        type=location,
        default=default_data_dir(),
        help="TFDS data folder (default: $TFDS_DATA_DIR, else ~/tensorflow_datasets)",
    )


def add_keep(parser: argparse.ArgumentParser) -> None:
    """`--keep`."""
    parser.add_argument(
        "--keep",
        choices=("all", "best"),
        default="all",
        help="of a finished run: checkpoints too, or the best weights alone (default: all)",
    )


def add_devices(parser: argparse.ArgumentParser) -> None:
    """`--devices`."""
    parser.add_argument("--devices", type=count, metavar="N", help="train on N (default: all)")


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


def run_command(command: Callable[[], None]) -> NoReturn:
    """Run a command; print its failure as one line and exit 2 (usage), 1 (failure) or 130."""
    # TFDS and orbax write hints through these loggers, and tracebacks of failures that they also
    # raise, which are told below.
    for name in ("absl", "asyncio", "matplotlib", "PIL"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    sys.unraisablehook = _unless_given_up  # what orbax has begun when it fails, by its threads
    if not sys.warnoptions:  # a message is one line; whoever wants more says so to Python
        warnings.simplefilter("ignore")
    say = teller(Console(stderr=True))
    try:
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
        sys.exit(130)
    sys.exit(0)


def _unless_given_up(ignored: Any) -> None:
    if str(ignored.exc_value) != "Event loop is closed":
        sys.__unraisablehook__(ignored)


def _leave(code: int) -> NoReturn:
    jax = sys.modules.get("jax")
    if jax and jax.distributed.is_initialized():
        # Else JAX waits for the other processes to end too, which may hang or be dead, and aborts.
        sys.stdout.flush()
        os._exit(code)
    sys.exit(code)
