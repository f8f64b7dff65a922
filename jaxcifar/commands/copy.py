"""Copy a study or a network that comes with the package: `jaxcifar copy ablation`."""

import ast
import re
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.example_files import network_files, study_files
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.config.registry import did_you_mean
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.files import write_text
from jaxcifar.machine.terminal import PrintLine, line_printer

HELP_EXAMPLES = (
    ("ablation", "the reference's ten rows, as ablation.toml"),
    ("mixer networks/mixer.py", "a network, under a name of your choice"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar copy`."""
    parser = Parser("copy", "Copy a study or a network that comes with the package.", HELP_EXAMPLES)
    names = _files_by_name()
    name_argument = parser.add_argument("name", metavar="NAME", help=f"one of {', '.join(names)}")
    suggest(name_argument, names)
    parser.add_argument(
        "to",
        nargs="?",
        type=parse_path,
        metavar="FILE",
        help="where to write the copy (default: a file of its name in the current folder)",
    )
    return parser


def _files_by_name() -> dict[str, Path]:
    """Return the files of all studies and networks that come with the package, by name."""
    return {**study_files(), **network_files()}


def main(argv: Sequence[str]) -> None:
    """Copy a study or a network to a new file, and print how to use the copy.

    Raises:
      UsageError: no study or network has this name, or the new file exists already.
    """
    options = parser().parse_args(argv)
    files = _files_by_name()
    if options.name not in files:
        suggestion = did_you_mean(options.name, files)
        raise UsageError(
            f"{options.name}: no such study or network; {suggestion}choose one of "
            f"{', '.join(files)}"
        )
    source_file = files[options.name]
    new_file = options.to or Path(source_file.name)
    if new_file.is_dir():
        new_file = new_file / source_file.name
    _require_new_file_in_folder(new_file, options.name)
    print_line = line_printer(Console())
    is_study = source_file.suffix == ".toml"
    if is_study:
        _copy_study(source_file, new_file, print_line)
        next_command = f"{shell_command('ablation')} --study {new_file}"
    else:
        write_text(new_file, source_file.read_text())
        network = f"{new_file}:{_network_class_in(source_file)}"
        next_command = f"{shell_command('run')} --arch {network}"
    print_line(f"{new_file}: change it, then run {next_command}")


def _require_new_file_in_folder(new_file: Path, name: str) -> None:
    """Check that a file does not exist, but its folder does.

    Raises:
      UsageError: the file exists, or its folder does not. `name` is the study or network to copy,
        which the advice repeats.
    """
    if new_file.exists() or new_file.is_symlink():
        command = f"{shell_command('copy')} {name} FILE"
        raise UsageError(f"{new_file}: exists already; give another name, as in {command}")
    if not new_file.parent.is_dir():
        raise UsageError(f"{new_file.parent}: no such folder; make it first")


def _copy_study(source_file: Path, new_file: Path, print_line: PrintLine) -> None:
    """Copy a study file of the package, and the package's networks that it names.

    The networks are copied to the folder of the new file. `print_line` prints a line for each.
    """
    study_text = source_file.read_text()
    network_names = re.findall(r"\.\./networks/(\w+)\.py", study_text)
    for name in dict.fromkeys(network_names):
        network_copy = new_file.with_name(f"{name}.py")
        if network_copy.exists():
            print_line(f"{network_copy}: exists already and is used by the study")
        else:
            write_text(network_copy, network_files()[name].read_text())
            print_line(f"{network_copy}: a copy of the study's network")
    text_with_networks_beside_study = study_text.replace("../networks/", "")
    write_text(new_file, text_with_networks_beside_study)


def _network_class_in(source_file: Path) -> str:
    """Return the name of the network in a Python file: the file's last class."""
    module = ast.parse(source_file.read_text())
    classes = [node for node in module.body if isinstance(node, ast.ClassDef)]
    return classes[-1].name
