"""Classify image files: `jaxcifar predict cat.jpg`."""

import json
from argparse import Action
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from jaxcifar.commands.shared.answer_files import (
    add_answer_files,
    check_answer_files,
    check_submission_ids,
    write_answer_files,
)
from jaxcifar.commands.shared.cli import start_jax
from jaxcifar.commands.shared.common_options import add_picture_option, parse_count, parse_path
from jaxcifar.commands.shared.output import draw_picture
from jaxcifar.commands.shared.parser import Parser
from jaxcifar.errors import RunError, UsageError, printable
from jaxcifar.machine.paths import require_existing
from jaxcifar.machine.terminal import line_printer, show_activity
from jaxcifar.runs.task import looks_like_run, require_trained

if TYPE_CHECKING:
    from jaxcifar.trained.predictions import Predictions

_MAX_NAME_LENGTH = 40  # characters of a file name in the table


HELP_EXAMPLES = (
    ("photo.jpg", "classify one image with the CNN that comes with the package"),
    ("photos/ --run first --top 5", "classify a folder of images with your own run"),
    ("photos/ --sheet sheet.png", "draw the images with their classes"),
    ("test/ --run first --submission answers.csv", "write Kaggle's id,label"),
)


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar predict`."""
    parser = Parser("predict", "Classify image files.", HELP_EXAMPLES)
    images_argument = parser.add_argument(
        "images",
        nargs="+",
        type=parse_path,
        metavar="IMAGE",
        help="image file, or folder of images",
    )
    _allow_images_after_options(images_argument)
    parser.add_argument(
        "--run",
        nargs="+",
        type=parse_path,
        default=[],
        metavar="RUN",
        help="finished run, or file of weights; several predict together (default: the CNN that "
        "comes with the package)",
    )
    parser.add_argument(
        "--top", type=parse_count, default=3, metavar="N", help="classes to name (default: 3)"
    )
    parser.add_argument("--json", action="store_true", help="print JSON, with all classes")
    add_picture_option(parser, "--sheet", "the images with their classes")
    parser.add_argument(
        "--skip-damaged",
        action="store_true",
        help="exit with code 0 although files that can't be read are left out (default: 1)",
    )
    add_answer_files(parser)
    return parser


def _allow_images_after_options(images_argument: Action) -> None:
    """Let the parser accept a command line without images before its options.

    Images after the options are found by `main`, and images after `--run` by `separate_images`.
    """
    images_argument.required = False


def main(argv: Sequence[str]) -> None:
    """Classify images, print their classes, and write the files that the options name.

    Raises:
      UsageError: an option, an image or a run can't be used.
      RunError: a file can't be read or written, or an image was left out.
    """
    options, images_after_options = parser().parse_known_args(argv)
    images, runs = separate_images(options.images, options.run)
    if images_after_options:
        images += parser().parse_args(["--", *images_after_options]).images
    position_on_command_line = {Path(word): position for position, word in enumerate(argv)}
    images.sort(key=lambda image: position_on_command_line.get(image, 0))
    if not images:
        raise UsageError("no IMAGE is given; give image files, or folders of images (see --help)")
    require_existing(images)
    for run in runs:
        require_trained(run)
    check_answer_files(options, runs)
    with show_activity("reading the images and the network"):
        from jaxcifar.trained.load import load
        from jaxcifar.trained.photos import read_photos_in_sizes

        start_jax()
        classifier = load(*runs)
        photos_of_size = read_photos_in_sizes(images, classifier.image_sizes)
        photos = photos_of_size[classifier.image_size]
        if options.submission:
            check_submission_ids(photos.names)
        predictions = classifier.predict_photos(photos_of_size)
    print_remark = line_printer(Console(stderr=True))
    for remark in photos.remarks:
        print_remark(remark)
    class_names = [printable(name) for name in classifier.class_names]
    if options.json:
        print(json.dumps(predictions_as_json(photos.names, class_names, predictions), indent=2))
    else:
        for line in prediction_lines(photos.names, class_names, predictions, options.top):
            print(line)
        print_remark(
            f"The network can only answer with one of its {len(class_names):,} classes, whatever "
            "an image shows."
        )
    if options.sheet:
        from jaxcifar.runs.image_sheets import plot_predictions

        probabilities = predictions.probabilities.max(axis=-1)
        shown = (photos.names, photos.pixels, predictions.labels, probabilities)
        draw_picture("--sheet", options.sheet, plot_predictions, *shown)
    write_answer_files(options, classifier, photos, predictions)
    if photos.left_out and not options.skip_damaged:
        file_count = len(photos.names) + photos.left_out
        raise RunError(
            f"{photos.left_out:,} of {file_count:,} files were left out, see above; repair or "
            "remove them, or accept it with --skip-damaged"
        )


def separate_images(
    images_before_options: Sequence[Path] | None, run_option_values: Sequence[Path]
) -> tuple[list[Path], list[Path]]:
    """Return the images and the runs of a command line such as `--run RUN cat.jpg`.

    The option `--run` takes all words after it, so its values can include images. The first value
    is always a run. Each other value is an image if the file exists and is not a run.

    Args:
      images_before_options: the images that the command line names before the options; None if
        there are none.
      run_option_values: values of `--run`.
    """
    images = list(images_before_options or [])
    if not run_option_values:
        return images, []
    first_run, *runs_and_images = run_option_values
    runs = [first_run]
    for path in runs_and_images:
        is_image = path.exists() and not looks_like_run(path)
        if is_image:
            images.append(path)
        else:
            runs.append(path)
    return images, runs


def predictions_as_json(
    images: Sequence[str], class_names: Sequence[str], predictions: "Predictions"
) -> list[dict[str, Any]]:
    """Return the predictions as JSON values, one object for each image.

    Args:
      images: paths of the images.
      class_names: names of the classes, by label.
      predictions: the predictions of the images.
    """
    json_objects = []
    for image, probabilities in zip(images, predictions.probabilities, strict=True):
        probability_by_class = dict(zip(class_names, probabilities.tolist(), strict=True))
        label = class_names[probabilities.argmax()]
        json_objects.append({"image": image, "label": label, "probabilities": probability_by_class})
    return json_objects


def prediction_lines(
    images: Sequence[str], class_names: Sequence[str], predictions: "Predictions", top: int
) -> Iterator[str]:
    """Yield a line for each image: its name and its most probable classes, the likeliest first.

    Args:
      images: paths of the images.
      class_names: names of the classes, by label.
      predictions: the predictions of the images.
      top: number of classes to name.
    """
    image_names = [printable(image, _MAX_NAME_LENGTH) for image in images]
    name_width = max(map(len, image_names))
    class_width = max(map(len, class_names)) + len(" 100.0%")
    for image_name, probabilities in zip(image_names, predictions.probabilities, strict=True):
        cells = [f"{image_name:{name_width}}"]
        labels_by_falling_probability = (-probabilities).argsort(kind="stable")
        for label in labels_by_falling_probability[:top]:
            cell = f"{class_names[label]} {probabilities[label]:.1%}"
            cells.append(f"{cell:{class_width}}")
        yield "  ".join(cells).rstrip()
