"""All commands: `python -m experiments`, or `jaxcifar` where it is installed."""

import ast
import importlib
import sys
from importlib import metadata
from pathlib import Path

from rich.console import Console

from jaxcifar.commands.shared.cli import run_command, use_huge_pages_for
from jaxcifar.commands.shared.parser import program
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import line_printer

# In the order in which people come to them.
COMMANDS = (
    "prepare", "run", "ablation", "compare", "report", "predict", "evaluate", "export", "convert",
    "summary", "memory", "bench", "scaling", "copy",
)  # fmt: skip
# What else they might be called.
_ELSEWHERE = {
    "classify": "predict", "download": "prepare", "eval": "evaluate", "fit": "run",
    "plot": "report", "study": "ablation", "test": "evaluate", "train": "run",
}  # fmt: skip


def main() -> None:
    """List the commands, or be the one that is named first."""
    name, *arguments = sys.argv[1:] or ["--help"]
    if name in COMMANDS:
        use_huge_pages_for(name)
        run_command(lambda: importlib.import_module(f"jaxcifar.commands.{name}").main(arguments))
    run_command(lambda: show(name))


def show(name: str) -> None:
    """Print the commands, a line each.

    Raises:
      UsageError: `name` asks for something else.
    """
    if name == "--version":
        return print(f"jaxcifar {metadata.version('jaxcifar')}")
    if name not in ("-h", "--help", "help"):
        other = _ELSEWHERE.get(name)
        meant = f"did you mean {other}? " if other else did_you_mean(name, COMMANDS)
        raise UsageError(f"there is no command {name}; {meant}they are {', '.join(COMMANDS)}")
    say = line_printer(Console())
    for command in COMMANDS:
        source = Path(__file__).with_name(f"{command}.py").read_text()
        does = (ast.get_docstring(ast.parse(source)) or "").partition(":")[0]
        say(f"{command:14}  {does.strip('.')}")
    say(f"{program('run')} --help, and likewise for the others, tells more, with examples.")


if __name__ == "__main__":
    main()
