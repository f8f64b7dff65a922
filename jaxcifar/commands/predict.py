"""Classify image files: `jaxcifar predict cat.jpg`."""

import json
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_picture, count, location
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import printable
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import line_printer, show_activity
from jaxcifar.runs.task import require_trained

if TYPE_CHECKING:
    from jaxcifar.trained.classifier import Predictions

_MAX_NAME_LENGTH = 40  # characters of a file name in the table


HELP_EXAMPLES = (
    ("photo.jpg", "classify one image with the CNN that comes with the package"),
    ("photos/ --run first --top 5", "classify a folder of images with your own run"),
    ("photos/ --sheet sheet.png", "draw the images with their classes"),
)


def parser() -> Parser:
    parser = Parser("predict", "Classify image files.", HELP_EXAMPLES)
    parser.add_argument(
        "images", nargs="+", type=location, metavar="IMAGE", help="image file, or folder of images"
    )
    parser.add_argument(
        "--run",
        nargs="+",
        type=location,
        default=[],
        metavar="RUN",
        help="finished run, or file of weights; several predict together (default: the CNN that "
        "comes with the package)",
    )
    parser.add_argument(
        "--top", type=count, default=3, metavar="N", help="classes to name (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all classes")
    add_picture(parser, "--sheet", "the images with their classes")
    return parser


def main(argv: Sequence[str]) -> None:
    options = parser().parse_args(argv)
    require_existing(options.images)
    for run in options.run:
        require_trained(run)
    with show_activity("reading the images and the network"):
        from jaxcifar.trained.load import load
        from jaxcifar.trained.photos import draw_sheet, read_photos

        photos = read_photos(options.images)
        start_jax()
        classifier = load(*options.run)
        predictions = classifier.predict(photos.pixels)
    print_remark = line_printer(Console(stderr=True))
    for remark in photos.remarks:
        print_remark(remark)
    class_names = [printable(name) for name in classifier.class_names]
    if options.json:
        print(json.dumps(as_json_values(photos.names, class_names, predictions), indent=2))
    else:
        for line in table(photos.names, class_names, predictions, options.top):
            print(line)
        print_remark(
            f"The network can only answer with one of its {len(class_names):,} classes, whatever "
            "an image shows."
        )
    if options.sheet:
        draw_sheet(options.sheet, photos, predictions)


def as_json_values(
    images: Sequence[str], class_names: Sequence[str], predictions: "Predictions"
) -> list[dict[str, Any]]:
    """Return the predictions as JSON values, one object for each image.

    Args:
      images: paths of the images.
      class_names: names of the classes, by label.
      predictions: the predictions of the images.
    """
    values = []
    for image, probabilities in zip(images, predictions.probabilities, strict=True):
        by_class = dict(zip(class_names, probabilities.tolist(), strict=True))
        label = class_names[probabilities.argmax()]
        values.append({"image": image, "label": label, "probabilities": by_class})
    return values


def table(
    images: Sequence[str], class_names: Sequence[str], predictions: "Predictions", top: int
) -> Iterator[str]:
    """Yield a line for each image: its name and its `top` likeliest classes in descending order."""
    shown = [printable(image, _MAX_NAME_LENGTH) for image in images]
    name_width = max(map(len, shown))
    class_width = max(map(len, class_names)) + len(" 100.0%")
    for image, probabilities in zip(shown, predictions.probabilities, strict=True):
        cells = [f"{image:{name_width}}"]
        for label in (-probabilities).argsort(kind="stable")[:top]:
            cell = f"{class_names[label]} {probabilities[label]:.1%}"
            cells.append(f"{cell:{class_width}}")
        yield "  ".join(cells).rstrip()
