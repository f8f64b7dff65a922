"""Several trained networks that classify images together."""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Self

import numpy as np

from jaxcifar.errors import UsageError
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.photos import Photos
from jaxcifar.trained.pixels import as_photos
from jaxcifar.trained.predictions import Predictions

_NAMES_IN_MESSAGE = 3  # of classes


@dataclasses.dataclass(frozen=True)
class Ensemble:
    """Several classifiers that predict together: their probabilities are averaged.

    Attributes:
      members: classifiers with the same classes.
      class_names: names of the classes, by label.
    """

    members: tuple[Classifier, ...]
    class_names: tuple[str, ...]

    @property
    def image_size(self) -> int:
        """The height and width of the images that a member takes, the largest of all members."""
        return max(self.image_sizes)

    @property
    def image_sizes(self) -> set[int]:
        """The heights and widths of the images that the members take."""
        return {member.image_size for member in self.members}

    @classmethod
    def from_members(cls, members: Sequence[Classifier]) -> Self:
        """Return an ensemble of one or more classifiers.

        Raises:
          UsageError: the classifiers have different classes.
        """
        class_names = members[0].class_names
        for member in members:
            if member.class_names != class_names:
                first_names = ", ".join(class_names[:_NAMES_IN_MESSAGE])
                other_names = ", ".join(member.class_names[:_NAMES_IN_MESSAGE])
                raise UsageError(
                    f"the runs have different classes: {first_names}... and {other_names}...; give "
                    "runs on one data set"
                )
        return cls(tuple(members), class_names)

    @with_package_settings()
    def predict(self, images: Any) -> Predictions:
        """Classify images (arrays, files or folders) by the mean of the members' probabilities.

        Raises:
          UsageError: an image can't be read.
          RunError: a logit is not finite.
        """
        if isinstance(images, Iterator):  # it may be read twice
            images = list(images)
        return self.predict_photos({size: as_photos(images, size) for size in self.image_sizes})

    def predict_photos(self, photos_of_size: Mapping[int, Photos]) -> Predictions:
        """Classify images that were resized from their files to the size of each member.

        Args:
          photos_of_size: the images in each of `image_sizes`, by size.

        Raises:
          RunError: a logit is not finite.
        """
        probabilities = []
        for member in self.members:
            pixels = photos_of_size[member.image_size].pixels
            probabilities.append(member.predict(pixels).probabilities)
        names = photos_of_size[self.image_size].names
        mean_probabilities = np.mean(probabilities, axis=0)
        return Predictions.from_probabilities(mean_probabilities, self.class_names, names)

    def features(self, images: Any) -> np.ndarray:
        """Raise an error: only the members of an ensemble have features.

        Raises:
          UsageError: always.
        """
        raise UsageError(
            f"these are {len(self.members)} runs, each with its own features; load one run, or use "
            "members[0].features(images)"
        )
