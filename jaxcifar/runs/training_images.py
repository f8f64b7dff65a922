"""Store a few training images of a run, as they are and augmented, for the report."""

import jax
import numpy as np

from jaxcifar.build.setup import Setup
from jaxcifar.data.images import shrink_to_stored_size
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
_AUGMENTED_VERSIONS = 3  # of each image


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
        arrays = choose_and_augment_images(
            setup.program.augmentation,
            hyper,
            setup.dataset.train.images,
            np.asarray(hyper.training_labels(setup.dataset.train.labels)),
        )
    except Exception as error:  # a user's augmentation may fail anywhere
        reason = first_line(error)
        print_line(f"no training images can be shown augmented ({reason}); the run goes on")
        return
    write_arrays(folder.training_images_file, arrays)


def choose_and_augment_images(
    augmentation: Augmentation | LabelAugmentation,
    hyper: Hyperparameters,
    images: np.ndarray,
    labels: np.ndarray,
) -> dict[str, np.ndarray]:
    """Choose up to `MAX_IMAGES` training images; return them and augmented versions.

    Each image is augmented three times.

    Args:
      augmentation: is applied after shifts and flips.
      hyper: the run's hyper-parameters, on the host.
      images: all training images, `[N, H, W, 3] uint8`.
      labels: the labels that the run trains on.

    Returns:
      the content of `training_images.npz`. For each of up to `MAX_IMAGES` images, it has `index`
      and `label` (int32), `image` (`[H, W, 3] uint8`) and `augmented` (`[3, H, W, 3] uint8`). Large
      images become thumbnails.
    """
    indices = choose_image_indices(labels).astype(np.int32)
    chosen_images, chosen_labels = images[indices], labels[indices].astype(np.int32)
    # The same program computes each version, so that it is compiled once.
    augmented_versions = [
        augmented_pixels(
            augmentation, hyper, chosen_images, chosen_labels, indices, np.int32(epoch)
        )
        for epoch in range(_AUGMENTED_VERSIONS)
    ]
    augmented = np.stack([pixels_to_uint8(version) for version in augmented_versions], axis=1)
    return {
        "index": indices,
        "label": chosen_labels,
        "image": shrink_to_stored_size(chosen_images),
        "augmented": shrink_to_stored_size(augmented),
    }


def choose_image_indices(labels: np.ndarray) -> np.ndarray:
    """Return the indices of up to `MAX_IMAGES` images: the first image of each class.

    If there are fewer classes than `MAX_IMAGES`, other images follow in the order of their indices.
    """
    _, first_index_of_each_class = np.unique(labels, return_index=True)
    all_indices = np.arange(len(labels))
    other_indices = np.setdiff1d(all_indices, first_index_of_each_class)
    return np.concatenate([first_index_of_each_class, other_indices])[:MAX_IMAGES]


def pixels_to_uint8(pixels: jax.Array) -> np.ndarray:
    """Return pixels in [0, 1] as whole numbers from 0 to 255; other values are clipped."""
    finite = np.nan_to_num(np.asarray(pixels, np.float32))
    return np.round(255 * np.clip(finite, 0, 1)).astype(np.uint8)
