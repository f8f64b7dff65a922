"""Options that several commands have, and the types of option values."""

import errno
import os
from argparse import ArgumentTypeError, Namespace
from pathlib import Path

from jaxcifar.commands.shared.parser import OptionHolder
from jaxcifar.config.option_names import reject
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command

_PICTURE_SUFFIXES = (".png", ".svg", ".pdf")
_COUNT_LIMIT = 2**31  # counts are below
_NUMBER_LIMIT = 2**32  # numbers from zero, such as seeds, are below
_MAX_DIGITS = 10  # of both; a longer text is not converted to a number


def parse_count(text: str) -> int:
    """Parse an option's value as a whole number, at least 1 and below 2**31."""
    is_short_number = text.isdecimal() and len(text) <= _MAX_DIGITS
    if not is_short_number or not 1 <= int(text) < _COUNT_LIMIT:
        raise ArgumentTypeError(f"{text}: must be at least 1, below 2**31")
    return int(text)


def parse_number_from_zero(text: str) -> int:
    """Parse an option's value as a whole number, at least 0 and below 2**32, such as a seed."""
    is_short_number = text.isdecimal() and len(text) <= _MAX_DIGITS
    if not is_short_number or int(text) >= _NUMBER_LIMIT:
        raise ArgumentTypeError(f"{text:.20}: must be at least 0, below 2**32")
    return int(text)


def parse_path(text: str) -> Path:
    """Parse an option's value as the path of a file or folder, which need not exist."""
    try:
        os.lstat(text)
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise ArgumentTypeError(f"{text}: is too long; choose a shorter name") from None
    return Path(text)


def parse_picture_path(text: str) -> Path:
    """Parse an option's value as the path of a picture to write, in a folder that exists."""
    path = parse_path(text)
    if path.suffix not in _PICTURE_SUFFIXES or path.is_dir():
        suffixes = ", ".join(_PICTURE_SUFFIXES)
        raise ArgumentTypeError(f"{text}: must be a file that ends in {suffixes}")
    if not path.parent.is_dir():
        raise ArgumentTypeError(f"{text}: there is no folder {path.parent}; make it first")
    return path


def add_picture_option(parser: OptionHolder, option: str, content: str) -> None:
    """Add an option such as `--plot` for the file of a picture; `content` says what is drawn."""
    parser.add_argument(
        option,
        type=parse_picture_path,
        metavar="FILE",
        help=f"draw {content} into FILE ({', '.join(_PICTURE_SUFFIXES)}; default: no picture)",
    )


def add_json_file(parser: OptionHolder) -> None:
    parser.add_argument(
        "--json",
        type=parse_path,
        metavar="FILE",
        help="write all figures to FILE (default: no file)",
    )


def add_data_dir(parser: OptionHolder) -> None:
    """Add `--data-dir`, the folder of data sets; the default is that of TensorFlow Datasets."""
    parser.add_argument(
        "--data-dir",
        type=parse_path,
        metavar="DIR",
        help="folder of prepared data sets (default: $TFDS_DATA_DIR, or ~/tensorflow_datasets)",
    )


def data_folder(data_dir: Path | None, dataset: str = "NAME") -> Path:
    """Return the folder of data sets: the value of `--data-dir`, or the default.

    Args:
      data_dir: the value of `--data-dir`; None if the option was not given.
      dataset: name of the data set to load, which the advice of an error message repeats. The
        default, "NAME", stands for any data set.

    Raises:
      UsageError: there is no such folder.
    """
    if data_dir is None:
        from jaxcifar.data.prepare import default_data_dir  # imports NumPy; too slow for --help

        return default_data_dir()
    if not data_dir.is_dir():
        is_default_dataset = dataset == "cifar10"
        dataset_option = "" if is_default_dataset else f"--dataset {dataset} "
        raise UsageError(
            f"--data-dir {data_dir}: there is no such folder; make it, or prepare the data set "
            f"there: {shell_command('prepare')} {dataset_option}--data-dir {data_dir}"
        )
    return data_dir


def add_run_dir(parser: OptionHolder, default: str | None = None) -> None:
    """Add `--overwrite` and `--run-dir`, the folder of the run.

    `default` describes the default folder for the help; if it is None, `--run-dir` is required.
    """
    parser.add_argument(
        "--run-dir",
        type=parse_path,
        required=default is None,
        metavar="DIR",
        help="folder of the run" + (f" (default: {default})" if default else ""),
    )
    parser.add_argument(
        "--overwrite", action="store_true", help="delete an earlier run in the folder"
    )


def add_keep_options(parser: OptionHolder) -> None:
    """Add `--keep` and `--keep-every`, which choose the checkpoints that are kept."""
    parser.add_argument(
        "--keep",
        choices=("all", "best"),
        default="all",
        help="files of a finished run to keep: all, or the best weights without the checkpoints "
        "(default: all)",
    )
    parser.add_argument(
        "--keep-every",
        type=parse_count,
        metavar="N",
        help="also keep the checkpoint of every N-th epoch (default: only the newest two and the "
        "best are kept)",
    )


def check_keep_options(options: Namespace) -> None:
    """Check that `--keep` and `--keep-every` go together.

    Raises:
      UsageError: the checkpoints of `--keep-every` would be deleted.
    """
    if options.keep == "best" and options.keep_every is not None:
        reject("keep_every", options.keep_every, "has no effect with --keep best; remove it")


def add_device_count(parser: OptionHolder) -> None:
    parser.add_argument(
        "--devices",
        type=parse_count,
        metavar="N",
        help="number of devices to train on (default: all)",
    )


def add_user_metrics(parser: OptionHolder) -> None:
    parser.add_argument(
        "--metric",
        action="append",
        default=[],
        metavar="FILE.py:NAME",
        help="measure this too: a Metric, or a function of logits and labels or of the confusion "
        "matrix; may be given several times (default: none)",
    )
