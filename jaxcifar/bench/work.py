"""The work that all contestants of the benchmark do: one network to train and evaluate."""

import dataclasses
import math
from typing import Any, NamedTuple, Self

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples
from jaxcifar.image_size import image_shape

CLASSES = 10  # as in CIFAR-10

TRAIN, EVAL = "train", "eval"
PHASES = (TRAIN, EVAL)


class Timing(NamedTuple):
    """Number of images that were trained on or evaluated, and the seconds of this work."""

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images per second."""
        return self.images / self.seconds


@dataclasses.dataclass(frozen=True)
class Work:
    """A network to train and evaluate, and the numbers of steps and images in a timed round.

    Attributes:
      arch: name of the network.
      dtype: precision that the network computes in.
      batch_size: images in a training step of one run.
      steps: training steps in a round.
      test_images: images that are evaluated in a round.
      eval_batch: images that are evaluated at a time.
      runs_at_once: number of runs that are trained together.
      arch_args: the network's own arguments, as (name, value) pairs.
      run: a run's settings for this network and batch size; None to train with plain SGD.
    """

    arch: str
    dtype: str
    batch_size: int
    steps: int
    test_images: int
    eval_batch: int
    runs_at_once: int = 1
    arch_args: tuple[tuple[str, Any], ...] = ()
    run: Config | None = None

    @classmethod
    def for_run(cls, run: Config, dtype: str, steps: int) -> Self:
        """Return the work of training with a run's settings for one epoch, without evaluation.

        Args:
          run: settings of the run.
          dtype: precision that the network computes in.
          steps: training steps in a round.
        """
        return cls(
            run.arch,
            dtype,
            run.batch_size,
            steps,
            test_images=1,
            eval_batch=1,
            arch_args=run.arch_args,
            run=dataclasses.replace(run, epochs=1),
        )

    @property
    def comparison_key(self) -> tuple[Any, ...]:
        """Values that must be equal for the rates of two contestants to be comparable."""
        return self.arch, self.arch_args, self.batch_size, self.runs_at_once

    @property
    def images_per_step(self) -> int:
        """Images in a training step of all runs that are trained together."""
        return self.runs_at_once * self.batch_size

    def iterations(self, phase: str) -> int:
        """Return the training steps in a round, or the evaluated batches if `phase` is "eval"."""
        if phase == TRAIN:
            return self.steps
        return math.ceil(self.test_images / self.eval_batch)

    def images(self, phase: str) -> int:
        """Return the number of images in a round of a phase, "train" or "eval"."""
        if phase == TRAIN:
            return self.steps * self.images_per_step
        return self.test_images

    @property
    def config(self) -> Config:
        """The settings to train with: those in `run`, or two epochs of plain SGD without `run`."""
        if self.run is not None:
            return self.run
        return Config.create(
            self.arch,
            arch_args=self.arch_args,
            dtype=self.dtype,
            batch_size=self.batch_size,
            epochs=2,
            optimizer="sgd",
            learning_rate=0.01,
        )


def random_examples(work: Work) -> tuple[Examples, Examples]:
    """Return training and test images of random pixels; the content does not affect the speed."""
    rng = np.random.default_rng(0)
    shape_of_image = image_shape(work.config.image_size)

    def random_images(image_count: int) -> Examples:
        images = rng.integers(0, 256, (image_count, *shape_of_image), np.uint8)
        labels = rng.integers(0, CLASSES, image_count).astype(np.int32)
        return Examples(images, labels)

    train_examples = random_images(work.steps * work.batch_size)
    test_examples = random_images(work.test_images)
    return train_examples, test_examples
