"""The files that `jaxcifar predict` writes: tables of its answers, and features of images."""

import csv
import io
from argparse import ArgumentTypeError, Namespace
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from jaxcifar.commands.shared.common_options import location
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

_OPTIONS = ("csv", "submission", "features")


def npz_file(text: str) -> Path:
    """Parse an option's value as the path of an `.npz` file."""
    path = location(text)
    if path.suffix != ".npz":
        raise ArgumentTypeError(f"{text}: must be a file that ends in .npz")
    return path


def add_answer_files(parser: OptionHolder) -> None:
    """Add the options for the files of predictions (`--csv`, `--submission`) and features."""
    parser.add_argument(
        "--csv",
        type=location,
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
        type=location,
        metavar="FILE",
        help="write Kaggle's table to FILE: id (the file's name without its ending), label "
        "(default: no file)",
    )
    parser.add_argument(
        "--features",
        type=npz_file,
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
    """Check the options of `add_answer_files` before anything is computed.

    Args:
      options: the options of the command.
      runs: the runs whose networks predict.

    Raises:
      UsageError: a file exists already, its folder is missing, or options do not go together.
    """
    values = {name: getattr(options, name) for name in _OPTIONS}
    files = {name: path for name, path in values.items() if path}
    for name, path in files.items():
        require_folder_of(f"--{name}", path)
        if path.is_dir():
            raise UsageError(f"--{name} {path}: is a folder; give the name of a file")
        if not options.overwrite and (path.exists() or path.is_symlink()):
            raise UsageError(
                f"--{name} {path}: exists already; choose another name, or use --overwrite"
            )
    if len({path.resolve() for path in files.values()}) < len(files):
        names = ", ".join(f"--{name}" for name in files)
        raise UsageError(f"{names} would write the same file; give each option another file")
    if options.all_classes and not options.csv:
        raise UsageError("--all-classes: adds columns to the file of --csv; give --csv FILE too")
    if options.features and len(runs) > 1:
        raise UsageError(f"--features: {len(runs)} runs have no features in common; give one --run")


def check_ids(submission: Path | None, names: Sequence[str]) -> None:
    """Check that all images have different ids if a submission (as for Kaggle) is to be written.

    Args:
      submission: the file of `--submission`; None if the option was not given.
      names: names of the images. An id is a name without folder and ending.

    Raises:
      UsageError: two images have the same id.
    """
    first_by_id: dict[str, str] = {}
    for name in names if submission else ():
        image_id = _id(name)
        if image_id in first_by_id:
            raise UsageError(
                f"--submission: {first_by_id[image_id]} and {name} have the same id, {image_id}; "
                "rename one, or give it once"
            )
        first_by_id[image_id] = name


def write_answer_files(
    options: Namespace,
    classifier: "Classifier | Ensemble",
    photos: "Photos",
    predictions: "Predictions",
) -> None:
    """Write the files that the options name.

    Args:
      options: the options of the command.
      classifier: the network, or the ensemble of networks, that predicted.
      photos: the images.
      predictions: the predictions of the same images.

    Raises:
      UsageError: the network has no features.
      RunError: a file can't be written.
    """
    class_names = classifier.class_names
    features = None
    if options.features:  # before any file is written, because not every network has features
        from jaxcifar.trained.classifier import Classifier

        assert isinstance(classifier, Classifier)  # `check_answer_files` has refused an ensemble
        features = classifier.features(photos.pixels)
    if options.csv:
        rows = _table(photos.names, class_names, predictions, options.all_classes)
        _write_csv("csv", options.csv, rows)
    if options.submission:
        answers = zip(map(_id, photos.names), predictions.labels, strict=True)
        ordered = sorted(answers, key=lambda answer: _id_order(answer[0]))
        _write_csv("submission", options.submission, [("id", "label"), *ordered])
    if features is not None:
        with (
            explain_write_errors(f"--features {options.features}"),
            atomic_write(options.features) as file,
        ):
            np.savez(file, features=features, files=np.asarray(photos.names, np.str_))


def _table(
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
    labels, probabilities = predictions.labels, predictions.probabilities
    for name, label, of_classes in zip(names, labels, probabilities, strict=True):
        shown = [of_classes.max()]
        if with_all_classes:
            shown += list(of_classes)
        yield [name, label, *(f"{probability:.7g}" for probability in shown)]


def _write_csv(option: str, path: Path, rows: Iterable[Sequence[Any]]) -> None:
    """Write rows to the CSV file of `--option`.

    Raises:
      RunError: the file can't be written.
    """
    with explain_write_errors(f"--{option} {path}"), atomic_write(path) as file:
        # A file name that is not UTF-8 is written with the same bytes as on the disk.
        text = io.TextIOWrapper(file, "utf-8", errors="surrogateescape", newline="")
        csv.writer(text, lineterminator="\n").writerows(rows)
        text.detach()


def _id(name: str) -> str:
    """Return the id of an image in a submission: the file's name without folder and ending."""
    return Path(name).stem


def _id_order(image_id: str) -> tuple[bool, int, str]:
    """Return a key that sorts ids: first numbers in numeric order, then other texts."""
    is_number = image_id.isascii() and image_id.isdecimal() and len(image_id) <= 18
    return (not is_number, int(image_id) if is_number else 0, image_id)
