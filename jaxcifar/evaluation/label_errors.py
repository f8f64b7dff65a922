"""Find images whose labels are probably wrong, by the predictions of a trained network."""

from collections.abc import Mapping, Sequence

import numpy as np

from jaxcifar.array_types import Float, Shaped
from jaxcifar.data import Examples
from jaxcifar.evaluation.calibration import log_probabilities
from jaxcifar.runs.evaluation_file import LabelError, Mistake
from jaxcifar.runs.mistakes import MAX_MISTAKES

Columns = dict[str, Shaped[np.ndarray, "listed ..."]]


def likely_label_errors(logits: Float[np.ndarray, "images classes"], examples: Examples) -> Columns:
    """Return the images whose labels are probably wrong, the most suspicious image first.

    These are the wrongly classified images whose label has the lowest predicted probability.
    Northcutt et al., "Confident learning: estimating uncertainty in dataset labels", 2021, in its
    simplest form.

    Args:
      logits: the network's logits.
      examples: the images and their labels, on the host.

    Returns:
      arrays by name, with an element for each of up to `MAX_MISTAKES` images. `index`, `label` and
      `predicted` are int32. `confidence` is the probability of the predicted class, and
      `label_probability` the probability of the label, both float32. `image` has the images.
    """
    class_logs = log_probabilities(logits)
    predicted, labels = logits.argmax(-1), examples.labels
    label_logs = np.take_along_axis(class_logs, labels[:, None].astype(np.int64), -1)[:, 0]
    wrong = np.flatnonzero(predicted != labels)
    least_probable_first = np.argsort(label_logs[wrong], kind="stable")
    index = wrong[least_probable_first][:MAX_MISTAKES]
    predicted_logs = class_logs[index, predicted[index]]
    return {
        "index": index.astype(np.int32),
        "label": labels[index].astype(np.int32),
        "predicted": predicted[index].astype(np.int32),
        "confidence": np.exp(predicted_logs).astype(np.float32),
        "label_probability": np.exp(label_logs[index]).astype(np.float32),
        "image": examples.images[index],
    }


def mistake_list(
    arrays: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[Mistake]:
    """Return wrong predictions as a list of dicts, as `evaluation.json` contains them.

    Args:
      arrays: `index`, `label`, `predicted` and `confidence` of the wrong predictions, by name.
      class_names: names of the classes, by label.
    """
    mistakes: list[Mistake] = []
    for number, index in enumerate(arrays["index"]):
        mistakes.append(
            {
                "index": int(index),
                "label": class_names[arrays["label"][number]],
                "predicted": class_names[arrays["predicted"][number]],
                "confidence": min(1.0, float(arrays["confidence"][number])),
            }
        )
    return mistakes


def label_error_list(
    arrays: Mapping[str, Shaped[np.ndarray, "listed ..."]], class_names: Sequence[str]
) -> list[LabelError]:
    """Return probable label errors as a list of dicts, as `evaluation.json` contains them.

    Args:
      arrays: the arrays that `likely_label_errors` returns.
      class_names: names of the classes, by label.
    """
    label_errors: list[LabelError] = []
    for number, mistake in enumerate(mistake_list(arrays, class_names)):
        probability = min(1.0, float(arrays["label_probability"][number]))
        label_errors.append({**mistake, "label_probability": probability})
    return label_errors
