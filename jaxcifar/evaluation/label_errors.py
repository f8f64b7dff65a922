"""Find images whose labels are probably wrong, by the predictions of a trained network."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Float, Shaped
from jaxcifar.data import Examples
from jaxcifar.evaluation.calibration import log_probabilities
from jaxcifar.runs.evaluation_file import LabelError, Mistake
from jaxcifar.runs.mistakes import MAX_MISTAKES

MistakeColumns = dict[str, Shaped[np.ndarray, "listed ..."]]


def likely_label_errors(
    logits: Float[np.ndarray, "images classes"], examples: Examples
) -> MistakeColumns:
    """Return the images whose labels are probably wrong, the most suspicious image first.

    These are the wrongly classified images whose label has the lowest predicted probability. This
    is the simplest form of the method of Northcutt et al., "Confident learning: estimating
    uncertainty in dataset labels", 2021.

    Args:
      logits: the network's logits.
      examples: the images and their labels, on the host.

    Returns:
      arrays by name, with an element for each of up to `MAX_MISTAKES` images. `index`, `label` and
      `predicted` are int32. `confidence` is the probability of the predicted class, and
      `label_probability` the probability of the label, both float32. `image` has the images.
    """
    log_probs = log_probabilities(logits)
    predicted, labels = logits.argmax(-1), examples.labels
    log_probs_of_labels = log_probs[np.arange(len(labels)), labels]
    wrong_indices = np.flatnonzero(predicted != labels)
    least_probable_first = np.argsort(log_probs_of_labels[wrong_indices], kind="stable")
    indices = wrong_indices[least_probable_first][:MAX_MISTAKES]
    confidences = np.exp(log_probs[indices, predicted[indices]])
    label_probabilities = np.exp(log_probs_of_labels[indices])
    return {
        "index": indices.astype(np.int32),
        "label": labels[indices].astype(np.int32),
        "predicted": predicted[indices].astype(np.int32),
        "confidence": confidences.astype(np.float32),
        "label_probability": label_probabilities.astype(np.float32),
        "image": examples.images[indices],
    }


def mistake_list(
    columns: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[Mistake]:
    """Return wrong predictions as a list of dicts, as `evaluation.json` contains them.

    Args:
      columns: `index`, `label`, `predicted` and `confidence` of the wrong predictions, by name.
      class_names: names of the classes, by label.
    """
    mistakes: list[Mistake] = []
    for row, index in enumerate(columns["index"]):
        mistakes.append(
            {
                "index": int(index),
                "label": class_names[columns["label"][row]],
                "predicted": class_names[columns["predicted"][row]],
                "confidence": min(1.0, float(columns["confidence"][row])),
            }
        )
    return mistakes


def label_error_list(
    columns: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[LabelError]:
    """Return probable label errors as a list of dicts, as `evaluation.json` contains them.

    Args:
      columns: the arrays that `likely_label_errors` returns.
      class_names: names of the classes, by label.
    """
    label_errors: list[LabelError] = []
    for row, mistake in enumerate(mistake_list(columns, class_names)):
        probability = min(1.0, float(columns["label_probability"][row]))
        label_errors.append({**mistake, "label_probability": probability})
    return label_errors
