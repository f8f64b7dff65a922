"""The weights that a run came to, in one file with all that predicting takes: its card.

A file of safetensors (Hugging Face): arrays and a header of JSON, in which nothing can be executed.
"""

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypedDict, cast

import jax
import numpy as np
import safetensors.numpy
from msgspec import Meta

from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, first_line
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
from jaxcifar.runs.saved import Accuracy, Source, SplitSizes
from jaxcifar.runs.task import PYTORCH

ANOTHER = Remedy("choose another file of weights")
_MOST_BYTES = 2**32
_MOST_HEADER_BYTES = 4 * MEGABYTE  # a line for each of some 10,000 arrays
_CARD = "jaxcifar"

Channels = Annotated[
    list[Annotated[float, Meta(ge=-1e6, le=1e6)]], Meta(min_length=3, max_length=3)
]


class Card(TypedDict):
    """What predicting takes beside the weights, and what is known of them, as in `result.json`."""

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


def card_of(result: Mapping[str, Any]) -> Card:
    """What the card says of a run with such a `Result`, or what another card says."""
    said = {name: result[name] for name in Card.__annotations__ if name in result}
    return cast(Card, said)


def write_weights(path: Path, variables: PyTree, card: Card, half: bool = False) -> str:
    """Write a file of weights.

    Args:
      path: of the file.
      variables: the network's, by collection; an array is called by its place in them, such as
        `params/Conv_0/kernel`.
      card: what goes with them.
      half: whether floats are rounded to float16.

    Returns:
      the SHA-256 of the file.

    Raises:
      RunError: a number is beyond what float16 holds.
      OSError: it can't be written.
    """
    arrays = {name: np.asarray(leaf) for name, leaf in named(variables).items()}
    if half:
        floats = {k: v for k, v in arrays.items() if np.issubdtype(v.dtype, np.floating)}
        with np.errstate(over="ignore"):
            halves = {name: array.astype(np.float16) for name, array in floats.items()}
        for name, array in floats.items():
            if (np.isfinite(array) & ~np.isfinite(halves[name])).any():
                most = f"{np.finfo(np.float16).max:,.0f}"
                raise RunError(f"{name}: holds numbers beyond float16's {most}; leave out --half")
        arrays |= halves
    content = safetensors.numpy.save(arrays, {_CARD: json.dumps(card)})
    with atomic_write(path) as file:
        file.write(content)
    return hashlib.sha256(content).hexdigest()


def read_weights(
    path: Path, remedy: Remedy = ANOTHER, digest: str | None = None
) -> tuple[dict[str, np.ndarray], Card]:
    """Read a file of weights that is not trusted.

    Args:
      path: of a regular file; links are not followed.
      remedy: what to do if it can't be read.
      digest: the SHA-256 that it must have, where it is known.

    Returns:
      the arrays by their names, and the card, whose config is one.

    Raises:
      RunError, UsageError: it can't be read.
    """
    content = _content(path, remedy)
    with report_errors(path, remedy):
        if digest is not None and hashlib.sha256(content).hexdigest() != digest:
            raise ValueError("is not the file that its run wrote")
        card = convert_checked(_card(content), Card)
        Config.from_dict(card["config"])
        try:
            arrays = safetensors.numpy.load(content)
        except Exception as error:  # of a damaged file, or of a type that NumPy does not have
            raise ValueError(f"is damaged ({first_line(error)})") from error
        _require_numbers(arrays)
        return arrays, card


def _content(path: Path, remedy: Remedy) -> bytes:
    with report_errors(path, remedy), open_regular_file(path) as file:
        if path.suffix in PYTORCH:
            raise ValueError("is PyTorch's: experiments.convert makes a run of it")
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise ValueError(f"has more than {_MOST_BYTES:,} bytes")
        return file.read()


def _card(content: bytes) -> Any:
    """The value of the card: the format begins with the length of its header and that."""
    length = int.from_bytes(content[:8], "little")
    if not 2 <= length <= min(_MOST_HEADER_BYTES, len(content) - 8):
        raise ValueError("is no file of safetensors, or a damaged one")
    try:
        header = parse_json(content[8 : 8 + length].decode())
    except UnicodeDecodeError:
        raise ValueError("is no file of safetensors, or a damaged one") from None
    metadata = header.get("__metadata__") if isinstance(header, dict) else None
    card = metadata.get(_CARD) if isinstance(metadata, dict) else None
    if not isinstance(card, str):
        raise ValueError("has no card of jaxcifar: nothing says which network its weights are of")
    return parse_json(card)


def _require_numbers(arrays: Mapping[str, np.ndarray]) -> None:
    """Refuse weights that make the answers of their network NaN.

    Outside of `params`, infinite values may be meant: a mask of attention has them.

    Raises:
      ValueError: an array has NaN or, in `params`, an infinite value; the message names it.
    """
    for name, array in arrays.items():
        if np.isnan(array).any() or (name.startswith("params/") and np.isinf(array).any()):
            raise ValueError(f"{name} holds values that are not finite numbers")


def fitted(arrays: dict[str, np.ndarray], like: PyTree, where: Path) -> PyTree:
    """Arrays put into their places in a network's variables.

    Args:
      arrays: by their names.
      like: variables, of which only shapes and types are looked at.
      where: whose they are, for the message.

    Returns:
      as `like`, with NumPy arrays.

    Raises:
      RunError: they don't fit.
    """
    places = named(like)
    if wrong := _differences(arrays, places):
        raise RunError(f"{where}: the weights are not those of this network ({wrong})")
    leaves = [arrays[name].astype(leaf.dtype) for name, leaf in places.items()]
    return jax.tree.unflatten(jax.tree.structure(like), leaves)


def _differences(arrays: dict[str, np.ndarray], places: dict[str, Any]) -> str:
    """The first few names that differ, in words."""
    wrong = [f"{name} is missing" for name in places if name not in arrays]
    wrong += [f"{name} has no place in it" for name in arrays if name not in places]
    for name in places.keys() & arrays.keys():
        there, here = arrays[name], places[name]
        if there.shape != here.shape:
            wrong.append(f"{name} has shape {[*there.shape]}, not {[*here.shape]}")
        elif there.dtype != here.dtype and {there.dtype.kind, np.dtype(here.dtype).kind} != {"f"}:
            wrong.append(f"{name} is of {there.dtype}, not {here.dtype}")
    more = f", and {len(wrong) - 3} more" if len(wrong) > 3 else ""
    return ", ".join(sorted(wrong)[:3]) + more


def named(tree: PyTree) -> dict[str, Any]:
    """Leaves by their places, such as `params/Conv_0/kernel`, in the tree's own order."""
    leaves = jax.tree_util.tree_flatten_with_path(tree)[0]
    name = jax.tree_util.keystr
    return {name(path, simple=True, separator="/"): leaf for path, leaf in leaves}
