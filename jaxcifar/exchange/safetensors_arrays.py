"""Read the tensors of a safetensors file as NumPy arrays."""

from collections.abc import Mapping
from io import BufferedReader
from typing import Any

import numpy as np
import safetensors

from jaxcifar.errors import first_line
from jaxcifar.exchange.state_dict_names import printable_name
from jaxcifar.runs.weights import read_header

_NUMPY_DTYPES = {
    **{"F64": "<f8", "F32": "<f4", "F16": "<f2", "BOOL": "?"},
    **{"I64": "<i8", "I32": "<i4", "I16": "<i2", "I8": "<i1", "U8": "<u1"},
}


def check_safetensors_header(file: BufferedReader) -> None:
    """Check that a safetensors file has a header in JSON; its tensors are not read.

    Raises:
      ValueError: the file is damaged.
    """
    try:
        header = read_header(file)
    except ValueError as error:
        raise ValueError(f"the file is damaged ({first_line(error)})") from error
    if not isinstance(header, dict):
        raise ValueError("the file is damaged (its header is no JSON object)")


def read_safetensors(file: BufferedReader) -> dict[str, np.ndarray]:
    """Return the tensors of a safetensors file by name; bfloat16 becomes float32.

    Raises:
      ValueError: the file is damaged, or a tensor has a dtype that is not supported.
    """
    try:
        tensor_entries = safetensors.deserialize(file.read())
    except Exception as error:
        raise ValueError(f"the file is damaged ({first_line(error)})") from error
    return {name: _convert_to_array(name, tensor_entry) for name, tensor_entry in tensor_entries}


def _convert_to_array(name: str, tensor_entry: Mapping[str, Any]) -> np.ndarray:
    """Convert a tensor of a safetensors file to an array; bfloat16 becomes float32.

    Args:
      name: name of the tensor, for the error message.
      tensor_entry: the tensor: its "dtype", "shape" and "data" (bytes).
    """
    dtype_name, shape = tensor_entry["dtype"], tensor_entry["shape"]
    tensor_bytes = tensor_entry["data"]
    if dtype_name == "BF16":  # the first 16 bits of a float32
        upper_bits = np.frombuffer(tensor_bytes, "<u2").astype(np.uint32)
        return (upper_bits << 16).view(np.float32).reshape(shape)
    if dtype_name not in _NUMPY_DTYPES:
        raise ValueError(
            f"the tensor {printable_name(name)} has numbers of the type {dtype_name}; "
            "save it as float32"
        )
    return np.frombuffer(tensor_bytes, _NUMPY_DTYPES[dtype_name]).reshape(shape)
