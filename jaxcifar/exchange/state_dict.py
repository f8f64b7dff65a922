"""Read PyTorch state dicts from files that are not trusted."""

import hashlib
import os
import re
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.exchange.mirrored_weights import collapse, config_without_mirroring, is_mirrored
from jaxcifar.exchange.pytorch_names import COUNTER, array_mappings, scales_of_one
from jaxcifar.exchange.safetensors_arrays import read_safetensors
from jaxcifar.exchange.state_dict_names import (
    describe_differences,
    describe_large_stem,
    printable_name,
    remove_prefix,
    rename_torchvision_layers,
)
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.training import network

_REMEDY = Remedy("give a state dict, as torch.save(network.state_dict(), FILE) writes it")
_MAX_BYTES = 2**32
_MAX_FILES = 10_000  # in the archive, one per tensor
_CHECKPOINT_KEYS = ("state_dict", "model_state_dict", "model", "net")  # of the state dict


class StateDict(NamedTuple):
    """A state dict from a file.

    Attributes:
      arrays: float32 arrays by their PyTorch names, without `prefix`.
      sha256: the SHA-256 of the file.
      prefix: the prefix that all names in the file share, such as `module.`.
    """

    arrays: dict[str, np.ndarray]
    sha256: str
    prefix: str = ""


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from a file written by `torch.save`, or from a `.safetensors` file.

    In a checkpoint, the state dict may be the entry `net`, `state_dict`, `model_state_dict` or
    `model`, or the only entry with tensors. Counters such as `n_averaged` are left out. The prefix
    that all names share, such as `module.`, is removed.

    Raises:
      RunError: the file can't be read, or PyTorch is not installed.
    """
    is_safetensors = path.suffix == ".safetensors"
    if not is_safetensors:
        import_extra("torch")
    with report_errors(path, _REMEDY), open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_BYTES:
            raise ValueError(f"the file has more than the {_MAX_BYTES:,} bytes that are read")
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        content = read_safetensors(file) if is_safetensors else _read_torch(file)
        arrays = {name: array for name, array in content.items() if not _is_counter(name, array)}
        if not arrays:
            raise ValueError("the file has no tensors")
        arrays, prefix = remove_prefix(arrays)
        for name, array in arrays.items():
            with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite
                float32_array = array.astype(np.float32)
            if array.dtype.kind != "f" or not np.isfinite(float32_array).all():
                raise ValueError(
                    f"the tensor {printable_name(name)} has values that are not finite numbers"
                )
            arrays[name] = float32_array
        return StateDict(arrays, digest, prefix)


def _is_counter(name: str, array: np.ndarray) -> bool:
    """Return whether a tensor counts steps or epochs; such a tensor is no weight of the network."""
    is_single_integer = array.ndim == 0 and array.dtype.kind in "iub"
    return is_single_integer or name.rpartition(".")[2] == COUNTER


def _read_torch(file: BufferedReader) -> dict[str, np.ndarray]:
    """Return the tensors of a `torch.save` file by name; no code from the file is executed."""
    import torch

    _check_archive(file)
    bytes_left = os.fstat(file.fileno()).st_size
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files can raise anything
        raise ValueError(
            f"the file is damaged or has something other than tensors ({_reason(error)})"
        ) from error
    if isinstance(content, Mapping):
        content = _find_state_dict(content)
    if not isinstance(content, Mapping):
        raise ValueError(f"the file has a {type(content).__name__} instead of a state dict")
    arrays = {}
    for name, entry in content.items():
        if isinstance(name, str) and isinstance(entry, int | float):
            continue  # a number of a trainer, such as the epoch
        tensor = _checked_tensor(name, entry)
        # A view can be far larger than the memory that it shows.
        bytes_left -= tensor.nbytes
        if bytes_left < 0:
            raise ValueError("tensors in the file share their memory")
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()
        arrays[name] = tensor.numpy()
    return arrays


def _checked_tensor(name: Any, entry: Any) -> Any:
    """Check that an entry of a state dict is a plain tensor with a name, and return the tensor."""
    import torch

    if not isinstance(name, str) or not isinstance(entry, torch.Tensor):
        raise ValueError(f"the entry {printable_name(name)} is no tensor")
    is_dense = entry.layout == torch.strided and entry.device.type == "cpu"
    if not is_dense or entry.is_quantized:
        raise ValueError(f"{printable_name(name)} is a sparse or quantised tensor, not a plain one")
    return entry


def _find_state_dict(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the state dict inside a checkpoint; without one, return the checkpoint itself.

    Raises:
      ValueError: several entries have tensors, and none has a usual name such as "model".
    """
    for key in _CHECKPOINT_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            return checkpoint[key]
    if _has_weights(checkpoint):
        return checkpoint
    entries = [
        name
        for name, entry in checkpoint.items()
        if isinstance(entry, Mapping) and _has_weights(entry)
    ]
    if len(entries) > 1:
        names = ", ".join(printable_name(name) for name in entries[:3])
        raise ValueError(f"the file has {len(entries)} state dicts ({names}); save one as a file")
    return checkpoint[entries[0]] if entries else checkpoint


