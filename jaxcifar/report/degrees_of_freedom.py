"""The degrees of freedom of a sum of estimated variances."""

import numpy as np


def satterthwaite_degrees_of_freedom(variances: np.ndarray, counts: np.ndarray) -> float:
    """Return the degrees of freedom of a sum of independent, estimated variances.

    Source: F. E. Satterthwaite, "An approximate distribution of estimates of variance components",
    Biometrics Bulletin 2 (1946).

    Args:
      variances: the variances in the sum, at least one of them above 0.
      counts: the number of values from which each variance was estimated.
    """
    variance_shares = variances / variances.sum()
    return float(1 / np.sum(variance_shares**2 / (counts - 1)))
