"""Write the report of the runs in a folder: `jaxcifar report DIR`."""

from collections.abc import Sequence

from rich.console import Console

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import UsageError
from jaxcifar.machine.terminal import line_printer

HELP_EXAMPLES = (("checkpoints", "report all runs"), ("rows", "report one study"))


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar report`."""
    parser = Parser(
        "report",
        "Write a report of the runs in a folder: report.html and REPORT.md.",
        HELP_EXAMPLES,
    )
    parser.add_argument(
        "folder",
        metavar="DIR",
        type=parse_path,
        help="folder of runs; its subfolders are searched too",
    )
    parser.add_argument(
        "--author",
        metavar="NAME",
        help="name below the report's title (default: the author in the study's file, if any)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Write the report of the runs in a folder, and print its path."""
    options = parser().parse_args(argv)
    if not options.folder.is_dir():
        raise UsageError(f"{options.folder}: no such folder; give the folder of a run or a study")
    print_line = line_printer(Console())
    print_line(f"reading the runs in {options.folder}, and drawing the report's pictures")

    from jaxcifar.report import write_report

    report_file = write_report(options.folder, print_line, options.author)
    print_line(f"report: {report_file}, and the same in REPORT.md")
