"""Read the tensors of a safetensors file as NumPy arrays."""

from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np
import safetensors

from jaxcifar.errors import first_line
from jaxcifar.exchange.state_dict_names import printable_name

_NUMBER_TYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"},
}


def read_safetensors(file: BufferedReader) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name; bfloat16 becomes float32.

    Raises:
      ValueError: the file is damaged, or a tensor has a dtype that is not supported.
    """
    try:
        entries = safetensors.deserialize(file.read())
    except Exception as error:
        raise ValueError(f"the file is damaged ({first_line(error)})") from error
    return {name: _array(name, entry) for name, entry in entries}


def _array(name: str, entry: Mapping[str, Any]) -> np.ndarray:
    """Convert a tensor of a safetensors file to an array; bfloat16 becomes float32.

    Args:
      name: name of the tensor, for the error message.
      entry: the tensor: its "dtype", "shape" and "data" (bytes).
    """
    number_type, shape = entry["dtype"], entry["shape"]
    data = entry["data"]
    if number_type == "BF16":  # the first 16 bits of a float32
        upper_bits = np.frombuffer(data, "<u2").astype(np.uint32)
        return (upper_bits << 16).view(np.float32).reshape(shape)
    if number_type not in _NUMBER_TYPES:
        raise ValueError(
            f"the tensor {printable_name(name)} has numbers of the type {number_type}; "
            "save it as float32"
        )
    return np.frombuffer(data, _NUMBER_TYPES[number_type]).reshape(shape)
