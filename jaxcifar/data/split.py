"""Train and validation examples: a fixed, stratified choice that no option but the size changes."""

import numpy as np

from jaxcifar.errors import UsageError

_SPLIT_SEED = 2009  # the year of CIFAR-10; never the run's seed, so that all runs share the split


def train_val_indices(
    labels: np.ndarray, val_fraction: float, train_examples: int | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Choose validation examples, the same fraction of every class.

    Args:
      labels: `[N]` integers, in the canonical order of the records.
      val_fraction: part of each class that goes to validation.
      train_examples: keep at most the first so many of the training examples, which come in a
        fixed random order.

    Returns:
      training indices, in a fixed random order, and validation indices, both `[*] int64`.

    Raises:
      UsageError: one of the two would be empty.
    """
    rng = np.random.RandomState(_SPLIT_SEED)  # its stream is frozen across NumPy versions
    order = rng.permutation(len(labels))
    is_val = np.zeros(len(labels), bool)
    for label in np.unique(labels):
        members = order[labels[order] == label]
        is_val[members[: round(len(members) * val_fraction)]] = True
    train, val = order[~is_val[order]], order[is_val[order]]
    if not len(train) or not len(val):
        raise UsageError(
            f"--val-fraction {val_fraction}: leaves {len(train)} images to train on "
            f"and {len(val)} to validate on; choose another fraction"
        )
    return train[:train_examples], val