def _has_weights(entries: Mapping[Any, Any]) -> bool:
    from torch import Tensor

    return any(isinstance(entry, Tensor) and entry.ndim > 0 for entry in entries.values())


def _reason(error: Exception) -> str:
    """Return the reason in a PyTorch error, without PyTorch's advice to execute the file."""
    explanation = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    first_sentence = re.split(r"\.\s|\n", explanation, maxsplit=1)[0]
    if "trust" in first_sentence:
        return "PyTorch does not read it"
    return printable_name(first_sentence)


def _check_archive(file: BufferedReader) -> None:
    """Check that a PyTorch file is an archive whose content is no larger than the file.

    Raises:
      ValueError: the file is no zip archive, or the content is compressed or larger than the file.
    """
    try:
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
    except Exception as error:  # a hostile archive can raise anything
        raise ValueError("the file is not in the format of torch.save since PyTorch 1.6") from error
    is_compressed = any(member.compress_type != zipfile.ZIP_STORED for member in members)
    content_size = sum(member.file_size for member in members)
    is_too_large = content_size > os.fstat(file.fileno()).st_size
    if is_compressed or len(members) > _MAX_FILES or is_too_large:
        raise ValueError("the file is not packed as torch.save packs files")
    file.seek(0)


def from_state_dict(
    config: Config, classes: int, arrays_like: Mapping[str, Any], state: StateDict, path: Path
) -> dict[str, np.ndarray]:
    """Convert the arrays of a state dict to jaxcifar's names and layouts.

    Args:
      config: the config that names the network.
      classes: number of classes.
      arrays_like: the network's arrays by jaxcifar's names; only their shapes are used.
      state: the state dict.
      path: the state dict's file, for error messages.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: the state dict is of another network, or PyTorch is not installed.
    """
    if is_mirrored(config):
        config = config_without_mirroring(config)
        plain_arrays = named_arrays(
            network.variable_shapes(create_model(config, classes), config.image_size)
        )
        with report_errors(path, Remedy("give --arch-args without mirrored=true")):
            return collapse(from_state_dict(config, classes, plain_arrays, state, path))
    mappings = array_mappings(config, classes, arrays_like)
    scales = scales_of_one(mappings)
    # Weights first: their shapes say more about the network than the shapes of statistics.
    weights_first = sorted(mappings, key=lambda mapping: "running_" in mapping.pytorch_name)
    expected = {mapping.pytorch_name: mapping.pytorch_shape for mapping in weights_first}
    arrays = rename_torchvision_layers(config.arch, state.arrays, expected)
    for name in scales & arrays.keys():
        if not (arrays[name] == 1).all():
            raise RunError(
                f"{path}: the scale {name} is not all ones, but {config.network_title} has no "
                "scales; convert a network whose normalisations have none"
            )
    actual = {name: array.shape for name, array in arrays.items() if name not in scales}
    large_stem = describe_large_stem(expected, actual)
    if large_stem:
        raise RunError(f"{path}: {large_stem}")
    differences = describe_differences(expected, actual, state.prefix)
    if differences:
        raise RunError(
            f"{path}: its tensors are not those of {config.network_title} for {classes} classes "
            f"({differences}); choose its --arch, --arch-args and --dataset"
        )
    return {
        mapping.jaxcifar_name: mapping.to_jaxcifar_layout(arrays[mapping.pytorch_name])
        for mapping in mappings
    }
