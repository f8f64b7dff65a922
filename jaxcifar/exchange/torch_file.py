"""Read the tensors of a file that `torch.save` wrote as NumPy arrays; the file is not trusted."""

import os
import re
import zipfile
from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np

from jaxcifar.exchange.state_dict_names import printable_name
from jaxcifar.machine.name_lists import join_first

_MAX_ARCHIVE_MEMBERS = 10_000  # one per tensor
_STATE_DICT_KEYS = ("state_dict", "model_state_dict", "model", "net")  # in a checkpoint
_MAX_NAMES_SHOWN = 3  # of state dicts in a message


def read_torch_file(file: BufferedReader) -> dict[str, np.ndarray]:
    """Return the tensors of a `torch.save` file by name; no code from the file is executed."""
    import torch

    check_torch_archive(file)
    file_size = os.fstat(file.fileno()).st_size
    try:
        content = torch.load(file, map_location="cpu", weights_only=True)
    except Exception as error:  # damaged and hostile files can raise anything
        raise ValueError(
            f"the file is damaged or has something other than tensors ({_torch_reason(error)})"
        ) from error
    if isinstance(content, Mapping):
        content = _find_state_dict(content)
    if not isinstance(content, Mapping):
        raise ValueError(f"the file has a {type(content).__name__} instead of a state dict")
    arrays = {}
    size_of_tensors = 0
    for name, entry in content.items():
        is_training_record = isinstance(name, str) and isinstance(entry, int | float)
        if is_training_record:  # such as the epoch
            continue
        tensor = _require_tensor(name, entry)
        # A tensor such as `torch.zeros(1).expand(10**9)` needs far more memory as an array.
        size_of_tensors += tensor.nbytes
        if size_of_tensors > file_size:
            raise ValueError("tensors in the file share their memory")
        tensor = tensor.detach()
        if tensor.is_floating_point():
            tensor = tensor.float()
        arrays[name] = tensor.numpy()
    return arrays


def _require_tensor(name: Any, entry: Any) -> Any:
    """Return an entry of a state dict; raise ValueError if it is no plain tensor with a name."""
    import torch

    if not isinstance(name, str) or not isinstance(entry, torch.Tensor):
        raise ValueError(f"the entry {printable_name(name)} is no tensor")
    is_dense = entry.layout == torch.strided and entry.device.type == "cpu"
    if not is_dense or entry.is_quantized:
        raise ValueError(f"{printable_name(name)} is a sparse or quantised tensor, not a plain one")
    return entry


def _find_state_dict(checkpoint: Mapping[Any, Any]) -> Mapping[Any, Any]:
    """Return the entry of a checkpoint that is a state dict.

    If the checkpoint has no such entry, it may be a state dict itself, and is returned.

    Raises:
      ValueError: several entries have tensors, and none has a usual name such as "model".
    """
    for key in _STATE_DICT_KEYS:
        if isinstance(checkpoint.get(key), Mapping):
            return checkpoint[key]
    if _has_weights(checkpoint):
        return checkpoint
    state_dicts = {
        name: entry
        for name, entry in checkpoint.items()
        if isinstance(entry, Mapping) and _has_weights(entry)
    }
    if len(state_dicts) > 1:
        names = join_first([printable_name(name) for name in state_dicts], _MAX_NAMES_SHOWN)
        raise ValueError(
            f"the file has {len(state_dicts)} state dicts ({names}); save one as a file"
        )
    if not state_dicts:
        return checkpoint
    [state_dict] = state_dicts.values()
    return state_dict


def _has_weights(entries: Mapping[Any, Any]) -> bool:
    from torch import Tensor

    return any(isinstance(entry, Tensor) and entry.ndim > 0 for entry in entries.values())


def _torch_reason(error: Exception) -> str:
    """Return the reason why PyTorch can't read a file, from its error message.

    PyTorch's advice to execute the code in the file is left out.
    """
    explanation = str(error).rpartition("WeightsUnpickler error: ")[2].strip()
    first_sentence = re.split(r"\.\s|\n", explanation, maxsplit=1)[0]
    if "trust" in first_sentence:
        return "PyTorch does not read it"
    return printable_name(first_sentence)


def check_torch_archive(file: BufferedReader) -> None:
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
    is_larger_than_file = content_size > os.fstat(file.fileno()).st_size
    has_too_many_members = len(members) > _MAX_ARCHIVE_MEMBERS
    if is_compressed or has_too_many_members or is_larger_than_file:
        raise ValueError("the file is not packed as torch.save packs files")
    file.seek(0)
