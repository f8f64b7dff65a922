"""Figures with their noise: means over seeds, differences, and how sure they are."""

import dataclasses
import math
from collections.abc import Sequence

import numpy as np

from jaxcifar.report.records import Variation

NOISE_LIMIT = 2.0  # standard deviations below which a difference is called noise


@dataclasses.dataclass(frozen=True)
class Sample:
    """Accuracies of a variation over its seeds.

    Attributes:
      values: fractions, one a seed.
      images: how many each was measured on.
    """

    values: tuple[float, ...]
    images: int

    @classmethod
    def of(cls, variation: Variation, key: str, split: str = "test") -> "Sample":
        """The numbers `key` of `result.json`, measured on `split`."""
        images = variation.runs[0].result["examples"][split]
        return cls(tuple(variation.values(key).tolist()), images)

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds (n - 1), None for a single one."""
        return float(np.std(self.values, ddof=1)) if len(self.values) > 1 else None

    @property
    def sampling_error(self) -> float:
        """Standard deviation of a proportion among `images`: what other images would change."""
        return math.sqrt(self.mean * (1 - self.mean) / self.images)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of the means of two samples.

    Attributes:
      value: the second's mean minus the first's, a fraction.
      deviation: one standard deviation to measure it by: that between seeds, pooled over both
        samples, or with a single seed the sampling error of both together.
      by_seeds: which of the two.
    """

    value: float
    deviation: float
    by_seeds: bool

    @classmethod
    def between(cls, first: Sample, second: Sample) -> "Difference":
        """Measure the difference of two samples."""
        value = second.mean - first.mean
        if first.deviation is not None and second.deviation is not None:
            pooled = math.sqrt((first.deviation**2 + second.deviation**2) / 2)
            return cls(value, pooled, by_seeds=True)
        return cls(value, math.hypot(first.sampling_error, second.sampling_error), by_seeds=False)

    @property
    def in_deviations(self) -> float:
        """The difference in units of its deviation."""
        if self.value == 0:
            return 0.0
        return abs(self.value) / self.deviation if self.deviation else math.inf

    @property
    def is_noise(self) -> bool:
        """Whether it is too small to be told from chance."""
        return self.in_deviations < NOISE_LIMIT


@dataclasses.dataclass(frozen=True)
class Distance:
    """How far samples are from targets together: the root mean square of their differences.

    Attributes:
      samples: at least one.
      targets: fractions, one a sample.
    """

    samples: tuple[Sample, ...]
    targets: tuple[float, ...]

    @property
    def away(self) -> np.ndarray:
        """Each sample's mean minus its target, `[samples]`."""
        return np.asarray([sample.mean for sample in self.samples]) - self.targets

    @property
    def value(self) -> float:
        """A fraction."""
        return float(np.sqrt(np.mean(self.away**2)))

    def behind(self, nearer: "Distance") -> Difference:
        """How much farther this one is, measured by what moves the samples of both."""
        by_seeds = all(s.deviation is not None for s in (*self.samples, *nearer.samples))
        deviation = math.hypot(self._deviation(by_seeds), nearer._deviation(by_seeds))
        return Difference(self.value - nearer.value, deviation, by_seeds)

    def _deviation(self, by_seeds: bool) -> float:
        """Of the value, to first order in those of the samples."""
        errors = [s.deviation if by_seeds else s.sampling_error for s in self.samples]
        weights = self.away / self.value if self.value else np.ones(len(errors))
        return float(np.linalg.norm(weights * errors)) / len(errors)


def single_changes(
    variations: Sequence[Variation],
) -> list[tuple[str, object, object, Variation, Variation]]:
    """All pairs of variations whose configs differ in one field: field, values, variations."""
    pairs = []
    for i, first in enumerate(variations):
        for second in variations[i + 1 :]:
            differing = first.changes_to(second)
            if len(differing) == 1:
                [(field, (before, after))] = differing.items()
                pairs.append((field, before, after, first, second))
    return pairs


def epochs_to_share(curve: Sequence[float], share: float) -> int:
    """The first epoch (from 1) whose accuracy reaches `share` of the last one's."""
    return next(i for i, value in enumerate(curve, 1) if value >= share * curve[-1])
