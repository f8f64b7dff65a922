"""Write the report of the runs in a folder: `python -m experiments.report DIR`."""

from collections.abc import Sequence

from rich.console import Console

from jaxcifar.commands.shared.cli import location
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import teller

EXAMPLES = (
    ("checkpoints", "of all that was run"),
    ("rows", "of one study"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser(
        "report", "Write the report of a folder's runs: report.html, REPORT.md.", EXAMPLES
    )
    parser.add_argument(
        "folder", metavar="DIR", type=location, help="runs are found here and below"
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Read run folders, write REPORT.md, report.html and pictures beside them."""
    options = parser().parse_args(argv)
    if not options.folder.is_dir():
        raise UsageError(f"{options.folder}: no such folder")
    say = teller(Console())
    say(f"reading the runs in {options.folder}, and drawing the report's pictures")

    from jaxcifar.report import write_report

    say(f"report: {write_report(options.folder, say)}, and the same in REPORT.md")
