"""The likeliest label errors of a set of images, by a trained network."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Float, Shaped
from jaxcifar.data import Examples
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
    shifted = np.asarray(logits, np.float64) - logits.max(-1, keepdims=True)
    log_probabilities = shifted - np.log(np.exp(shifted).sum(-1, keepdims=True))
    predicted, labels = logits.argmax(-1), examples.labels
    of_label = np.take_along_axis(log_probabilities, labels[:, None].astype(np.int64), -1)[:, 0]
    wrong = np.flatnonzero(predicted != labels)
    index = wrong[np.argsort(of_label[wrong], kind="stable")][:MAX_MISTAKES]
    return {
        "index": index.astype(np.int32),
        "label": labels[index].astype(np.int32),
        "predicted": predicted[index].astype(np.int32),
        "confidence": np.exp(log_probabilities[index, predicted[index]]).astype(np.float32),
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
    arrays: Mapping[str, Shaped[np.ndarray, "listed ..."]],
    class_names: Sequence[str],
    files: Sequence[str] = (),
) -> list[LabelError]:
    """Return likely label errors as `evaluation.json` lists them.

    Args:
      arrays: the arrays from `likely_label_errors`.
      class_names: names of the classes, by label.
      files: the file of each listed image, or "" if it is not known; empty without files.
    """
    listed: list[LabelError] = []
    for number, mistake in enumerate(mistake_list(arrays, class_names)):
        probability = min(1.0, float(arrays["label_probability"][number]))
        listed.append({**mistake, "label_probability": probability})
        if files and files[number]:
            listed[-1]["file"] = files[number]
    return listed
