"""How commands read words: help with examples, complaints that say what may be meant."""

import argparse
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

from jaxcifar.config.registry import KINDS, did_you_mean
from jaxcifar.errors import UsageError

OptionHolder = argparse.ArgumentParser | argparse._ArgumentGroup  # to which options are added

# What people type who know other programs: the options that they may mean, the first that a command
# has. Without dashes, in small letters.
_ELSEWHERE = {
    "a": ("arch",),
    "b": ("batch-size",),
    "bs": ("batch-size",),
    "batch": ("batch-size",),
    "checkpoint": ("run", "init", "run-dir"),
    "ckpt": ("run", "init", "run-dir"),
    "d": ("dataset",),
    "data": ("dataset", "data-dir"),
    "data-path": ("data-dir", "dataset"),
    "e": ("epochs",),
    "f": ("force", "overwrite"),
    "gpus": ("devices",),
    "j": ("at-once",),
    "jobs": ("at-once",),
    "k": ("top",),
    "lr": ("learning-rate",),
    "m": ("arch", "momentum"),
    "model": ("arch", "run"),
    "n": ("epochs", "rounds", "images", "top"),
    "net": ("arch",),
    "network": ("arch",),
    "o": ("out", "run-dir", "json"),
    "output": ("out", "run-dir", "json"),
    "output-dir": ("out", "run-dir"),
    "opt": ("optimizer",),
    "precision": ("dtype",),
    "pretrained": ("init", "run"),
    "resume": ("run-dir",),
    "s": ("seed", "seeds", "study"),
    "save-dir": ("run-dir", "out"),
    "scheduler": ("schedule",),
    "wd": ("weight-decay",),
}
# Of data loaders' workers, which other programs have.
_NEEDLESS = "none is needed, as images are prepared where they are trained on"
_WORKERS = ("j", "num-workers", "workers")


def program(name: str = "") -> str:
    """What a command, or all of them, is called by who calls it: installed, or from a checkout."""
    if Path(sys.argv[0]).stem == "jaxcifar":
        return f"jaxcifar {name}".rstrip()
    return f"python -m experiments.{name}".rstrip(".")


class Parser(argparse.ArgumentParser):
    """An argument parser whose complaints are one line and whose options are written out.

    Args:
      command: its name.
      does: what it does, a sentence.
      examples: words after the command, and what these do; shown below the options.
    """

    def __init__(
        self, command: str, does: str, examples: Sequence[tuple[str, str]] = (), **options: Any
    ) -> None:
        prog = program(command)
        lines = "".join(
            f"\n  {f'{prog} {words}'.rstrip()}\n      {what}" for words, what in examples
        )
        super().__init__(
            prog=prog,
            description=does,
            epilog=f"examples:{lines}" if lines else None,
            formatter_class=argparse.RawDescriptionHelpFormatter,
            allow_abbrev=False,
            **options,
        )

    def format_usage(self) -> str:
        """A line; of many options, the help has the list."""
        words = []
        for action in self._actions:
            if not action.option_strings:
                words.append(f"{action.metavar}{' ...' if action.nargs == '+' else ''}")
            elif action.required:
                words.append(f"{action.option_strings[0]} {action.metavar}")
        return " ".join(["usage:", self.prog, *words, "[options]\n"])

    def format_help(self) -> str:
        """Usage, options in groups, examples."""
        full = super().format_help()
        return f"{self.format_usage()}\n{full.partition(chr(10) * 2)[2]}"

    def error(self, message: str) -> NoReturn:
        """Raise `UsageError`, as for all that a user gets wrong."""
        raise UsageError(f"{message.removeprefix('argument ')} (see --help)")

    def parse_known_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Refuse an option that there is not, before anything is said of those that are missing."""
        words = list(sys.argv[1:] if args is None else args)
        rest = {
            option
            for action in self._actions
            if action.nargs == argparse.REMAINDER
            for option in action.option_strings
        }
        unknown = []
        for word in words:
            option = word.partition("=")[0]
            if word == "--" or option in rest:
                break
            plain = _is_number(word) or " " in word or word == "-"
            if word.startswith("-") and not plain and option not in self._option_string_actions:
                unknown.append(f"there is no option {option}{self._meant(option)}")
        if unknown:
            self.error(" ".join(dict.fromkeys(unknown)))
        return super().parse_known_args(words, namespace)

    def parse_args(self, args: Any = None, namespace: Any = None) -> Any:
        """Say of a word that belongs to no option what may be missing."""
        options, rest = self.parse_known_args(args, namespace)
        if rest:
            word, known = rest[0], "--arch" in self._option_string_actions
            meant = f"; did you mean --arch {word}?" if known and word in KINDS["arch"] else ""
            self.error(f"{word}: belongs to no option{meant}")
        return options

    def _meant(self, option: str) -> str:
        """What an unknown option may mean, as the end of a sentence."""
        if option == "--version":
            return f"; {program()} --version tells it"
        known = [name for name in self._option_string_actions if name.startswith("--")]
        bare = option.lstrip("-").lower().replace("_", "-")
        elsewhere = [f"--{name}" for name in _ELSEWHERE.get(bare, ()) if f"--{name}" in known]
        longer = [name for name in known if len(bare) > 1 and name.startswith(f"--{bare}")]
        if near := [*elsewhere, *longer]:
            return f"; did you mean {near[0]}?"
        if bare in _WORKERS:
            return f"; {_NEEDLESS}"
        meant = did_you_mean(f"--{bare}", known).strip()
        return f"; {meant}" if meant else ""

    def _check_value(self, action: argparse.Action, value: Any) -> None:
        """Name the nearest choice."""
        if action.choices is not None and value not in action.choices:
            meant = did_you_mean(str(value), action.choices)
            one_of = ", ".join(map(str, action.choices))
            raise argparse.ArgumentError(action, f"{value}: {meant}choose one of {one_of}")

    def _get_value(self, action: argparse.Action, text: str) -> Any:
        """Say in words what a value must be."""
        kinds: dict[Any, str] = {int: "a whole number", float: "a number"}
        kind = kinds.get(action.type)
        try:
            return super()._get_value(action, text)
        except argparse.ArgumentError:
            if kind is None:
                raise
            raise argparse.ArgumentError(action, f"{text}: must be {kind}") from None


def _is_number(word: str) -> bool:
    try:
        float(word)
    except ValueError:
        return False
    return True
