"""The images that a trained network is evaluated on, by the name that an option gives them."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset, Examples, load_dataset
from jaxcifar.data import records as rec
from jaxcifar.data.cifar10_1 import load_cifar10_1
from jaxcifar.data.decode import read_parts
from jaxcifar.data.image_folder import ImageFolder
from jaxcifar.data.prepare import Say
from jaxcifar.data.split import stratified
from jaxcifar.data.user_data import own_title
from jaxcifar.data.user_npz import read_npz
from jaxcifar.errors import UsageError
from jaxcifar.machine.paths import expand_home

CORRUPTIONS = "corruptions"
SLIPS = "slips"
OF_TEST = ("test", CORRUPTIONS, SLIPS)  # who evaluates on these looks at the test images
_NAMES = ("val", "test", "cifar10.1", CORRUPTIONS, SLIPS)
_FORMS = (
    "val, test, cifar10.1 (or cifar10.1:FOLDER), corruptions, slips, or a folder of images by class"
)


class ImageSet(NamedTuple):
    """Images to evaluate on.

    Attributes:
      name: what `evaluation.json` calls it; no two of different images are the same.
      title: what tables and plots call it.
      places: where the images stand in the whole set, `[N]` integers; None if this is all of it.
    """

    name: str
    title: str
    examples: Examples
    places: np.ndarray | None = None

    def some(self, most: int | None) -> "ImageSet":
        """About so many of the images, always the same and the same share of every class."""
        images, labels = self.examples
        if most is None or most >= len(labels):
            return self
        _, chosen = stratified(labels, most / len(labels))
        if not len(chosen):
            raise UsageError(f"--images {most}: is less than an image of each class; give more")
        chosen = np.sort(chosen)
        return self._replace(examples=Examples(images[chosen], labels[chosen]), places=chosen)


def trained_on(
    config: Config, class_names: Sequence[str], data_dir: Path, say: Say = print
) -> Dataset:
    """The data set of a run, with its validation and test images.

    Raises:
      UsageError: it is not where it was, or has been changed since.
      RunError: it can't be read.
    """
    try:
        dataset = load_dataset(config, data_dir, say)
    except UsageError as error:
        raise UsageError(
            f"the images that the run was trained on are not at hand ({error}); evaluate --on a "
            "folder of images by class"
        ) from error
    changed = config.data_sha256 not in (None, dataset.sha256)
    if changed or dataset.class_names != tuple(class_names):
        raise UsageError(
            f"{config.dataset}: other images than those that the run was trained on; bring those "
            "back, or evaluate --on a folder of images by class"
        )
    return dataset


def require_known(name: str) -> None:
    """Refuse a name that no set can have, before anything takes long.

    Raises:
      UsageError: it is neither one of the sets' names nor a folder or file that exists.
    """
    if name.partition(":")[0] not in _NAMES and not expand_home(name).exists():
        raise _unknown(name)


def image_set(
    name: str,
    dataset: Callable[[], Dataset],
    class_names: Sequence[str],
    data_dir: Path,
    say: Say = print,
) -> ImageSet:
    """A set by its name.

    Args:
      name: as an option gives it: one of `_FORMS`.
      dataset: gives the run's own, if it is asked for.
      class_names: those of the run, which the set's must be among.
      data_dir: TFDS's folder.
      say: told what is left out.

    Raises:
      UsageError: there is no such set, it has no images, or other classes than the run.
      RunError: it can't be read.
    """
    word, _, folder = name.partition(":")
    if word == "cifar10.1":
        version, examples = load_cifar10_1(Path(folder) if folder else None, data_dir)
        title = f"CIFAR-10.1 {version}"
        labels = _relabelled(title, examples.labels, CATALOG["cifar10"].class_names, class_names)
        return ImageSet(f"cifar10.1-{version}", title, examples._replace(labels=labels))
    if name in OF_TEST:
        return ImageSet(name, f"{dataset().title}, test", dataset().test)
    if name == "val":
        if not len(dataset().val.labels):
            raise UsageError("--on val: the run kept no images for validation; choose another set")
        return ImageSet(name, f"{dataset().title}, validation", dataset().val)
    return _own(name, class_names, say)


def _own(name: str, class_names: Sequence[str], say: Say) -> ImageSet:
    """A folder's or file's test images; all of a folder that has no part of its own for tests."""
    path = expand_home(name)
    if path.is_dir():
        folder = ImageFolder.listed(path)
        parts, classes = read_parts(folder, say), folder.class_names
    elif path.suffix == ".npz" and path.is_file():
        parts, classes = read_npz(path.resolve(), say)
    else:
        raise _unknown(name)
    images, labels = rec.unpack(parts.get("test", parts["train"]))
    title = own_title(name)
    labels = _relabelled(title, labels, classes, class_names)
    return ImageSet(f"own:{title}", title, Examples(images, labels))


def _unknown(name: str) -> UsageError:
    hint = registry.did_you_mean(name, _NAMES)
    return UsageError(f"--on {name}: no such set; {hint}choose {_FORMS}")


def _relabelled(
    title: str, labels: np.ndarray, theirs: Sequence[str], ours: Sequence[str]
) -> np.ndarray:
    """Labels `[N]` numbered as the run numbers its classes."""
    if unknown := [name for name in theirs if name not in ours]:
        raise UsageError(
            f"{title}: has the class {unknown[0]!r}, which the run does not know; it knows "
            f"{', '.join(ours)}"
        )
    numbers = np.asarray([ours.index(name) for name in theirs], np.int32)
    return numbers[labels]
