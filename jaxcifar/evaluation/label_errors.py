"""The likeliest label errors of a set of images, by a trained network."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Float, Shaped
from jaxcifar.data import Examples
from jaxcifar.evaluation.calibration import log_probabilities
from jaxcifar.runs.evaluation_file import LabelError, Mistake
from jaxcifar.runs.mistakes import MAX_MISTAKES

Columns = dict[str, Shaped[np.ndarray, "listed ..."]]


def likely_label_errors(logits: Float[np.ndarray, "images classes"], examples: Examples) -> Columns:
    """Return the images whose label has the lowest probability, the lowest first.

    Only images that the network classifies as another class are returned. Northcutt et al.,
    "Confident learning: estimating uncertainty in dataset labels", 2021, in its simplest form.

    Args:
      logits: the network's logits.
      examples: the images and their labels, on the host.

    Returns:
      up to `MAX_MISTAKES` each of `index`, `label`, `predicted` (int32), `confidence` (float32, the
      probability of the prediction), `label_probability` (float32) and `image`.
    """
    of_class = log_probabilities(logits)
    predicted, labels = logits.argmax(-1), examples.labels
    of_label = np.take_along_axis(of_class, labels[:, None].astype(np.int64), -1)[:, 0]
    wrong = np.flatnonzero(predicted != labels)
    index = wrong[np.argsort(of_label[wrong], kind="stable")][:MAX_MISTAKES]
    return {
        "index": index.astype(np.int32),
        "label": labels[index].astype(np.int32),
        "predicted": predicted[index].astype(np.int32),
        "confidence": np.exp(of_class[index, predicted[index]]).astype(np.float32),
        "label_probability": np.exp(of_label[index]).astype(np.float32),
        "image": examples.images[index],
    }


def mistake_list(
    arrays: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[Mistake]:
    """Return mistakes as `evaluation.json` lists them."""
    columns = (arrays[name] for name in ("index", "label", "predicted", "confidence"))
    return [
        {
            "index": int(index),
            "label": class_names[label],
            "predicted": class_names[predicted],
            "confidence": min(1.0, float(confidence)),
        }
        for index, label, predicted, confidence in zip(*columns, strict=True)
    ]


def label_error_list(
    arrays: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[LabelError]:
    """Return the arrays from `likely_label_errors` as `evaluation.json` lists them."""
    listed: list[LabelError] = []
    for number, mistake in enumerate(mistake_list(arrays, class_names)):
        probability = min(1.0, float(arrays["label_probability"][number]))
        listed.append({**mistake, "label_probability": probability})
    return listed
