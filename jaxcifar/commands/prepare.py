"""Prepare a data set once: `jaxcifar prepare [--dataset NAME] [--archive PATH]`."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from rich.console import Console

from jaxcifar.commands.shared.common_options import add_data_dir, parse_path
from jaxcifar.commands.shared.options import add_config_options, pop_image_size
from jaxcifar.commands.shared.parser import Parser, suggest
from jaxcifar.config.image_settings import reason_image_size_ineffective
from jaxcifar.config.option_names import reject
from jaxcifar.config.registry import KINDS
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.terminal import line_printer, report_elapsed_time

if TYPE_CHECKING:
    from jaxcifar.data.binary_records import Records
    from jaxcifar.data.dataset import Dataset
    from jaxcifar.data.manifest import Manifest

HELP_EXAMPLES = (
    ("", "download CIFAR-10"),
    ("--archive cifar-10-python.tar.gz", "prepare CIFAR-10 from an archive"),
    ("--dataset path/to/images", "prepare your own images, in folders by class"),
)
_NO_VALIDATION_IMAGES = 0.0  # as a fraction of the training images


def parser() -> Parser:
    """Return the parser of the options of `jaxcifar prepare`."""
    parser = Parser(
        "prepare", "Prepare a data set once, by download or from an archive.", HELP_EXAMPLES
    )
    dataset_option = parser.add_argument(
        "--dataset",
        metavar="NAME",
        default="cifar10",
        help="cifar10, cifar100, shapes10, or the path of your own images: a folder by class, a "
        "table of labels (FILE.csv, :LABELS or :FILES:LABELS after it names columns), an .npz "
        "file, or parquet files (default: cifar10)",
    )
    suggest(dataset_option, KINDS["dataset"])
    parser.add_argument(
        "--archive",
        type=parse_path,
        metavar="PATH",
        help="archive of CIFAR-10 or CIFAR-100, binary or python version, packed or unpacked, or "
        "the folder of Hugging Face's parquet files (default: download)",
    )
    add_config_options(parser, only=("image_size",))
    add_data_dir(parser)
    return parser


def main(argv: Sequence[str]) -> None:
    """Download a data set, or read it from an archive or folder, and store it for training."""
    options = parser().parse_args(argv)
    image_size = pop_image_size(options)

    from jaxcifar.data import CATALOG, dataset_title
    from jaxcifar.data.prepare import default_data_dir, load_records
    from jaxcifar.data.user_data import load_user_data

    data_dir = options.data_dir or default_data_dir()
    console = Console()
    print_line = line_printer(console)
    title = dataset_title(options.dataset)
    known_dataset = CATALOG.get(options.dataset)  # None for the user's own images
    comes_in_archive = known_dataset is not None and known_dataset.archive_layout is not None
    if options.archive and not comes_in_archive:
        raise UsageError(f"--archive: {title} is not read from an archive; leave out --archive")
    if known_dataset is not None and image_size != IMAGE_SIZE:
        reject("image_size", image_size, reason_image_size_ineffective(options.dataset))

    with report_elapsed_time(console, print_line, f"preparing {title}") as print_progress:
        if known_dataset is None:
            records, manifest = load_user_data(
                options.dataset, data_dir, print_progress, image_size
            )
            remark = f"{len(manifest.class_names):,} classes"
            for warning in _warnings_about_images(records, manifest, title):
                print_progress(warning)
        else:
            records = load_records(known_dataset, data_dir, options.archive, print_progress)
            remark = known_dataset.verification_text
    split_sizes = ", ".join(f"{len(images):,} {split}" for split, images in records.items())
    print_line(f"{title} is ready in {data_dir}: {split_sizes} images, {remark}.")


def _warnings_about_images(
    records: "Mapping[str, Records]", manifest: "Manifest", title: str
) -> tuple[str, ...]:
    """Return the warnings about the user's images that `jaxcifar run` would print by default.

    That command sets some training images aside for validation. If there are too few for that, the
    warnings are about all of them.

    Args:
      records: packed images and labels of each split, by the split's name.
      manifest: description of the prepared images.
      title: name of the images in the warnings.
    """
    from jaxcifar.data.dataset import DEFAULT_VAL_FRACTION

    dataset = _dataset_if_enough_images(records, manifest, title, DEFAULT_VAL_FRACTION)
    if dataset is None:
        dataset = _dataset_if_enough_images(records, manifest, title, _NO_VALIDATION_IMAGES)
    return () if dataset is None else dataset.warnings


def _dataset_if_enough_images(
    records: "Mapping[str, Records]", manifest: "Manifest", title: str, val_fraction: float
) -> "Dataset | None":
    """Return the data set made from packed images; None if a part of it would have no images.

    `val_fraction` is the fraction of the training images that becomes validation images.
    """
    from jaxcifar.data.dataset import Dataset

    try:
        return Dataset.from_records(
            records,
            manifest.fingerprints,
            val_fraction,
            train_examples=None,
            name=title,
            title=title,
            class_names=manifest.class_names,
        )
    except UsageError:
        return None
