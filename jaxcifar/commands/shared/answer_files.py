"""The files that `jaxcifar predict` writes: tables of its answers, and features of images."""

import csv
import io
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from jaxcifar.commands.shared.common_options import parse_path
from jaxcifar.commands.shared.output import explain_write_errors
from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.errors import UsageError
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.paths import require_folder_of

if TYPE_CHECKING:
    from jaxcifar.trained.classifier import Classifier
    from jaxcifar.trained.ensemble import Ensemble
    from jaxcifar.trained.photos import Photos
    from jaxcifar.trained.predictions import Predictions

_FILE_OPTIONS = ("csv", "submission", "features")
_MAX_ID_DIGITS = 18  # longer ids are not converted to numbers


def parse_npz_path(text: str) -> Path:
    """Parse an option's value as the path of an `.npz` file."""
    path = parse_path(text)
    if path.suffix != ".npz":
        raise ArgumentTypeError(f"{text}: must be a file that ends in .npz")
    return path


def add_answer_files(parser: OptionHolder) -> None:
    """Add `--csv`, `--submission` and `--features`, and the options that change these files."""
    parser.add_argument(
        "--csv",
        type=parse_path,
        metavar="FILE",
        help="write a table to FILE: file, label, probability (default: no file)",
    )
    parser.add_argument(
        "--all-classes",
        action="store_true",
        help="in the file of --csv, add a column with the probability of each class",
    )
    parser.add_argument(
        "--submission",
        type=parse_path,
        metavar="FILE",
        help="write Kaggle's table to FILE: id (the file's name without its ending), label "
        "(default: no file)",
    )
    parser.add_argument(
        "--features",
        type=parse_npz_path,
        metavar="FILE.npz",
        help="write what goes into the last dense layer to FILE.npz: features [N, D] and files "
        "(default: no file)",
    )
    parser.add_argument(
        "--overwrite",
        action="store_true",
        help="replace files of --csv, --submission and --features that exist already",
    )


def check_answer_files(options: Namespace, runs: Sequence[Path]) -> None:
    """Check `--csv`, `--submission` and `--features` before anything is computed.

    Args:
      options: the options of the command.
      runs: the runs whose networks predict.

    Raises:
      UsageError: a file exists already, its folder is missing, or options do not go together.
    """
    file_of_option: dict[str, Path] = {}
    for name in _FILE_OPTIONS:
        file = getattr(options, name)
        if file is not None:
            file_of_option[f"--{name}"] = file
    for option, path in file_of_option.items():
        require_folder_of(option, path)
        if path.is_dir():
            raise UsageError(f"{option} {path}: is a folder; give the name of a file")
        exists = path.exists() or path.is_symlink()
        if exists and not options.overwrite:
            raise UsageError(
                f"{option} {path}: exists already; choose another name, or use --overwrite"
            )
    distinct_files = {path.resolve() for path in file_of_option.values()}
    if len(distinct_files) < len(file_of_option):
        raise UsageError(
            f"{', '.join(file_of_option)} would write the same file; give each option another file"
        )
    if options.all_classes and not options.csv:
        raise UsageError("--all-classes: adds columns to the file of --csv; give --csv FILE too")
    if options.features and len(runs) > 1:
        raise UsageError(f"--features: {len(runs)} runs have no features in common; give one --run")


def check_submission_ids(image_names: Sequence[str]) -> None:
    """Check that images have different ids in the file of `--submission`.

    The id of an image is its file's name without folder and ending.

    Raises:
      UsageError: two images have the same id.
    """
    name_by_id: dict[str, str] = {}
    for name in image_names:
        image_id = _image_id(name)
        if image_id in name_by_id:
            raise UsageError(
                f"--submission: {name_by_id[image_id]} and {name} have the same id, {image_id}; "
                "rename one, or give it once"
            )
        name_by_id[image_id] = name


def write_answer_files(
    options: Namespace,
    classifier: "Classifier | Ensemble",
    photos: "Photos",
    predictions: "Predictions",
) -> None:
    """Write the files of `--csv`, `--submission` and `--features`, as far as options name them.

    Args:
      options: the options of the command.
      classifier: the network, or the ensemble of networks, that predicted.
      photos: the images.
      predictions: the predictions of the same images.

    Raises:
      UsageError: the network has no features.
      RunError: a file can't be written.
    """
    # Computed before any file is written, because not every network has features.
    features = _features_of(photos, classifier) if options.features else None
    if options.csv:
        lines = _csv_lines(photos.names, classifier.class_names, predictions, options.all_classes)
        _write_csv("--csv", options.csv, lines)
    if options.submission:
        image_ids = [_image_id(name) for name in photos.names]
        label_by_id = dict(zip(image_ids, predictions.labels, strict=True))
        sorted_ids = sorted(image_ids, key=_id_sort_key)
        answers = [(image_id, label_by_id[image_id]) for image_id in sorted_ids]
        _write_csv("--submission", options.submission, [("id", "label"), *answers])
    if features is not None:
        with (
            explain_write_errors(f"--features {options.features}"),
            atomic_write(options.features) as file,
        ):
            np.savez(file, features=features, files=np.asarray(photos.names, np.str_))


def _features_of(photos: "Photos", classifier: "Classifier | Ensemble") -> np.ndarray:
    """Return the features of images, `[N, D]`: the input of the network's last dense layer.

    Raises:
      UsageError: the network has no features.
    """
    from jaxcifar.trained.classifier import Classifier

    assert isinstance(classifier, Classifier)  # `check_answer_files` has refused an ensemble
    return classifier.features(photos.pixels)


def _csv_lines(
    names: Sequence[str],
    class_names: Sequence[str],
    predictions: "Predictions",
    with_all_classes: bool,
) -> Iterable[Sequence[Any]]:
    """Yield the lines of the file of `--csv`: the headings, and a line for each image.

    Args:
      names: names of the images.
      class_names: names of the classes.
      predictions: the predictions of the same images.
      with_all_classes: add a column with the probability of each class.
    """
    headings = ["file", "label", "probability"]
    yield [*headings, *class_names] if with_all_classes else headings
    for name, label, class_probabilities in zip(
        names, predictions.labels, predictions.probabilities, strict=True
    ):
        shown_probabilities = [class_probabilities.max()]
        if with_all_classes:
            shown_probabilities += list(class_probabilities)
        yield [name, label, *(f"{probability:.7g}" for probability in shown_probabilities)]


def _write_csv(option: str, path: Path, lines: Iterable[Sequence[Any]]) -> None:
    """Write lines of cells to the CSV file of an option.

    Raises:
      RunError: the file can't be written.
    """
    with explain_write_errors(f"{option} {path}"), atomic_write(path) as file:
        # A file name that is not UTF-8 is written with the same bytes as on the disk.
        text_file = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        csv.writer(text_file, lineterminator="\n").writerows(lines)
        text_file.detach()


def _image_id(image_name: str) -> str:
    """Return the id of an image in a submission: the file's name without folder and ending."""
    return Path(image_name).stem


class _IdSortKey(NamedTuple):
    """A key that sorts numbers before other texts, and numbers in numeric order."""

    is_text: bool
    number: int
    text: str


def _id_sort_key(image_id: str) -> _IdSortKey:
    """Return a key that sorts ids: first numbers in numeric order, then other texts."""
    is_decimal = image_id.isascii() and image_id.isdecimal()
    if is_decimal and len(image_id) <= _MAX_ID_DIGITS:
        return _IdSortKey(is_text=False, number=int(image_id), text=image_id)
    return _IdSortKey(is_text=True, number=0, text=image_id)
