"""What an earlier conversion of PyTorch weights left in a run folder."""

from collections.abc import Mapping

import numpy as np

from jaxcifar.errors import UsageError
from jaxcifar.machine.reading import Remedy
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.file_formats import Result, Source
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import has_untested_weights
from jaxcifar.runs.weights import Card, read_weights
from jaxcifar.training import network

_CONVERT_AGAIN = Remedy("use --overwrite to convert the file again")


def finished_conversion(folder: RunFolder, source: Source, card: Card) -> Result | None:
    """Return the result in a run folder if it was converted from the file `source`; else None.

    Args:
      folder: the run folder.
      source: the name and SHA-256 of the file of the state dict.
      card: the description of the new conversion.

    Raises:
      UsageError: the folder belongs to another run, or to a conversion with another normalisation.
    """
    earlier_result = folder.finished_result()
    if earlier_result and earlier_result.get("converted") == source:
        _require_same_normalisation(folder, earlier_result, card)
        return earlier_result
    has_other_result = earlier_result is not None
    has_unfinished_training = folder.has_begun and folder.metrics_file.exists()
    if has_other_result or has_unfinished_training:
        raise UsageError(
            f"{folder.path}: holds another run; choose another folder, or use --overwrite to "
            "delete that run"
        )
    return None


def require_no_other_untested_weights(
    folder: RunFolder, variables: network.Variables, card: Card
) -> None:
    """Check that a run folder has no untested weights from another file.

    Weights are untested if an earlier conversion did not find the data set. They may stay in the
    folder if the new conversion gives the same weights.

    Args:
      folder: the run folder, without a result.
      variables: the variables of the new conversion.
      card: the description of the new conversion.

    Raises:
      UsageError: the folder holds other weights, or weights with another normalisation.
      RunError: the weights in the folder can't be read.
    """
    must_keep_weights = not folder.overwrite and has_untested_weights(folder.path)
    if not must_keep_weights:
        return
    earlier_arrays, earlier_card = read_weights(folder.weights_file, _CONVERT_AGAIN)
    if not _are_equal(earlier_arrays, named_arrays(variables)):
        raise UsageError(
            f"{folder.path}: holds the weights of another file; choose another folder, or use "
            "--overwrite to delete them"
        )
    _require_same_normalisation(folder, earlier_card, card)


def _are_equal(arrays: Mapping[str, np.ndarray], other_arrays: Mapping[str, np.ndarray]) -> bool:
    have_same_names = arrays.keys() == other_arrays.keys()
    return have_same_names and all(
        np.array_equal(array, other_arrays[name]) for name, array in arrays.items()
    )


def _require_same_normalisation(folder: RunFolder, earlier: Result | Card, card: Card) -> None:
    """Raise UsageError if an earlier conversion normalised images differently than `card` says."""
    earlier_mean, earlier_std = earlier["channel_mean"], earlier["channel_std"]
    has_same_mean = np.allclose(earlier_mean, card["channel_mean"])
    has_same_std = np.allclose(earlier_std, card["channel_std"])
    if has_same_mean and has_same_std:
        return
    mean_text = " ".join(f"{value:g}" for value in earlier_mean)
    std_text = " ".join(f"{value:g}" for value in earlier_std)
    raise UsageError(
        f"{folder.path}: was converted with --mean {mean_text} --std {std_text}; use "
        "--overwrite to convert the file again, or choose another folder"
    )
