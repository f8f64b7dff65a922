"""Read and write files of weights: a network's arrays, and a card that describes the network.

The format is Hugging Face's safetensors: arrays and a JSON header. A file contains no code.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, cast

import jax
import numpy as np
import safetensors.numpy
from msgspec import Meta

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, first_line
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.reading import (
    MEGABYTE,
    Count,
    Line,
    Remedy,
    convert_checked,
    open_regular_file,
    parse_json,
    report_errors,
)
from jaxcifar.machine.sharing import PyTree
from jaxcifar.runs.array_trees import describe_differences, named_arrays
from jaxcifar.runs.file_formats import Accuracy, Source, SplitSizes
from jaxcifar.runs.task import PYTORCH_SUFFIXES

_CHOOSE_ANOTHER_FILE = Remedy("choose another file of weights")
_MAX_BYTES = 2**32
_LENGTH_BYTES = 8  # the header's length, at the beginning of a safetensors file
_MAX_HEADER_BYTES = 4 * MEGABYTE  # a line for each of about 10,000 arrays
_CARD_NAME = "jaxcifar"  # the card's name in the header

Channels = Annotated[
    list[Annotated[float, Meta(ge=-1e6, le=1e6)]], Meta(min_length=3, max_length=3)
]


class Card(TypedDict):
    """The description of a trained network that its weights file contains, besides the arrays.

    It has the run's settings, class names, image statistics and results.
    """

    config: dict[str, Any]
    class_names: Annotated[list[Line], Meta(min_length=1, max_length=2**16)]
    channel_mean: Channels
    channel_std: Channels
    dataset: Line
    dataset_name: NotRequired[Line]
    compute_dtype: NotRequired[Line]
    converted: NotRequired[Source]
    examples: NotRequired[SplitSizes]
    selected_epoch: NotRequired[Count]
    selection_rule: NotRequired[Line]
    val_accuracy: NotRequired[Accuracy]
    test_accuracy: NotRequired[Accuracy]
    test_accuracy_flip: NotRequired[Accuracy]
    device: NotRequired[Line]
    git_commit: NotRequired[Line | None]


def make_card(result: Mapping[str, Any]) -> Card:
    """Return the description (card) for a weights file, from a run's result or another card."""
    return cast(Card, {name: result[name] for name in Card.__annotations__ if name in result})


def write_weights(path: Path, variables: PyTree, card: Card, as_float16: bool = False) -> str:
    """Write a network's arrays to a weights file, and return the file's SHA-256.

    Args:
      path: the file.
      variables: the arrays. An array's name is its path, such as `params/Conv_0/kernel`.
      card: the description of the network.
      as_float16: True to round floats to float16.

    Raises:
      RunError: a number is too large for float16.
      OSError: the file can't be written.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in named_arrays(variables).items()}
    if as_float16:
        arrays = {name: _round_to_float16(name, array) for name, array in arrays.items()}
    content = safetensors.numpy.save(arrays, {_CARD_NAME: json.dumps(card)})
    with atomic_write(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def _round_to_float16(name: str, array: np.ndarray) -> np.ndarray:
    if not np.issubdtype(array.dtype, np.floating):
        return array
    with np.errstate(over="ignore"):
        rounded = array.astype(np.float16)
    has_overflow = (np.isfinite(array) & ~np.isfinite(rounded)).any()
    if has_overflow:
        largest = f"{np.finfo(np.float16).max:,.0f}"
        raise RunError(f"{name}: has numbers larger than float16's {largest}; leave out --half")
    return rounded


def read_weights(
    path: Path, remedy: Remedy = _CHOOSE_ANOTHER_FILE, digest: str | None = None
) -> tuple[dict[str, np.ndarray], Card]:
    """Check an untrusted weights file, and return its arrays by name and its card (description).

    Args:
      path: the file; it must be a regular file.
      remedy: the advice in the message if the file can't be used.
      digest: the SHA-256 that the file must have, or None for any.

    Raises:
      RunError, UsageError: the file can't be read.
    """
    with report_errors(path, remedy), open_regular_file(path) as file:
        if path.suffix in PYTORCH_SUFFIXES:
            raise ValueError(f"is a PyTorch file; convert it first with {shell_command('convert')}")
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise ValueError(f"has more than {_MAX_BYTES:,} bytes")
        if digest is not None and hashlib.file_digest(file, "sha256").hexdigest() != digest:
            raise ValueError("is not the file that its run wrote")
        # Before the arrays take memory, so that other files are refused at once.
        card = convert_checked(_parse_card(read_header(file)), Card)
        _require_valid_config(card)
        file.seek(0)
        try:
            arrays = safetensors.numpy.load(file.read())
        except Exception as error:  # the file is damaged, or NumPy does not have a dtype
            raise ValueError(f"is damaged ({first_line(error)})") from error
        _require_numbers(arrays)
        return arrays, card


def _require_valid_config(card: Card) -> None:
    """Raise ValueError if the config in a card is not valid."""
    Config.from_dict(card["config"])


def read_header(file: BufferedReader) -> Any:
    """Return the header of an open safetensors file, parsed from JSON; no array is read.

    Raises:
      ValueError: the file is no safetensors file, or is damaged.
    """
    file.seek(0)
    header_length = int.from_bytes(file.read(_LENGTH_BYTES), "little")
    longest_header = min(_MAX_HEADER_BYTES, os.fstat(file.fileno()).st_size - _LENGTH_BYTES)
    if not len("{}") <= header_length <= longest_header:
        raise ValueError("is not a safetensors file, or is damaged")
    try:
        return parse_json(file.read(header_length).decode())
    except UnicodeDecodeError:
        raise ValueError("is not a safetensors file, or is damaged") from None


def _parse_card(header: Any) -> Any:
    """Return the card (description) in the header of a weights file, parsed from JSON."""
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    card = metadata.get(_CARD_NAME) if isinstance(metadata, dict) else None
    if not isinstance(card, str):
        raise ValueError("has no description by jaxcifar, so the network is unknown")
    return parse_json(card)


def _require_numbers(arrays: Mapping[str, np.ndarray]) -> None:
    """Check that a network's arrays contain no NaN, and its parameters no infinite values.

    Other arrays than parameters may have infinite values on purpose, such as an attention mask.

    Raises:
      ValueError: an array has a forbidden value; the message names the array.
    """
    for name, array in arrays.items():
        is_parameter = name.startswith("params/")
        forbidden = ~np.isfinite(array) if is_parameter else np.isnan(array)
        if forbidden.any():
            raise ValueError(f"{name} has NaN or infinite values")


def arrange_arrays(
    arrays: dict[str, np.ndarray],
    variables_like: PyTree,
    path: Path,
    advice: str = _CHOOSE_ANOTHER_FILE.advice,
) -> PyTree:
    """Arrange the arrays of a weights file as a network's variables, and return the variables.

    Args:
      arrays: arrays by name, such as `params/Conv_0/kernel`.
      variables_like: variables with the network's structure, shapes and dtypes.
      path: the weights file, for the message.
      advice: what the user can do; ends the message.

    Raises:
      RunError: the arrays belong to another network.
    """
    differences = describe_differences(arrays, variables_like, ignore_float_dtype=True)
    if differences:
        problem = f"the weights are not those of this network ({differences})"
        raise RunError(f"{path}: {problem}; {advice}")
    leaves = [
        arrays[name].astype(leaf.dtype) for name, leaf in named_arrays(variables_like).items()
    ]
    return jax.tree.unflatten(jax.tree.structure(variables_like), leaves)
