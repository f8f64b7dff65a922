"""What all contestants of the bench are given to do."""

import dataclasses
from typing import Any, NamedTuple, Self

import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.data import Examples

CLASSES = 10  # as CIFAR-10 has


TRAIN, EVAL = "train", "eval"
PHASES = (TRAIN, EVAL)


class Timing(NamedTuple):
    """How many images were trained on or evaluated, and the seconds that it took."""

    images: int
    seconds: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.seconds


@dataclasses.dataclass(frozen=True)
class Work:
    """One network to be trained and evaluated.

    Attributes:
      arch: of the network.
      dtype: that it computes in.
      batch_size: training images a step.
      steps: of a timed round of training.
      test_images: evaluated in a timed round.
      eval_batch: how many of them at a time.
      at_once: runs to train together.
      arch_args: the network's own arguments.
      run: settings to train by instead of plain SGD, with that network and that batch.
    """

    arch: str
    dtype: str
    batch_size: int
    steps: int
    test_images: int
    eval_batch: int
    at_once: int = 1
    arch_args: tuple[tuple[str, Any], ...] = ()
    run: Config | None = None

    @classmethod
    def of(cls, run: Config, dtype: str, steps: int) -> Self:
        """To train by a run's settings, a round an epoch, of which it has one; nothing else."""
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
    def task(self) -> tuple[Any, ...]:
        """What must be equal for the rates of two contestants to be comparable."""
        return self.arch, self.arch_args, self.batch_size, self.at_once

    @property
    def images_a_step(self) -> int:
        """Images of a training step, those of all runs that train together."""
        return self.at_once * self.batch_size

    def pieces(self, phase: str) -> int:
        """Return the training steps of a round, or its batches to be evaluated."""
        return self.steps if phase == TRAIN else -(-self.test_images // self.eval_batch)

    def images(self, phase: str) -> int:
        """Return the images of a round."""
        return self.steps * self.images_a_step if phase == TRAIN else self.test_images

    @property
    def config(self) -> Config:
        """`run`, or that of one that does two rounds of this work as two epochs."""
        return self.run or Config.create(
            self.arch,
            arch_args=self.arch_args,
            dtype=self.dtype,
            batch_size=self.batch_size,
            epochs=2,
            optimizer="sgd",
            learning_rate=0.01,
        )


def random_examples(work: Work) -> tuple[Examples, Examples]:
    """Training and test images of noise: speed does not depend on what is in them."""
    rng = np.random.default_rng(0)

    def examples(count: int) -> Examples:
        images = rng.integers(0, 256, (count, 32, 32, 3), np.uint8)
        return Examples(images, rng.integers(0, CLASSES, count).astype(np.int32))

    return examples(work.steps * work.batch_size), examples(work.test_images)
