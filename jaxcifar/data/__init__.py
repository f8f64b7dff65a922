"""Load data sets by name or path; every run gets the same split into training and validation."""

from pathlib import Path

from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.data import binary_records
from jaxcifar.data.catalog import CATALOG, KnownDataset
from jaxcifar.data.dataset import Dataset
from jaxcifar.data.examples import Examples
from jaxcifar.data.prepare import NotPreparedError, default_data_dir, load_records
from jaxcifar.data.user_data import load_user_data, user_data_name, user_data_title
from jaxcifar.errors import RunError
from jaxcifar.machine.terminal import PrintLine

__all__ = [
    "CATALOG",
    "Dataset",
    "Examples",
    "KnownDataset",
    "NotPreparedError",
    "choose_dataset",
    "dataset_title",
    "load_dataset",
]


def choose_dataset(data_dir: Path, print_line: PrintLine = print) -> str:
    """Return the data set to use for "auto": "cifar10" if it can be loaded, else "shapes10"."""
    try:
        load_records(CATALOG["cifar10"], data_dir, print_line=print_line)
    except RunError as error:
        print_line(f"CIFAR-10 can't be loaded: {error}")
        return "shapes10"
    return "cifar10"


def dataset_title(name: str) -> str:
    """Return the title of a data set for plots and reports, without reading its images.

    Args:
      name: name of a data set of the catalogue, or path of the user's images.

    Raises:
      UsageError: the name is not in the catalogue and is not a path.
    """
    title = registry.entry("dataset", name).title
    return title if name in CATALOG else user_data_title(name)


def load_dataset(
    config: Config,
    data_dir: str | Path | None = None,
    print_line: PrintLine = print,
    may_prepare: bool = True,
) -> Dataset:
    """Load the data set that `config` names, and prepare it first if necessary.

    Args:
      config: settings, of which `dataset`, `image_size`, `val_fraction`, `fold` and
        `train_examples` are used.
      data_dir: folder of TensorFlow Datasets (TFDS), or None for its default.
      print_line: prints a line about each slow step.
      may_prepare: False to only read images that were prepared before, and write nothing.

    Raises:
      NotPreparedError: the images would have to be prepared, but `may_prepare` is False.
      RunError: the images can't be downloaded, read or written to the cache.
      UsageError: there is no such data set, or a split would have no images.
    """
    title = dataset_title(config.dataset)
    data_dir = Path(data_dir or default_data_dir())
    if config.dataset in CATALOG:
        short_name = config.dataset
        known_dataset = CATALOG[config.dataset]
        records_of_split = load_records(
            known_dataset, data_dir, print_line=print_line, may_prepare=may_prepare
        )
        class_names = known_dataset.class_names
        fingerprints = known_dataset.fingerprints
        if fingerprints is None:
            fingerprints = binary_records.fingerprints_of(records_of_split)
    else:
        short_name = user_data_name(config.dataset)
        records_of_split, manifest = load_user_data(
            config.dataset, data_dir, print_line, config.image_size, may_prepare=may_prepare
        )
        class_names = manifest.class_names
        fingerprints = manifest.fingerprints
    return Dataset.from_records(
        records_of_split,
        fingerprints,
        config.val_fraction,
        config.train_examples,
        name=short_name,
        title=title,
        class_names=class_names,
        fold=config.fold,
    )
