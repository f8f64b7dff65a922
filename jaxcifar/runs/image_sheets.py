"""Sheets of small images with text above each: mistakes, predictions, training images."""

import math
from collections.abc import Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from jaxcifar.machine.terminal import pluralize
from jaxcifar.runs.plots import safe_title, shortened

_SHEET_WIDTH = 7.68  # inches, as all lengths below
_TITLE_LINE_HEIGHT = 0.2
_MARGIN = 0.1
_MAX_NAME_LETTERS = 12  # the longest class name above an image
_MAX_PREDICTIONS = 200
_MAX_FILE_LETTERS, _MAX_CLASS_LETTERS = 24, 16  # above an image with its prediction
_IMAGES_PER_ROW = 4
_IMAGE_SIDE = 1.45
_TEXT_HEIGHT = 0.36  # of two lines above an image
_ROW_LABEL_WIDTH = 0.35  # of the words left of a row


def plot_mistakes(
    class_names: Sequence[str], mistakes: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw wrongly classified images as a PNG, with predicted and true class.

    `mistakes` has the arrays of `mistakes.npz`, by name.
    """
    names = [shortened(name, _MAX_NAME_LETTERS) for name in class_names]
    texts = [
        f"predicted {names[predicted]} {confidence:.2%}\ntrue {names[label]}"
        for predicted, confidence, label in zip(
            mistakes["predicted"], mistakes["confidence"], mistakes["label"], strict=True
        )
    ]
    _plot_image_sheet(mistakes["image"], texts, title, file)


def plot_label_errors(
    class_names: Sequence[str], errors: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw images that may have a wrong label as a PNG, with their labels and predicted classes.

    `errors` has the arrays that `likely_label_errors` returns, by name: images, labels, predicted
    classes and the probabilities of both classes.
    """
    names = [shortened(name, _MAX_NAME_LETTERS) for name in class_names]
    texts = [
        f"labelled {names[label]} {probability:.2%}\npredicted {names[predicted]} {confidence:.2%}"
        for label, probability, predicted, confidence in zip(
            errors["label"],
            errors["label_probability"],
            errors["predicted"],
            errors["confidence"],
            strict=True,
        )
    ]
    _plot_image_sheet(errors["image"], texts, title, file)


def plot_predictions(
    names: Sequence[str],
    images: np.ndarray,
    predicted_classes: Sequence[str],
    probabilities: Sequence[float],
    file: BinaryIO | Path,
    picture_format: str = "png",
) -> None:
    """Draw the first images with their names, their predicted classes and the probabilities.

    Args:
      names: paths of the images' files, or numbers of images without a file.
      images: the images, `[N, size, size, 3] uint8`; at most 200 are drawn.
      predicted_classes: name of the likeliest class of each image.
      probabilities: probability of this class, from 0 to 1.
      file: where to write the picture.
      picture_format: such as "png".
    """
    shown = min(len(names), _MAX_PREDICTIONS)
    image_count = pluralize(len(names), "image")
    title = f"The first {shown} of {image_count}" if shown < len(names) else image_count
    texts = [
        f"{shortened(Path(name).name, _MAX_FILE_LETTERS)}\n"
        f"{shortened(predicted_class, _MAX_CLASS_LETTERS)} {probability:.0%}"
        for name, predicted_class, probability in zip(
            names[:shown], predicted_classes[:shown], probabilities[:shown], strict=True
        )
    ]
    _plot_image_sheet(images[:shown], texts, title, file, picture_format)


def _plot_image_sheet(
    images: np.ndarray,
    texts: Sequence[str],
    title: str,
    file: BinaryIO | Path,
    picture_format: str = "png",
) -> None:
    """Draw images in rows of four, each with its text from `texts` above it."""
    rows = max(1, math.ceil(len(images) / _IMAGES_PER_ROW))
    row_height = _TEXT_HEIGHT + _IMAGE_SIDE + _MARGIN
    figure, sheet = _empty_sheet(rows * row_height, title)
    column_width = _SHEET_WIDTH / _IMAGES_PER_ROW
    for number, (image, text) in enumerate(zip(images, texts, strict=False)):
        row, column = divmod(number, _IMAGES_PER_ROW)
        center = (column + 0.5) * column_width
        top = row * row_height + _TEXT_HEIGHT
        _place_image(sheet, image, center - _IMAGE_SIDE / 2, top, _IMAGE_SIDE)
        _place_text(sheet, text, center, top)
    figure.savefig(file, format=picture_format)


def plot_training_images(
    class_names: Sequence[str], arrays: dict[str, np.ndarray], title: str, file: BinaryIO | Path
) -> None:
    """Draw training images as a PNG: one row as they are stored, and rows of augmented versions.

    `arrays` has the arrays of `training_images.npz`, by name: images, augmented versions and
    labels.
    """
    stored_images, augmented_images = arrays["image"], arrays["augmented"]
    images_by_row_label = {"as stored": stored_images}
    version_count = augmented_images.shape[1]  # [images, versions, height, width, channels]
    for version in range(version_count):
        images_by_row_label[f"augmented {version + 1}"] = augmented_images[:, version]
    column_width = (_SHEET_WIDTH - _ROW_LABEL_WIDTH) / max(1, len(stored_images))
    side = 0.9 * column_width  # of an image
    sheet_height = _TEXT_HEIGHT + len(images_by_row_label) * column_width
    figure, sheet = _empty_sheet(sheet_height, title)
    for row, (row_label, images) in enumerate(images_by_row_label.items()):
        top = _TEXT_HEIGHT + row * column_width
        _place_row_label(sheet, row_label, top + side / 2)
        for column, image in enumerate(images):
            left = _ROW_LABEL_WIDTH + column * column_width
            _place_image(sheet, image, left, top, side)
    for column, class_number in enumerate(arrays["label"]):
        class_name = shortened(class_names[class_number], _MAX_NAME_LETTERS)
        center = _ROW_LABEL_WIDTH + column * column_width + side / 2
        _place_text(sheet, class_name, center, _TEXT_HEIGHT)
    figure.savefig(file, format="png")


def _empty_sheet(height: float, title: str) -> tuple[Figure, Axes]:
    """Return a new figure and its axes, in which positions are inches below the title.

    All images share the axes: matplotlib would need a second to lay out axes for each image.

    Args:
      height: height of the sheet without its title, in inches.
      title: the title, of at most four lines.
    """
    shown_title = safe_title(title)
    title_height = 2 * _MARGIN + _TITLE_LINE_HEIGHT * (shown_title.count("\n") + 1)
    figure_height = title_height + height
    figure = Figure(figsize=(_SHEET_WIDTH, figure_height), dpi=120)
    title_top = 1 - _MARGIN / figure_height
    figure.suptitle(shown_title, fontsize=11, y=title_top, va="top", parse_math=False)
    axes = figure.add_axes((0, 0, 1, height / figure_height))
    axes.set_axis_off()
    axes.set(xlim=(0, _SHEET_WIDTH), ylim=(height, 0))
    return figure, axes


def _place_image(sheet: Axes, image: np.ndarray, left: float, top: float, side: float) -> None:
    """Draw a square image into a sheet; positions and the side's length are in inches."""
    extent = (left, left + side, top + side, top)
    sheet.imshow(image, extent=extent, interpolation="nearest", aspect="auto")


def _place_text(sheet: Axes, text: str, center: float, bottom: float) -> None:
    """Write text above an image whose upper edge is at `bottom`; positions are in inches."""
    above_image = bottom - 0.04
    sheet.text(center, above_image, text, fontsize=8, ha="center", va="bottom", parse_math=False)


def _place_row_label(sheet: Axes, label: str, center: float) -> None:
    """Write a label upwards at a sheet's left edge; `center` is its distance from the top."""
    position = _ROW_LABEL_WIDTH / 2
    sheet.text(position, center, label, fontsize=8, ha="center", va="center", rotation=90)
