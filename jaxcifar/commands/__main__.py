"""List all commands, or run one: `jaxcifar`, or `python -m experiments` in a checkout."""

import ast
import importlib
import sys
from pathlib import Path

from rich.console import Console

from jaxcifar import __version__
from jaxcifar.commands.shared.cli import run_command, use_huge_pages_for
from jaxcifar.commands.shared.completion import complete, is_completing
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.terminal import line_printer

# In the order in which most users need them.
COMMANDS = (
    "prepare", "run", "ablation", "compare", "report", "predict", "evaluate", "export", "convert",
    "summary", "memory", "bench", "scaling", "compile", "copy",
)  # fmt: skip
# Names that other programs give to these commands.
_COMMANDS_ELSEWHERE = {
    "classify": "predict", "download": "prepare", "eval": "evaluate", "fit": "run",
    "plot": "report", "study": "ablation", "test": "evaluate", "train": "run",
}  # fmt: skip


def main() -> None:
    """List the commands, or run the command that the first argument names."""
    if is_completing():
        complete(COMMANDS)
    first_word, *arguments = sys.argv[1:] or ["--help"]
    if first_word in COMMANDS:
        use_huge_pages_for(first_word)
        module = f"jaxcifar.commands.{first_word}"
        run_command(lambda: importlib.import_module(module).main(arguments))
    run_command(lambda: show_commands_or_version(first_word))


def show_commands_or_version(first_word: str) -> None:
    """Print the list of commands for `--help`, or the version for `--version`.

    Args:
      first_word: the first word of the command line, which is not the name of a command.

    Raises:
      UsageError: `first_word` is neither `--help` nor `--version`.
    """
    if first_word == "--version":
        return print(f"jaxcifar {__version__}")
    if first_word not in ("-h", "--help", "help"):
        commands = ", ".join(COMMANDS)
        suggestion = did_you_mean(first_word, COMMANDS)
        if first_word in _COMMANDS_ELSEWHERE:
            suggestion = f"did you mean {_COMMANDS_ELSEWHERE[first_word]}? "
        raise UsageError(f"there is no command {first_word}; {suggestion}choose one of {commands}")
    print_line = line_printer(Console())
    for command in COMMANDS:
        source = Path(__file__).with_name(f"{command}.py").read_text()
        docstring = ast.get_docstring(ast.parse(source)) or ""
        purpose = docstring.partition(":")[0].strip(".")
        print_line(f"{command:14}  {purpose}")
    print_line(f"For options and examples of a command: {shell_command('run')} --help")


if __name__ == "__main__":
    main()
