"""Choose wrongly classified images that a run stores, for pictures and for the report."""

from typing import NamedTuple

import numpy as np

from jaxcifar.data import Examples
from jaxcifar.data.images import shrink_to_stored_size
from jaxcifar.image_size import IMAGE_SIZE, LARGEST_STORED_SIZE

MAX_MISTAKES = 20
MAX_IMAGES_PER_CELL = 4  # of each cell of the confusion matrix
MAX_CONFUSION_IMAGES = 400  # of all cells, at 32x32 pixels: 1.2 MB before compression
WrongAnswers = dict[str, np.ndarray]  # `index`, `label`, `predicted`, `confidence`, `image`


class Mistakes(NamedTuple):
    """Wrongly classified test images that a run stores, chosen in two ways.

    Attributes:
      most_confident: the wrong predictions with the highest probability (`mistakes.npz`).
      by_cell: wrong predictions for each pair of true and predicted class (`confusions.npz`).
    """

    most_confident: WrongAnswers
    by_cell: WrongAnswers


def choose_mistakes(logits: np.ndarray, examples: Examples) -> Mistakes:
    """Return the wrongly classified images that a run stores for pictures and the report.

    Args:
      logits: logits of the examples, `[N, K]`.
      examples: N images and their labels, on the host.
    """
    return Mistakes(confident_mistakes(logits, examples), mistakes_by_cell(logits, examples))


def confident_mistakes(logits: np.ndarray, examples: Examples) -> WrongAnswers:
    """Return the wrong predictions with the highest probability, the highest first.

    Args:
      logits: logits of the examples, `[N, K]`.
      examples: N images and their labels, on the host.

    Returns:
      arrays by name, with an element for each of up to `MAX_MISTAKES` images. `index`, `label` and
      `predicted` are int32. `confidence` is the probability of the prediction, float32. `image` is
      `[H, W, 3] uint8`; large images become thumbnails.
    """
    predicted, confidence = _predictions(logits)
    wrong_indices = np.flatnonzero(predicted != examples.labels)
    most_confident_first = np.argsort(-confidence[wrong_indices], kind="stable")
    indices = wrong_indices[most_confident_first][:MAX_MISTAKES]
    return _wrong_answers(indices, predicted, confidence, examples)


def mistakes_by_cell(logits: np.ndarray, examples: Examples) -> WrongAnswers:
    """Return wrong predictions of each cell of the confusion matrix, the fullest cell first.

    A cell is a pair of true and predicted class. From each cell, up to `MAX_IMAGES_PER_CELL`
    predictions with the highest probability are returned. At most `MAX_CONFUSION_IMAGES` images are
    returned in total; if there are more, the last cells are left out. This limit is lower for
    images larger than 32x32, so that the file stays small.

    Args:
      logits: logits of the examples, `[N, K]`.
      examples: N images and their labels, on the host.

    Returns:
      the same arrays as `confident_mistakes`.
    """
    predicted, confidence = _predictions(logits)
    wrong_indices = np.flatnonzero(predicted != examples.labels)
    class_count = logits.shape[-1]
    true_labels = examples.labels[wrong_indices].astype(np.int64)
    cell_numbers = true_labels * class_count + predicted[wrong_indices]
    cells, image_counts = np.unique(cell_numbers, return_counts=True)
    max_images = _max_confusion_images(image_size=examples.images.shape[1])
    chosen_indices: list[int] = []
    fullest_first = np.argsort(-image_counts, kind="stable")
    for cell in cells[fullest_first]:
        indices_in_cell = wrong_indices[cell_numbers == cell]
        most_confident_first = np.argsort(-confidence[indices_in_cell], kind="stable")
        most_confident_indices = indices_in_cell[most_confident_first][:MAX_IMAGES_PER_CELL]
        chosen_indices += most_confident_indices.tolist()
        if len(chosen_indices) >= max_images:
            break
    indices = np.asarray(chosen_indices[:max_images], np.int64)
    return _wrong_answers(indices, predicted, confidence, examples)


def _max_confusion_images(image_size: int) -> int:
    """Return how many images of this height a run stores, so that the file stays small."""
    stored_size = min(image_size, LARGEST_STORED_SIZE)
    images_of_same_bytes = MAX_CONFUSION_IMAGES * IMAGE_SIZE**2 // stored_size**2
    return min(MAX_CONFUSION_IMAGES, images_of_same_bytes)


def _predictions(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted class of each image `[N]`, and the probability of that class `[N]`."""
    relative_to_highest = np.exp(logits - logits.max(-1, keepdims=True))
    highest_probability = 1 / relative_to_highest.sum(-1)
    return logits.argmax(-1), highest_probability


def _wrong_answers(
    indices: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, examples: Examples
) -> WrongAnswers:
    return {
        "index": indices.astype(np.int32),
        "label": examples.labels[indices].astype(np.int32),
        "predicted": predicted[indices].astype(np.int32),
        "confidence": confidence[indices].astype(np.float32),
        "image": shrink_to_stored_size(examples.images[indices]),
    }
