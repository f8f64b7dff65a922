"""Figures with their uncertainty: means over seeds, differences, and how sure those are."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from scipy import stats

from jaxcifar.report.run_records import FinishedRun, Variation

LEVEL = 0.05  # a difference whose p-value is below can be told from none
SAME = 2e-7  # means closer than that are equal but for rounding, of float32s in older results


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
        examples: Mapping[str, Any] = variation.runs[0].result["examples"]
        return cls(tuple(variation.values(key).tolist()), examples[split])

    @property
    def mean(self) -> float:
        """Over seeds."""
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """Standard deviation between seeds (n - 1), None for a single one."""
        if len(self.values) == 1:
            return None
        # Equal values would else differ from their own mean by a rounding error.
        return float(np.std(self.values, ddof=1)) if len(set(self.values)) > 1 else 0.0

    @property
    def sampling_error(self) -> float:
        """Standard deviation of a proportion among `images`: what other images would change."""
        return math.sqrt(self.mean * (1 - self.mean) / self.images)


@dataclasses.dataclass(frozen=True)
class Difference:
    """Of two figures that are computed from samples.

    Attributes:
      value: the second's minus the first's, a fraction.
      error: its standard error.
      freedom: degrees of freedom of Student's distribution that `value / error` follows if there
        is no true difference; infinite for the normal one.
      by_seeds: whether the error comes from the spread between seeds; else, where a side has a
        single seed or no seed differs from another, from the number of images (sampling).
    """

    value: float
    error: float
    freedom: float
    by_seeds: bool

    @classmethod
    def between(cls, first: Sample, second: Sample) -> "Difference":
        """The difference of two means, by Welch's t-test if both have several seeds.

        B. L. Welch, "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 34 (1947).
        """
        return _judged(second.mean - first.mean, (first, second), (-1.0, 1.0))

    @property
    def is_tie(self) -> bool:
        """Whether there is none at all."""
        return abs(self.value) < SAME

    @property
    def p_value(self) -> float:
        """How likely one at least as large is if there is no true difference (two-sided)."""
        if self.is_tie:
            return 1.0
        if self.error == 0:
            return 0.0
        return float(2 * stats.t.sf(abs(self.value) / self.error, self.freedom))

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the true difference."""
        half = self.error * float(stats.t.ppf(1 - LEVEL / 2, self.freedom))
        return self.value - half, self.value + half

    @property
    def can_be_told(self) -> bool:
        """Whether it is too large to be likely without a true difference."""
        return self.p_value < LEVEL


def _judged(value: float, samples: Sequence[Sample], weights: Sequence[float]) -> Difference:
    """A figure whose derivatives by the means of independent samples are `weights`.

    Its variance is the sum of theirs, and its degrees of freedom are those of Welch and
    Satterthwaite (F. E. Satterthwaite, "An approximate distribution of estimates of variance
    components", Biometrics Bulletin 2 (1946)). Seeds that agree to the last digit say nothing of
    their spread: then, as with single seeds, the images decide.
    """
    if all(sample.deviation is not None for sample in samples):
        counts = np.asarray([len(sample.values) for sample in samples])
        deviations = np.asarray([sample.deviation for sample in samples])
        variances = (np.asarray(weights) * deviations) ** 2 / counts
        if (total := variances.sum()) > 0:
            shares = variances / total
            freedom = 1 / np.sum(shares**2 / (counts - 1))
            return Difference(value, math.sqrt(total), float(freedom), by_seeds=True)
    errors = np.asarray([sample.sampling_error for sample in samples])
    error = float(np.linalg.norm(np.asarray(weights) * errors))
    return Difference(value, error, math.inf, by_seeds=False)


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
        """How much farther this one is, to first order in the means of both (the delta method)."""
        return _judged(
            self.value - nearer.value,
            (*self.samples, *nearer.samples),
            (*self._derivatives, *-nearer._derivatives),
        )

    @property
    def _derivatives(self) -> np.ndarray:
        """Of the value by each mean; at 0, where there is none, of equal steps away from it."""
        count = len(self.samples)
        if self.value == 0:
            return np.full(count, 1 / math.sqrt(count))
        return self.away / self.value / count


def guessing_level(run: FinishedRun) -> float:
    """The test accuracy of naming the most frequent class of the test images every time."""
    counts = run.confusion.sum(1)
    return float(counts.max() / counts.sum())


def is_guessing(run: FinishedRun) -> bool:
    """Whether a run's test accuracy is no higher than guessing and 1.64 sampling errors.

    The one-sided normal test at `LEVEL`, of the accuracy against `guessing_level`.
    """
    level, images = guessing_level(run), int(run.confusion.sum())
    margin = float(stats.norm.ppf(1 - LEVEL)) * math.sqrt(level * (1 - level) / images)
    return run.result["test_accuracy"] <= level + margin


def single_changes(
    variations: Sequence[Variation],
) -> list[tuple[str, Any, Any, Variation, Variation]]:
    """All pairs of variations that differ in one setting: its name, values, variations."""
    pairs = []
    for i, first in enumerate(variations):
        for second in variations[i + 1 :]:
            differing = first.changes_to(second)
            if len(differing) == 1:
                [(setting, (before, after))] = differing.items()
                pairs.append((setting, before, after, first, second))
    return pairs


def epochs_to_share(curve: Sequence[float] | np.ndarray, share: float) -> int:
    """The first epoch (from 1) whose accuracy reaches `share` of the last one's."""
    return next(i for i, value in enumerate(curve, 1) if value >= share * curve[-1])
