"""Choose wrongly classified images that a run stores, for pictures and for the report."""

from typing import NamedTuple

import numpy as np

from jaxcifar.data import Examples
from jaxcifar.data.images import thumbnails
from jaxcifar.image_size import IMAGE_SIZE, LARGEST_STORED_SIZE

MAX_MISTAKES = 20
MAX_CELL_IMAGES = 4  # of each cell of the confusion matrix
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
    wrong = np.flatnonzero(predicted != examples.labels)
    most_confident_first = np.argsort(-confidence[wrong], kind="stable")
    index = wrong[most_confident_first][:MAX_MISTAKES]
    return _wrong_answers(index, predicted, confidence, examples)


def mistakes_by_cell(logits: np.ndarray, examples: Examples) -> WrongAnswers:
    """Return wrong predictions of each cell of the confusion matrix, the fullest cell first.

    A cell is a pair of true and predicted class. From each cell, up to `MAX_CELL_IMAGES`
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
    wrong = np.flatnonzero(predicted != examples.labels)
    classes = logits.shape[-1]
    cell_of_wrong = examples.labels[wrong].astype(np.int64) * classes + predicted[wrong]
    cells, counts = np.unique(cell_of_wrong, return_counts=True)
    stored_size = min(examples.images.shape[1], LARGEST_STORED_SIZE)
    limit_by_size = MAX_CONFUSION_IMAGES * IMAGE_SIZE**2 // stored_size**2
    max_images = min(MAX_CONFUSION_IMAGES, limit_by_size)
    chosen: list[int] = []
    fullest_first = np.argsort(-counts, kind="stable")
    for cell in cells[fullest_first]:
        in_cell = wrong[cell_of_wrong == cell]
        most_confident_first = np.argsort(-confidence[in_cell], kind="stable")
        chosen += in_cell[most_confident_first][:MAX_CELL_IMAGES].tolist()
        if len(chosen) >= max_images:
            break
    index = np.asarray(chosen[:max_images], np.int64)
    return _wrong_answers(index, predicted, confidence, examples)


def _predictions(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted class of each image `[N]`, and the probability of that class `[N]`."""
    relative_to_highest = np.exp(logits - logits.max(-1, keepdims=True))
    highest_probability = 1 / relative_to_highest.sum(-1)
    return logits.argmax(-1), highest_probability


def _wrong_answers(
    index: np.ndarray, predicted: np.ndarray, confidence: np.ndarray, examples: Examples
) -> WrongAnswers:
    return {
        "index": index.astype(np.int32),
        "label": examples.labels[index].astype(np.int32),
        "predicted": predicted[index].astype(np.int32),
        "confidence": confidence[index].astype(np.float32),
        "image": thumbnails(examples.images[index]),
    }
