"""List all commands, or run one: `jaxcifar`, or `python -m experiments` in a checkout."""

import ast
import importlib
import sys
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jaxcifar import __version__
from jaxcifar.commands.shared.cli import run_command, use_huge_pages_for
from jaxcifar.commands.shared.completion import complete_command_line, is_completing
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import line_printer

# In the order in which most users need them.
COMMANDS = (
    "prepare", "run", "ablation", "compare", "report", "predict", "evaluate", "export", "convert",
    "summary", "memory", "bench", "scaling", "compile", "copy",
)  # fmt: skip
# Name that users may know from other programs -> our name of this command.
_COMMAND_BY_SYNONYM = {
    "classify": "predict", "download": "prepare", "eval": "evaluate", "fit": "run",
    "plot": "report", "study": "ablation", "test": "evaluate", "train": "run",
}  # fmt: skip


def main() -> None:
    """Run the command that the first word of the command line names, and end the process."""
    if is_completing():
        complete_command_line(COMMANDS)
    first_word, *arguments = sys.argv[1:] or ["--help"]
    use_huge_pages_for(first_word)
    run_command(lambda: run_named_command(first_word, arguments))


def run_named_command(command: str, arguments: Sequence[str]) -> None:
    """Run a command; for `--help` print the list of commands, and for `--version` the version.

    Args:
      command: the first word of the command line.
      arguments: the words after it.

    Raises:
      UsageError: there is no such command.
    """
    if command in COMMANDS:
        module = importlib.import_module(f"jaxcifar.commands.{command}")
        module.main(arguments)
    elif command == "--version":
        print(f"jaxcifar {__version__}")
    elif command in ("-h", "--help", "help"):
        _print_commands()
    else:
        if command in _COMMAND_BY_SYNONYM:
            suggestion = f"did you mean {_COMMAND_BY_SYNONYM[command]}? "
        else:
            suggestion = did_you_mean(command, COMMANDS)
        advice = f"{suggestion}choose one of {', '.join(COMMANDS)}"
        raise UsageError(f"there is no command {command}; {advice}")


def _print_commands() -> None:
    """Print each command and its purpose, the beginning of its module's docstring."""
    print_line = line_printer(Console())
    for command in COMMANDS:
        source = Path(__file__).with_name(f"{command}.py").read_text()
        docstring = ast.get_docstring(ast.parse(source)) or ""
        purpose, _, _ = docstring.partition(":")  # the rest is an example
        print_line(f"{command:14}  {purpose.strip('.')}")
    print_line(f"For options and examples of a command: {shell_command('run')} --help")


if __name__ == "__main__":
    main()
