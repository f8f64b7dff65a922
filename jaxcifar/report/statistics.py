"""Statistics of accuracies: spread between runs, differences of means, significance tests."""

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any, Literal, NamedTuple

import numpy as np
from scipy import special  # scipy.stats has more names for this, and takes a second to import

from jaxcifar.report.degrees_of_freedom import satterthwaite_degrees_of_freedom
from jaxcifar.report.repeat_words import word_or_runs
from jaxcifar.report.run_records import FinishedRun, Variation
from jaxcifar.training.accuracy_interval import wilson_interval

SIGNIFICANCE_LEVEL = 0.05  # a difference with a smaller p-value is called significant
ROUNDING_ERROR = 2e-7  # older results hold float32 accuracies; closer means count as equal


@dataclasses.dataclass(frozen=True)
class Sample:
    """The accuracies of runs that differ only in seed, or in the fold.

    Attributes:
      values: one accuracy per seed, or per fold, each a fraction from 0 to 1.
      images: number of images on which each accuracy was measured.
      repeat_word: "folds" if there is one accuracy per fold.
    """

    values: tuple[float, ...]
    images: int
    repeat_word: Literal["seeds", "folds"] = "seeds"

    @classmethod
    def of(cls, variation: Variation, key: str, split: str = "test") -> "Sample":
        """Return the accuracies of a variation's seeds or folds: the field `key` in `result.json`.

        They were measured on the images of `split`: "train", "val" or "test".
        """
        examples: Mapping[str, Any] = variation.runs[0].result["examples"]
        values = tuple(variation.values_by_seed_or_fold(key).tolist())
        return cls(values, examples[split], variation.repeat_word)

    @property
    def mean(self) -> float:
        return float(np.mean(self.values))

    @property
    def deviation(self) -> float | None:
        """The standard deviation (n - 1) of the accuracies, or None for a single accuracy."""
        if len(self.values) == 1:
            return None
        if len(set(self.values)) == 1:
            return 0.0  # rounding would give equal values a tiny deviation
        return float(np.std(self.values, ddof=1))

    @property
    def sampling_error(self) -> float:
        """The binomial standard error of the mean accuracy, from the number of images."""
        return math.sqrt(self.mean * (1 - self.mean) / self.images)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the true mean accuracy: its lower and its upper end.

        Student's interval uses the spread of the values. Without a spread (a single value, or all
        values equal), this is Wilson's interval, which uses the number of images.
        """
        spread = self.deviation or 0.0
        if spread == 0:
            return wilson_interval(self.mean, self.images)
        count = len(self.values)
        t_quantile = float(special.stdtrit(count - 1, 1 - SIGNIFICANCE_LEVEL / 2))
        half_width = t_quantile * spread / math.sqrt(count)
        return self.mean - half_width, self.mean + half_width


class SamplePair(NamedTuple):
    """The accuracies with the old and with the new value of a setting."""

    old: Sample
    new: Sample

    @property
    def change_of_mean(self) -> float:
        """The new mean accuracy minus the old one."""
        return self.new.mean - self.old.mean


@dataclasses.dataclass(frozen=True)
class Difference:
    """A difference of two numbers, such as mean accuracies, that are computed from samples.

    Attributes:
      value: second number minus first number, as a fraction.
      standard_error: standard error of `value`.
      degrees_of_freedom: of the t distribution that `value / standard_error` follows under the null
        hypothesis of no difference. Infinity means the normal distribution.
      error_basis: the source of the error. "seeds" or "folds" mean the spread between them, and
        "runs" the spread between seeds in one sample and between folds in another. "images" means
        the number of images, because a sample has a single value or all values agree exactly.
    """

    value: float
    standard_error: float
    degrees_of_freedom: float
    error_basis: Literal["seeds", "folds", "runs", "images"]

    @classmethod
    def between(cls, first: Sample, second: Sample) -> "Difference":
        """Return the mean of `second` minus the mean of `first`, with an error for Welch's t-test.

        B. L. Welch, "The generalization of 'Student's' problem when several different population
        variances are involved", Biometrika 34 (1947).
        """
        difference = second.mean - first.mean
        return _difference_of(difference, (first, second), weights=(-1.0, 1.0))

    @classmethod
    def mean_of(cls, pairs: Sequence[SamplePair]) -> "Difference":
        """Return the mean of the differences, new minus old, of independent sample pairs."""
        weight = 1 / len(pairs)
        value = weight * sum(pair.change_of_mean for pair in pairs)
        samples = [sample for pair in pairs for sample in pair]
        return _difference_of(value, samples, [-weight, weight] * len(pairs))

    @classmethod
    def between_changes(cls, first: SamplePair, second: SamplePair) -> "Difference":
        """Return the change of the mean in the second pair minus that in the first pair."""
        difference = second.change_of_mean - first.change_of_mean
        first_weights, second_weights = (1.0, -1.0), (-1.0, 1.0)
        return _difference_of(difference, (*first, *second), (*first_weights, *second_weights))

    @property
    def is_tie(self) -> bool:
        """True if the difference is 0, apart from rounding."""
        return abs(self.value) < ROUNDING_ERROR

    @property
    def p_value(self) -> float:
        """The two-sided p-value: how likely this difference is if the true means are equal."""
        if self.is_tie:
            return 1.0
        if self.standard_error == 0:
            return 0.0
        t_statistic = abs(self.value) / self.standard_error
        one_sided_p_value = special.stdtr(self.degrees_of_freedom, -t_statistic)
        return float(2 * one_sided_p_value)

    @property
    def interval(self) -> tuple[float, float]:
        """The 95% confidence interval of the difference between the true means."""
        t_quantile = float(special.stdtrit(self.degrees_of_freedom, 1 - SIGNIFICANCE_LEVEL / 2))
        half_width = self.standard_error * t_quantile
        return self.value - half_width, self.value + half_width

    @property
    def is_significant(self) -> bool:
        return self.p_value < SIGNIFICANCE_LEVEL


def _difference_of(value: float, samples: Sequence[Sample], weights: Sequence[float]) -> Difference:
    """Return a difference with its standard error and degrees of freedom.

    Args:
      value: the difference, computed from the means of `samples`.
      samples: independent samples of accuracies.
      weights: the derivative of `value` with respect to each sample's mean.
    """
    all_have_repeats = all(sample.deviation is not None for sample in samples)
    if all_have_repeats:
        counts = np.asarray([len(sample.values) for sample in samples])
        deviations = np.asarray([sample.deviation for sample in samples])
        weighted_variances = (np.asarray(weights) * deviations) ** 2 / counts
        variance_of_value = weighted_variances.sum()
        repeats_differ = variance_of_value > 0
        if repeats_differ:
            degrees_of_freedom = satterthwaite_degrees_of_freedom(weighted_variances, counts)
            standard_error = math.sqrt(variance_of_value)
            basis = word_or_runs({sample.repeat_word for sample in samples})
            return Difference(value, standard_error, degrees_of_freedom, basis)
    sampling_errors = np.asarray([sample.sampling_error for sample in samples])
    standard_error = float(np.linalg.norm(np.asarray(weights) * sampling_errors))
    infinite_degrees = math.inf  # for thousands of images, the t-distribution is normal
    return Difference(value, standard_error, infinite_degrees, error_basis="images")


@dataclasses.dataclass(frozen=True)
class Distance:
    """The root mean square of the differences between several samples and their targets.

    Attributes:
      samples: at least one sample.
      targets: one target accuracy per sample, as a fraction.
    """

    samples: tuple[Sample, ...]
    targets: tuple[float, ...]

    @property
    def differences(self) -> np.ndarray:
        """The mean of each sample minus the sample's target, as `[samples]`."""
        return np.asarray([sample.mean for sample in self.samples]) - self.targets

    @property
    def value(self) -> float:
        return float(np.sqrt(np.mean(self.differences**2)))

    def minus(self, other: "Distance") -> Difference:
        """Return this distance minus `other`, with an error to first order (the delta method)."""
        return _difference_of(
            value=self.value - other.value,
            samples=(*self.samples, *other.samples),
            weights=(*self._derivatives, *-other._derivatives),
        )

    @property
    def _derivatives(self) -> np.ndarray:
        """The derivative of `value` with respect to each sample's mean, as `[samples]`.

        If `value` is 0, it has no derivative. Then return the largest derivative near 0.
        """
        count = len(self.samples)
        if self.value == 0:
            return np.full(count, 1 / math.sqrt(count))
        return self.differences / self.value / count


def guessing_accuracy(run: FinishedRun) -> float:
    """Return the test accuracy of a classifier that always predicts the most frequent class."""
    counts = run.confusion.sum(1)
    return float(counts.max() / counts.sum())


def is_guessing(run: FinishedRun) -> bool:
    """Return whether a one-sided test finds a run's test accuracy no better than guessing."""
    guessing, image_count = guessing_accuracy(run), int(run.confusion.sum())
    quantile = float(special.ndtri(1 - SIGNIFICANCE_LEVEL))
    standard_error = math.sqrt(guessing * (1 - guessing) / image_count)
    highest_by_chance = guessing + quantile * standard_error
    return run.result["test_accuracy"] <= highest_by_chance


def first_epoch_at_share(curve: Sequence[float] | np.ndarray, share: float) -> int:
    """Return the first epoch, from 1, in which the curve reaches `share` times its last value."""
    return next(epoch for epoch, value in enumerate(curve, 1) if value >= share * curve[-1])
