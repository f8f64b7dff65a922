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
_NO_COMPLETIONS = 1  # exit code that the shell expects


def is_completing() -> bool:
    """Return whether the shell has started this process to complete a command line."""
    return _COMPLETION_VARIABLE in os.environ


def complete_command_line(commands: Sequence[str]) -> NoReturn:
    """Send the shell the words that can come next on the command line, and end the process.

    Without the package argcomplete, no words are sent.

    Args:
      commands: names of the commands of jaxcifar.
    """
    try:
        import argcomplete
    except ImportError:
        sys.exit(_NO_COMPLETIONS)
    typed_line = os.environ.get("COMP_LINE", "")
    words_after_program = typed_line.split()[1:]
    typed_commands = [word for word in words_after_program if word in commands]
    typed_command = typed_commands[0] if typed_commands else None
    parser = _parser_of_all_commands(commands, typed_command)
    argcomplete.autocomplete(parser, always_complete_options="long")  # ends the process
    sys.exit(_NO_COMPLETIONS)  # only if the shell did not follow argcomplete's protocol


def _parser_of_all_commands(
    commands: Sequence[str], typed_command: str | None
) -> argparse.ArgumentParser:
    """Return a parser that knows all commands, and the options of the typed command.

    The options of other commands are not loaded, because this would be slow.
    """
    parser = argparse.ArgumentParser()
    parser.add_argument("--version", action="store_true")

    def parser_of_command(**argparse_settings: Any) -> argparse.ArgumentParser:
        *_, command = argparse_settings["prog"].split()  # "jaxcifar run"
        if command != typed_command:
            parser_without_options = argparse.ArgumentParser(add_help=False)
            return parser_without_options
        module = importlib.import_module(f"jaxcifar.commands.{command}")
        command_parser: argparse.ArgumentParser = module.parser()
        _add_completers(command_parser)
        return command_parser

    # argparse calls `parser_class`, which need not be a class, for the parser of each command.
    subparsers = parser.add_subparsers(
        parser_class=parser_of_command  # type: ignore[call-overload]
    )
    for command in commands:
        subparsers.add_parser(command)
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
