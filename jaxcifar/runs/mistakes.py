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
    """Wrongly classified test images of a run, chosen in two ways.

    Attributes:
      most_confident: content of `mistakes.npz`, from `confident_mistakes`.
      by_cell: content of `confusions.npz`, from `mistakes_by_cell`.
    """

    most_confident: WrongAnswers
    by_cell: WrongAnswers


def choose_mistakes(logits: np.ndarray, examples: Examples) -> Mistakes:
    """Return the wrongly classified images that a run stores.

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
      up to `MAX_MISTAKES` each of `index`, `label`, `predicted` (int32), `confidence` (float32, the
      probability of the prediction) and `image` (`[H, W, 3] uint8`, a thumbnail of a large image).
    """
    predicted, confidence = _predictions(logits)
    wrong = np.flatnonzero(predicted != examples.labels)
    index = wrong[np.argsort(-confidence[wrong], kind="stable")][:MAX_MISTAKES]
    return _wrong_answers(index, predicted, confidence, examples)


def mistakes_by_cell(logits: np.ndarray, examples: Examples) -> WrongAnswers:
    """Return wrong predictions of each cell of the confusion matrix, the fullest cell first.

    Of each cell, up to `MAX_CELL_IMAGES` predictions with the highest probability are chosen, the
    highest first. The last cells are left out if there are more than `MAX_CONFUSION_IMAGES`; of
    images larger than 32x32, fewer are kept, so that the file stays small.

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
    side = min(examples.images.shape[1], LARGEST_STORED_SIZE)
    most = min(MAX_CONFUSION_IMAGES, MAX_CONFUSION_IMAGES * IMAGE_SIZE**2 // side**2)
    chosen: list[int] = []
    for cell in cells[np.argsort(-counts, kind="stable")]:
        in_cell = wrong[cell_of_wrong == cell]
        chosen += in_cell[np.argsort(-confidence[in_cell], kind="stable")][
            :MAX_CELL_IMAGES
        ].tolist()
        if len(chosen) >= most:
            break
    index = np.asarray(chosen[:most], np.int64)
    return _wrong_answers(index, predicted, confidence, examples)


def _predictions(logits: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the predicted class of each example, and the probability of that class."""
    odds = np.exp(logits - logits.max(-1, keepdims=True))
    return logits.argmax(-1), 1 / odds.sum(-1)


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
