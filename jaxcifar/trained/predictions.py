"""The predictions of a trained network for some images."""

from collections.abc import Sequence
from typing import NamedTuple, Self

import numpy as np


class _ProbabilitiesAndLabels(NamedTuple):
    probabilities: np.ndarray
    labels: list[str]


class Predictions(_ProbabilitiesAndLabels):
    """A network's predictions for N images; it can be unpacked as (probabilities, labels).

    Attributes:
      probabilities: probability of each class for each image, `[N, classes] float32`.
      labels: name of the likeliest class of each image.
      names: path of each image's file; the number from 0 of an image without a file.
    """

    names: list[str]

    @classmethod
    def from_probabilities(
        cls,
        probabilities: np.ndarray,
        class_names: Sequence[str],
        names: Sequence[str] | None = None,
    ) -> Self:
        """Return the predictions with these probabilities: each image gets its likeliest class.

        Args:
          probabilities: the probability of each class for each image, `[N, classes]`.
          class_names: names of the classes, by label.
          names: names of the images; None to name them by their numbers from 0.
        """
        likeliest_classes = probabilities.argmax(-1)
        labels = [class_names[class_number] for class_number in likeliest_classes]
        predictions = cls(probabilities, labels)
        if names is None:
            names = [str(number) for number in range(len(probabilities))]
        predictions.names = list(names)
        return predictions
