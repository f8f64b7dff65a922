"""Say what is in images: `python -m experiments.predict cat.jpg`."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.cli import count, location, start_jax
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.commands.summary import picture
from jaxcifar.errors import printable
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import status_line, teller
from jaxcifar.runs.task import require_trained

if TYPE_CHECKING:
    from jaxcifar.trained.classifier import Predictions

_NAME = 40  # characters of a file's name in the table


EXAMPLES = (
    ("photo.jpg", "by the CNN that comes with the package"),
    ("photos/ --run first --top 5", "a folder of images, by a run of yours"),
    ("photos/ --sheet sheet.png", "the same as a picture"),
)


def parser() -> Parser:
    """The command's options."""
    parser = Parser("predict", "Say what is in images.", EXAMPLES)
    parser.add_argument(
        "images", nargs="+", type=location, metavar="IMAGE", help="file, or folder of images"
    )
    parser.add_argument(
        "--run",
        nargs="+",
        type=location,
        default=[],
        metavar="RUN",
        help="finished run, or file of its weights; several predict together (default: a CNN that "
        "comes with the package)",
    )
    parser.add_argument(
        "--top", type=count, default=3, metavar="N", help="classes to name (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all classes")
    parser.add_argument(
        "--sheet",
        type=picture,
        metavar="FILE",
        help="draw them (.png, .svg, .pdf; default: not at all)",
    )
    return parser


def main(argv: Sequence[str]) -> None:
    """Classify image files."""
    options = parser().parse_args(argv)
    require_existing(options.images)
    for run in options.run:
        require_trained(run)
    with status_line("reading the images and the network"):
        from jaxcifar.trained.load import load
        from jaxcifar.trained.photos import draw_sheet, read_pictures

        pictures = read_pictures(options.images)
        start_jax()
        classifier = load(*options.run)
        predictions = classifier.predict(pictures.pixels)
    tell = teller(Console(stderr=True))
    for line in pictures.remarks:
        tell(line)
    names = [printable(name) for name in classifier.class_names]
    if options.json:
        print(json.dumps(as_values(pictures.names, names, predictions), indent=2))
    else:
        for line in table(pictures.names, names, predictions, options.top):
            print(line)
    if options.sheet:
        draw_sheet(options.sheet, pictures, predictions)


def as_values(
    images: Sequence[str], names: Sequence[str], predictions: "Predictions"
) -> list[dict[str, Any]]:
    """An entry an image, for JSON."""
    return [
        {
            "image": image,
            "label": names[odds.argmax()],
            "probabilities": {name: float(p) for name, p in zip(names, odds, strict=True)},
        }
        for image, odds in zip(images, predictions.probabilities, strict=True)
    ]


def table(
    images: Sequence[str], names: Sequence[str], predictions: "Predictions", top: int
) -> Iterator[str]:
    """A line an image, with the likeliest classes first."""
    shown = [printable(image, _NAME) for image in images]
    columns = max(map(len, names)) + len(" 100.0%")
    for image, odds in zip(shown, predictions.probabilities, strict=True):
        best = (-odds).argsort(kind="stable")[:top]
        said = "  ".join(f"{f'{names[k]} {odds[k]:.1%}':{columns}}" for k in best)
        yield f"{image:{max(map(len, shown))}}  {said}".rstrip()
