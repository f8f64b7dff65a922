"""Completion of a command line in the shell, by the optional package argcomplete.

The shell starts `jaxcifar` with the words typed so far in environment variables, and reads the
possible next words. Nothing here imports JAX.
"""

import argparse
import importlib
import os
import sys
from collections.abc import Callable, Sequence
from typing import Any, NoReturn

from jaxcifar.commands.shared.parser import suggested_names

_COMPLETION_VARIABLE = "_ARGCOMPLETE"  # set by the shell's completion function


def is_completing() -> bool:
    """Return whether the shell has started this process to complete a command line."""
    return _COMPLETION_VARIABLE in os.environ


def complete(commands: Sequence[str]) -> NoReturn:
    """Tell the shell the words that complete the user's command line, and end the process.

    Without the package argcomplete, there are no such words.

    Args:
      commands: names of the commands of jaxcifar.
    """
    try:
        import argcomplete
    except ImportError:
        sys.exit(1)
    typed_words = os.environ.get("COMP_LINE", "").split()
    typed_commands = [word for word in typed_words[1:] if word in commands]
    parser = _parser_of_all_commands(commands, typed_commands[0] if typed_commands else None)
    argcomplete.autocomplete(parser, always_complete_options="long")
    sys.exit(1)  # only if the shell did not follow argcomplete's protocol


def _parser_of_all_commands(
    commands: Sequence[str], typed_command: str | None
) -> argparse.ArgumentParser:
    """Return a parser that knows all commands, and the options of the typed command.

    The options of other commands are not loaded, because this would be slow.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")

    def parser_of_command(**settings: Any) -> argparse.ArgumentParser:
        command = settings["prog"].split()[-1]
        if command != typed_command:
            return argparse.ArgumentParser(add_help=False)
        module = importlib.import_module(f"jaxcifar.commands.{command}")
        command_parser: argparse.ArgumentParser = module.parser()
        _add_completers(command_parser)
        return command_parser

    # argparse calls `parser_class`, which need not be a class, for the parser of each command.
    commands_of_parser = parser.add_subparsers(
        parser_class=parser_of_command  # type: ignore[call-overload]
    )
    for command in commands:
        commands_of_parser.add_parser(command)
    return parser


def _add_completers(parser: argparse.ArgumentParser) -> None:
    """Give argcomplete the possible values of a parser's options, such as names of networks.

    If no name fits, the shell completes names of files, because most of these options take files.
    """
    for action in parser._actions:
        names = suggested_names(action)
        if names:
            setattr(action, "completer", _completer_of(names))  # noqa: B010


def _completer_of(names: Sequence[str]) -> Callable[..., list[str]]:
    """Return a function from which argcomplete gets `names`, the possible values of an option."""
    return lambda prefix, **_: [name for name in names if name.startswith(prefix)]
