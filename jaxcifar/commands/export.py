"""Export a trained network: `jaxcifar export RUN --to onnx FILE`."""

import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.output import explain_write_errors
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.task import require_trained

if TYPE_CHECKING:
    from jaxcifar.trained.classifier import Classifier

_SUFFIX_BY_FORMAT = {
    "pytorch": ".pth",
    "onnx": ".onnx",
    "stablehlo": ".stablehlo",
    "safetensors": ".safetensors",
}


HELP_EXAMPLES = (
    ("first --to onnx first.onnx", "for ONNX Runtime"),
    ("first --to pytorch first.pth", "a state dict, and a Python module that loads it"),
    ("first --to safetensors half.safetensors --half", "only the weights, in half the bytes"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar export`."""
    parser = Parser(
        "export", "Export a trained network to a format of other programs.", HELP_EXAMPLES
    )
    parser.add_argument(
        "run", metavar="RUN", type=parse_path, help="finished run, or file of its weights"
    )
    parser.add_argument(
        "--to",
        choices=_SUFFIX_BY_FORMAT,
        metavar="FORMAT",
        required=True,
        help="pytorch: a state dict, and a module in the same folder that loads it (built-in "
        "networks only); onnx: a graph from uint8 images to logits; stablehlo: a function for "
        "jax.export, on CPU, GPU and TPU; safetensors: the weights for jaxcifar.load",
    )
    parser.add_argument(
        "--half", action="store_true", help="round the weights to float16 (safetensors only)"
    )
    parser.add_argument("file", metavar="FILE", type=parse_path, help="file to write")
    return parser


def main(argv: Sequence[str]) -> None:
    """Write a trained network to a file in the format of another program."""
    options = parser().parse_args(argv)
    _check_file_name(options.file, options.to)
    path = options.file
    if (path.parent / "config.json").exists():
        parser().error(f"{path}: is in the folder of a run; choose another folder")
    if options.half and options.to != "safetensors":
        parser().error("--half: works only with --to safetensors; leave one of them out")
    require_trained(options.run)
    if path.exists() and path.samefile(options.run):
        parser().error(f"{path}: is the file to export; choose another name")
    require_folder_of("FILE", path)
    print_line = line_printer(Console())
    print_line(f"loading {options.run}")

    from jaxcifar.trained.load import load

    start_jax()
    classifier = load(options.run)
    with explain_write_errors(str(path)):
        message = write_and_describe_file(classifier, options.to, path, as_float16=options.half)
    print_line(message)


def _check_file_name(path: Path, export_format: str) -> None:
    """End the command with an error if the file to write has a wrong name for its format."""
    suffix = _SUFFIX_BY_FORMAT[export_format]
    if path.suffix != suffix or path.is_dir():
        parser().error(
            f"{path}: --to {export_format} writes a file that ends in {suffix}; rename it"
        )
    also_writes_module = export_format == "pytorch"
    if also_writes_module and not _can_be_name_of_new_module(path.stem):
        parser().error(
            f"{path}: Python could not import the module {path.stem}.py, or it would hide another "
            "module; choose another name of letters, digits and _"
        )


def _can_be_name_of_new_module(name: str) -> bool:
    """Return whether Python can import NAME.py, and neither torch nor Python has such a module."""
    is_importable = name.isidentifier() and not keyword.iskeyword(name)
    is_taken = name in sys.stdlib_module_names or name == "torch"
    return is_importable and not is_taken


def write_and_describe_file(
    classifier: "Classifier", export_format: str, path: Path, as_float16: bool
) -> str:
    """Write a trained network to a file, and return a line for the user that names the file.

    Args:
      classifier: the trained network.
      export_format: "pytorch", "onnx", "stablehlo" or "safetensors".
      path: the file.
      as_float16: round the weights to float16; only for "safetensors".

    Raises:
      OSError: the file can't be written.
    """
    if export_format == "pytorch":
        from jaxcifar.exchange.to_pytorch import write_pytorch

        module_file = write_pytorch(classifier, path)
        return f"{path}, and {module_file}: its load() gives the network"
    if export_format == "onnx":
        from jaxcifar.exchange.onnx.onnx_file import write_onnx

        are_logits_compared = write_onnx(classifier, path)
        if not are_logits_compared:
            return (
                f"written: {path}; its logits were not compared with the network's, because the "
                "package onnxruntime is not installed: pip install onnxruntime"
            )
    elif export_format == "stablehlo":
        from jaxcifar.exchange.stablehlo import write_stablehlo

        write_stablehlo(classifier, path)
    else:
        from jaxcifar.runs.weights import make_card, write_weights

        write_weights(path, classifier.variables, make_card(classifier.result), as_float16)
    return f"written: {path}"
