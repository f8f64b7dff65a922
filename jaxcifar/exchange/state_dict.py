"""State dicts of PyTorch networks, from files that are not trusted."""

import hashlib
import os
import re
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import safetensors.numpy

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError, first_line, printable
from jaxcifar.exchange.pytorch_names import COUNTER, places, scales_of_one
from jaxcifar.exchange.written_out import folded, is_mirrored, plain
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors
from jaxcifar.runs.weights import named
from jaxcifar.training import network

_ANOTHER = Remedy("give a state dict, as torch.save(network.state_dict(), FILE) writes it")
_MOST_BYTES = 2**32
_MOST_FILES = 10_000  # a tensor each
_INNER = ("state_dict", "model_state_dict", "model", "net")  # below which trainers put it
_WRAPPED = re.compile(r"^(?:module\.|_orig_mod\.)+")  # by DataParallel, by torch.compile
_MOST_TOLD, _LONGEST = 3, 80


class StateDict(NamedTuple):
    """The arrays of a network by their names in PyTorch, all float32, and their file's SHA-256."""

    arrays: dict[str, np.ndarray]
    sha256: str


def read_state_dict(path: Path) -> StateDict:
    """The state dict in a file.

    Args:
      path: of what `torch.save` wrote, or of a `.safetensors` file. Of a checkpoint in which the
        state dict is one entry (`net`, `state_dict`, `model`), that is taken; prefixes that
        PyTorch's wrappers put before all names are taken off.

    Raises:
      RunError: it can't be read, or PyTorch is not installed.
    """
    read = _read_safetensors if path.suffix == ".safetensors" else _read_torch
    if read is _read_torch:
        import_extra("torch")
    with report_errors(path, _ANOTHER), open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MOST_BYTES:
            raise ValueError(f"has more than {_MOST_BYTES:,} bytes")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        arrays = {name: array for name, array in read(file).items() if not _is_counter(name)}
        if not arrays:
            raise ValueError("has no tensors")
        if all(map(_WRAPPED.match, arrays)):
            arrays = {_WRAPPED.sub("", name): array for name, array in arrays.items()}
        for name, array in arrays.items():
            if array.dtype.kind != "f" or not np.isfinite(array).all():
                raise ValueError(f"{printable(name, _LONGEST)} is not of finite numbers")
        return StateDict({name: array.astype(np.float32) for name, array in arrays.items()}, digest)


def _is_counter(name: str) -> bool:
    return name.rpartition(".")[2] == COUNTER


def _read_safetensors(file: BufferedReader) -> dict[str, np.ndarray]:
    try:
        return safetensors.numpy.load(file.read())
    except Exception as error:  # of a damaged file, or of a type that NumPy does not have
        raise ValueError(f"is damaged ({first_line(error)})") from error


def _read_torch(file: BufferedReader) -> dict[str, np.ndarray]:
    """By PyTorch's own reader, restricted to tensors and containers; no pickle is executed."""
    import torch

    _require_bounded(file)
    room = os.fstat(file.fileno()).st_size
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # of a hostile or damaged file, anything
        raise ValueError(
            f"holds something else than tensors, or is damaged ({_why(error)})"
        ) from error
    if isinstance(content, Mapping):
        content = next((content[k] for k in _INNER if isinstance(content.get(k), Mapping)), content)
    if not isinstance(content, Mapping):
        raise ValueError(f"holds no state dict but one {type(content).__name__}")
    arrays = {}
    for name, tensor in content.items():
        if not isinstance(name, str) or not isinstance(tensor, torch.Tensor):
            raise ValueError(f"its entry {printable(name, _LONGEST)} is no tensor")
        plain = tensor.layout == torch.strided and tensor.device.type == "cpu"
        if not plain or tensor.is_quantized:
            raise ValueError(f"{printable(name, _LONGEST)} is no plain tensor")
        # Views may claim to be far larger than what they are views of.
        room -= tensor.nbytes
        if room < 0:
            raise ValueError("has tensors that share their memory")
        tensor = tensor.detach()
        arrays[name] = (tensor.float() if tensor.is_floating_point() else tensor).numpy()
    return arrays


def _why(error: Exception) -> str:
    """The reason alone: PyTorch goes on to tell how to execute the file all the same."""
    _, _, reason = str(error).rpartition("WeightsUnpickler error: ")
    reason = re.split(r"\.\s|\n", reason.strip(), maxsplit=1)[0]
    return printable("PyTorch does not read it" if "trust" in reason else reason, _LONGEST)


def _require_bounded(file: BufferedReader) -> None:
    """See to it that unpacking takes no more than the file has.

    Raises:
      ValueError: it would, or the file is none that today's PyTorch writes.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception as error:  # a hostile archive can raise anything
        raise ValueError("is not of the format that torch.save has since PyTorch 1.6") from error
    packed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    size = sum(member.file_size for member in members)
    if packed or len(members) > _MOST_FILES or size > os.fstat(file.fileno()).st_size:
        raise ValueError("is packed in another way than torch.save does")
    file.seek(0)


def to_ours(
    config: Config,
    classes: int,
    like: Mapping[str, Any],
    state: StateDict,
    path: Path,
) -> dict[str, np.ndarray]:
    """A state dict in our names and layouts.

    Args:
      config: names the network.
      classes: that it tells apart.
      like: our arrays by name, of which only shapes are looked at.
      state: see `read_state_dict`.
      path: where it is from, for the message.

    Raises:
      UsageError: it is none of our networks.
      RunError: the state dict is another network's, or PyTorch is not installed.
    """
    if is_mirrored(config):
        config = plain(config)
        whole = named(network.shapes(create_model(config, classes)))
        remedy = Remedy("give --arch-args without mirrored=true")
        with report_errors(path, remedy):
            return folded(to_ours(config, classes, whole, state, path))
    where, arrays = places(config, classes, like), state.arrays
    ones = scales_of_one(where)
    for name in ones & arrays.keys():
        if not (arrays[name] == 1).all():
            raise RunError(
                f"{path}: {name} is not all ones, but {config.network_title} scales by 1"
            )
    # Weights first: they tell more than statistics.
    ordered = sorted(where, key=lambda place: "running_" in place.theirs)
    expected = {place.theirs: place.their_shape for place in ordered}
    there = {name: array.shape for name, array in arrays.items() if name not in ones}
    if wrong := [name for name in {**expected, **there} if expected.get(name) != there.get(name)]:
        told = [
            f"{printable(name, _LONGEST)}: {_shown(there.get(name))} there, "
            f"{_shown(expected.get(name))} expected"
            for name in wrong[:_MOST_TOLD]
        ]
        more = f"; and {len(wrong) - _MOST_TOLD} more" if len(wrong) > _MOST_TOLD else ""
        raise RunError(
            f"{path}: its tensors are not those of {config.network_title} for {classes} classes "
            f"({'; '.join(told)}{more}); choose its --arch, --arch-args and --dataset"
        )
    return {place.ours: place.to_ours(arrays[place.theirs]) for place in where}


def _shown(shape: tuple[int, ...] | None) -> str:
    return "none" if shape is None else str(list(shape))
