"""The sets of images that a trained network can be evaluated on."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.array_types import Int64, Integer
from jaxcifar.config import registry
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset, Examples, load_dataset
from jaxcifar.data.cifar10_1 import load_cifar10_1
from jaxcifar.data.labelled_arrays import LABELS_FILE, map_images, read_labels_beside
from jaxcifar.data.split import stratified_split
from jaxcifar.errors import UsageError
from jaxcifar.evaluation.class_numbers import convert_to_run_labels
from jaxcifar.evaluation.resized_images import resize_images
from jaxcifar.evaluation.user_images import read_user_images, title_of_user_images
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.paths import expand_home, last_two_names, parse_table_name
from jaxcifar.machine.terminal import PrintLine

TRAIN_SET = "train"
CORRUPTIONS_SET = "corruptions"
MISTAKES_SET = "slips"
TEST_SETS = ("test", CORRUPTIONS_SET, MISTAKES_SET)  # made from the run's test images
SETS_OF_RUN = (TRAIN_SET, "val", *TEST_SETS)  # made from the run's data set
USER_SET_PREFIX = "own:"  # begins the names of a user's sets in evaluation.json
SET_NAMES = ("val", "test", TRAIN_SET, "cifar10.1", CORRUPTIONS_SET, MISTAKES_SET)
_SET_CHOICES = (
    "val, test, train, cifar10.1 (or cifar10.1:FOLDER), corruptions, slips, a folder of images by "
    "class, a .csv with their labels, an .npz file, parquet files, or images in an .npy file with "
    "labels.npy beside it"
)
# The kinds of corruption of CIFAR-10-C; each is a file of images.
STANDARD_CORRUPTIONS = (
    "gaussian_noise", "shot_noise", "impulse_noise", "defocus_blur", "glass_blur", "motion_blur",
    "zoom_blur", "snow", "frost", "fog", "brightness", "contrast", "elastic_transform", "pixelate",
    "jpeg_compression",
)  # fmt: skip
EXTRA_CORRUPTIONS = ("speckle_noise", "gaussian_blur", "spatter", "saturate")  # not in the means
ALL_CORRUPTIONS = (*STANDARD_CORRUPTIONS, *EXTRA_CORRUPTIONS)


class ImageSet(NamedTuple):
    """A named set of labelled images on which networks are evaluated.

    Attributes:
      name: unique name in `evaluation.json`.
      title: name in tables and plots.
      examples: images and labels; labels are the class numbers of the run.
      indices: positions of a subset's images in the whole set; None for a whole set.
      path: path of the user's folder or file that the images are from; "" for other images.
      split: "test" or "val", the split of the folder or file; "" for images that are not in splits.
      place: absolute path of the user's images in `evaluation.json`; "" for other images.
    """

    name: str
    title: str
    examples: Examples
    indices: Int64[np.ndarray, "images"] | None = None
    path: str = ""
    split: str = ""
    place: str = ""

    def subset(self, max_images: int | None) -> "ImageSet":
        """Return a set of about `max_images` of the images, the same fraction of every class.

        Each call chooses the same images. If `max_images` is None, the whole set is returned.

        Raises:
          UsageError: the subset would be empty.
        """
        images, labels = self.examples
        if max_images is None or max_images >= len(labels):
            return self
        _, chosen_indices = stratified_split(labels, fraction=max_images / len(labels))
        if not len(chosen_indices):
            raise UsageError(
                f"--images {max_images}: too few to have an image of each class; give a larger "
                "number"
            )
        indices = np.sort(chosen_indices)
        return self._replace(examples=Examples(images[indices], labels[indices]), indices=indices)

    def indices_in_whole_set(
        self, indices: Integer[np.ndarray, "chosen"]
    ) -> Integer[np.ndarray, "chosen"]:
        """Convert indices of images in this set to their indices in the set it was taken from."""
        return indices if self.indices is None else self.indices[indices]


def load_run_dataset(
    config: Config, class_names: Sequence[str], data_dir: Path, print_line: PrintLine = print
) -> Dataset:
    """Load the data set of a finished run again, with the same validation and test images.

    Args:
      config: settings of the run.
      class_names: names of the run's classes, by label.
      data_dir: TFDS's folder.
      print_line: prints a line about each slow step.

    Raises:
      UsageError: the data set does not exist, or differs from the one used in the run.
      RunError: the images can't be read.
    """
    try:
        dataset = load_dataset(config, data_dir, print_line)
    except UsageError as error:
        raise UsageError(
            f"the run's training images were not found ({error}); evaluate --on a folder of images "
            "by class"
        ) from error
    has_checksum = config.data_sha256 is not None  # else images of the catalog, or an old run
    has_other_images = has_checksum and config.data_sha256 != dataset.sha256
    has_other_classes = dataset.class_names != tuple(class_names)
    if has_other_images or has_other_classes:
        raise UsageError(
            f"{config.dataset}: the images have changed since the run was trained on them; restore "
            "them, or evaluate --on a folder of images by class"
        )
    return dataset


def check_set_name(name: str) -> None:
    """Check that a set of images for evaluation (`--on`) has a valid name; nothing is loaded.

    Raises:
      UsageError: `name` is neither a known set nor an existing folder or file.
    """
    if name.partition(":")[0] in SET_NAMES:
        return
    table = parse_table_name(name)
    path = table.path if table else expand_home(name)
    if not path.exists():
        raise _unknown_set_error(name)


def is_corruption_set(name: str) -> bool:
    """Return True if `name` is a folder of corrupted images, which has a file `labels.npy`."""
    return (expand_home(name) / LABELS_FILE).is_file()


def uses_test_images(name: str) -> bool:
    """Return True if the set of images `name` consists of test images, plain or corrupted."""
    path = expand_home(name)
    is_corruption_file = path.stem in ALL_CORRUPTIONS and path.suffix == ".npy"
    return name in TEST_SETS or is_corruption_set(name) or is_corruption_file


def load_set(
    name: str,
    get_dataset: Callable[[], Dataset],
    class_names: Sequence[str],
    data_dir: Path,
    print_line: PrintLine = print,
    image_size: int = IMAGE_SIZE,
) -> ImageSet:
    """Load a set of images for evaluating a run.

    Args:
      name: a name that the option `--on` accepts.
      get_dataset: returns the run's data set; called only if `name` is in `SETS_OF_RUN`.
      class_names: names of the run's classes, by label; the set can't have others.
      data_dir: TFDS's folder.
      print_line: prints a line about files that are ignored, and images that are resized.
      image_size: height and width of the images that the run's network takes.

    Raises:
      UsageError: there is no such set, it has no images, or it has a class that the run lacks.
      RunError: the images can't be read.
    """
    set_name, _, folder_name = name.partition(":")
    if set_name == "cifar10.1":
        folder = Path(folder_name) if folder_name else None
        return _load_cifar10_1_set(folder, class_names, data_dir, print_line, image_size)
    if name in TEST_SETS:
        dataset = get_dataset()
        return ImageSet(name, f"{dataset.title}, test", dataset.test)
    if name == TRAIN_SET:
        dataset = get_dataset()
        return ImageSet(name, f"{dataset.title}, training", dataset.train)
    if name == "val":
        dataset = get_dataset()
        if not len(dataset.val.labels):
            raise UsageError("--on val: the run has no validation images; choose another set")
        return ImageSet(name, f"{dataset.title}, validation", dataset.val)
    return _load_user_images(name, class_names, print_line, image_size)


def _load_cifar10_1_set(
    folder: Path | None,
    class_names: Sequence[str],
    data_dir: Path,
    print_line: PrintLine,
    image_size: int,
) -> ImageSet:
    version, examples = load_cifar10_1(folder, data_dir)
    title = f"CIFAR-10.1 {version}"
    cifar10_classes = CATALOG["cifar10"].class_names
    labels = convert_to_run_labels(title, examples.labels, cifar10_classes, class_names)
    pixels = resize_images(title, examples.images, image_size, print_line)
    return ImageSet(f"cifar10.1-{version}", title, Examples(pixels, labels))


def _load_user_images(
    name: str, class_names: Sequence[str], print_line: PrintLine, image_size: int
) -> ImageSet:
    """Load the images in a user's folder or file `name`.

    If they are divided into splits, only the test images are loaded, or only the validation images
    if there are no test images.
    """
    path = expand_home(name)
    is_npy_file = path.suffix == ".npy" and path.is_file()
    if is_npy_file:
        return _load_npy(path, class_names, print_line, image_size)
    user_images = read_user_images(name, class_names, print_line, image_size)
    if user_images is None:
        raise _unknown_set_error(name)
    images, set_labels = user_images.examples
    labels = convert_to_run_labels(
        user_images.title, set_labels, user_images.class_names, class_names
    )
    return ImageSet(
        f"{USER_SET_PREFIX}{title_of_user_images(name)}",
        user_images.title,
        Examples(images, labels),
        path=name,
        split=user_images.split,
    )


def _load_npy(
    path: Path, class_names: Sequence[str], print_line: PrintLine, image_size: int
) -> ImageSet:
    """Load the images in an `.npy` file, and the labels in `labels.npy` in the same folder."""
    original_images = map_images(path)
    set_labels, set_classes = read_labels_beside(path, len(original_images), class_names)
    pixels = resize_images(str(path), original_images, image_size, print_line)
    title = last_two_names(path.with_suffix(""))
    labels = convert_to_run_labels(title, set_labels, set_classes, class_names)
    return ImageSet(f"{USER_SET_PREFIX}{title}", title, Examples(pixels, labels))


def _unknown_set_error(name: str) -> UsageError:
    suggestion = registry.did_you_mean(name, SET_NAMES)
    return UsageError(f"--on {name}: no such set; {suggestion}choose {_SET_CHOICES}")
