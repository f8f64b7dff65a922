"""Store a few training images of a run, as they are and augmented, for the report."""

import jax
import numpy as np

from jaxcifar.build.setup import Setup
from jaxcifar.data.images import thumbnails
from jaxcifar.errors import first_line
from jaxcifar.machine import processes
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.image_files import write_arrays
from jaxcifar.training.augment import Augmentation
from jaxcifar.training.augmented_batch import augmented_pixels
from jaxcifar.training.mixing import LabelAugmentation
from jaxcifar.training.state import Hyperparameters

MAX_IMAGES = 8


def write_training_images(
    folder: RunFolder, setup: Setup, hyper: Hyperparameters, print_line: PrintLine
) -> None:
    """Write `training_images.npz`: up to `MAX_IMAGES` training images, and augmented versions.

    An existing file is kept, and only the first process writes. If the user's augmentation fails on
    so few images, a line is printed and nothing is written. `hyper` has the run's hyper-parameters
    as arrays on the host.

    Raises:
      OSError: the file can't be written.
    """
    if folder.training_images_file.exists() or not processes.is_first_process():
        return
    try:
        arrays = sample_images(
            setup.program.augmentation,
            hyper,
            setup.dataset.train.images,
            np.asarray(hyper.labels_or(setup.dataset.train.labels)),
        )
    except Exception as error:  # a user's augmentation may fail anywhere
        print_line(f"no picture of augmented training images ({first_line(error)})")
        return
    write_arrays(folder.training_images_file, arrays)


def sample_images(
    augmentation: Augmentation | LabelAugmentation,
    hyper: Hyperparameters,
    images: np.ndarray,
    labels: np.ndarray,
) -> dict[str, np.ndarray]:
    """Choose up to `MAX_IMAGES` training images; return them and augmented versions.

    Each image is augmented three times.

    Args:
      augmentation: the augmentation after shifts and flips.
      hyper: the run's hyper-parameters, on the host.
      images: all training images, `[N, H, W, 3] uint8`.
      labels: the labels that the run trains on.

    Returns:
      the content of `training_images.npz`. For each of up to `MAX_IMAGES` images, it has `index`
      and `label` (int32), `image` (`[H, W, 3] uint8`) and `augmented` (`[3, H, W, 3] uint8`). Large
      images become thumbnails.
    """
    index = choose_images(labels).astype(np.int32)
    stored, chosen_labels = images[index], labels[index].astype(np.int32)
    # The same program computes each version, so that it is compiled once.
    versions = [
        augmented_pixels(augmentation, hyper, stored, chosen_labels, index, np.int32(epoch))
        for epoch in range(3)
    ]
    augmented = np.stack([to_bytes(version) for version in versions], axis=1)
    return {
        "index": index,
        "label": chosen_labels,
        "image": thumbnails(stored),
        "augmented": thumbnails(augmented),
    }


def choose_images(labels: np.ndarray) -> np.ndarray:
    """Return the indices of up to `MAX_IMAGES` images: the first image of each class.

    If there are fewer classes than `MAX_IMAGES`, other images follow in the order of their indices.
    """
    _, first_of_class = np.unique(labels, return_index=True)
    all_indices = np.arange(len(labels))
    other_indices = np.setdiff1d(all_indices, first_of_class)
    return np.concatenate([first_of_class, other_indices])[:MAX_IMAGES]


def to_bytes(pixels: jax.Array) -> np.ndarray:
    """Return pixels in [0, 1] as whole numbers from 0 to 255; other values are clipped."""
    finite = np.nan_to_num(np.asarray(pixels, np.float32))
    return np.round(255 * np.clip(finite, 0, 1)).astype(np.uint8)
