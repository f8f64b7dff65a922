"""Write the report of the runs in a folder: `python -m experiments.report DIR`."""

from collections.abc import Sequence

from rich.console import Console

from jaxcifar.commands.shared.cli import location
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import line_printer

EXAMPLES = (
    ("checkpoints", "report all runs"),
    ("rows", "report one study"),
)


def parser() -> Parser:
    """Return the options of the command."""
    parser = Parser(
        "report", "Write a report of the runs in a folder: report.html and REPORT.md.", EXAMPLES
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=location,
        help="folder of runs; its subfolders are searched too",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Read the runs, and write report.html, REPORT.md and their pictures into the folder."""
    options = parser().parse_args(argv)
    if not options.folder.is_dir():
        raise UsageError(f"{options.folder}: no such folder")
    say = line_printer(Console())
    say(f"reading the runs in {options.folder}, and drawing the report's pictures")

    from jaxcifar.report import write_report

    say(f"report: {write_report(options.folder, say)}, and the same in REPORT.md")
