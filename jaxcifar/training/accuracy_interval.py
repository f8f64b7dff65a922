"""The confidence interval of an accuracy."""

import math

# 95% of a normal distribution lies within this many standard deviations of the mean.
_STANDARD_DEVIATIONS = 1.959963984540054


def wilson_interval(accuracy: float, image_count: int) -> tuple[float, float]:
    """Return Wilson's 95% confidence interval of an accuracy, as fractions from 0 to 1.

    E. B. Wilson, "Probable inference, the law of succession, and statistical inference", 1927.

    Args:
      accuracy: fraction of correctly classified images.
      image_count: number of all images, at least 1.
    """
    weight = _STANDARD_DEVIATIONS**2 / image_count
    centre = accuracy + weight / 2
    half_width = math.sqrt(accuracy * (1 - accuracy) * weight + weight**2 / 4)
    lower_limit = (centre - half_width) / (1 + weight)
    upper_limit = (centre + half_width) / (1 + weight)
    return max(0.0, lower_limit), min(1.0, upper_limit)
