"""Hand a trained network on: `python -m experiments.export RUN --to onnx FILE`."""

import keyword
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.cli import location, start_jax
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import RunError
from jaxcifar.machine.paths import require_folder_of
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.task import require_trained

if TYPE_CHECKING:
    from jaxcifar.trained.classifier import Classifier

_SUFFIXES = {
    "pytorch": ".pth",
    "onnx": ".onnx",
    "stablehlo": ".stablehlo",
    "safetensors": ".safetensors",
}


EXAMPLES = (
    ("first --to onnx first.onnx", "for ONNX Runtime"),
    ("first --to pytorch first.pth", "a state dict, and a module that loads it"),
    ("first --to safetensors half.safetensors --half", "the weights alone, in half the bytes"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser("export", "Hand a trained network on, in a form that others read.", EXAMPLES)
    parser.add_argument(
        "run", metavar="RUN", type=location, help="finished run, or file of its weights"
    )
    parser.add_argument(
        "--to",
        choices=_SUFFIXES,
        metavar="FORM",
        required=True,
        help="pytorch: a state dict, and a module beside it that loads it; onnx: uint8 images to "
        "logits; stablehlo: a function for jax.export, on CPU, GPU and TPU; safetensors: the "
        "weights for jaxcifar.load",
    )
    parser.add_argument(
        "--half", action="store_true", help="round the weights to float16 (safetensors only)"
    )
    parser.add_argument("file", metavar="FILE", type=location, help="to write")
    return parser


def main(argv: Sequence[str]) -> None:
    """Write a finished run's network in another form."""
    options = parser().parse_args(argv)
    path, suffix = options.file, _SUFFIXES[options.to]
    if path.suffix != suffix or path.is_dir():
        parser().error(f"{path}: --to {options.to} writes a file that ends in {suffix}")
    if options.to == "pytorch" and not _importable(path.stem):
        parser().error(
            f"{path}: a module {path.stem}.py beside it could not be imported, or would be in the "
            "way of another; choose another name, of letters, digits and _"
        )
    if (path.parent / "config.json").exists():
        parser().error(f"{path}: lies in the folder of a run; choose another place")
    if options.half and options.to != "safetensors":
        parser().error("--half: only safetensors can be half as long")
    require_trained(options.run)
    require_folder_of("FILE", path)
    say = line_printer(Console())
    say(f"loading {options.run}")

    from jaxcifar.trained.load import load

    start_jax()
    classifier = load(options.run)
    try:
        said = write(classifier, options.to, path, options.half)
    except OSError as error:
        raise RunError(f"{path}: can't be written ({error.strerror or error})") from error
    say(said)


def _importable(name: str) -> bool:
    """Whether a module may have this name where others are imported too."""
    taken = keyword.iskeyword(name) or name in sys.stdlib_module_names or name == "torch"
    return name.isidentifier() and not taken


def write(classifier: "Classifier", kind: str, path: Path, half: bool) -> str:
    """Write a network in one of the forms; returns what is said of it."""
    if kind == "pytorch":
        from jaxcifar.exchange.to_pytorch import write_pytorch

        return f"{path}, and {write_pytorch(classifier, path)}: its load() gives the network"
    if kind == "onnx":
        from jaxcifar.exchange.onnx_graph import write_onnx

        write_onnx(classifier, path)
    elif kind == "stablehlo":
        from jaxcifar.exchange.stablehlo import write_stablehlo

        write_stablehlo(classifier, path)
    else:
        from jaxcifar.runs.weights import card_of, write_weights

        write_weights(path, classifier.variables, card_of(classifier.result), half)
    return str(path)
