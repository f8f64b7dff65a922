"""An `.npz` of a known form, read with nothing taken for granted."""

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.machine.reading import Remedy, opened, telling


class Array(NamedTuple):
    """An array that a file must have: its dtype, and its shape after the first axis."""

    dtype: str
    shape: tuple[int, ...] = ()


def read_arrays(
    path: Path, arrays: Mapping[str, Array], remedy: Remedy, most: int
) -> dict[str, np.ndarray]:
    """The arrays of an `.npz`, which agree in the length of their first axis.

    What a header promises is allocated only if it is what was declared and what follows.

    Args:
      path: of the file.
      arrays: those that it must have, by name.
      remedy: what to do if it has not.
      most: bytes of the file, and of each array.

    Raises:
      RunError, UsageError: it can't be read, or lacks such an array.
    """
    with telling(path, remedy), opened(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"has more than {most:,} bytes")
        try:
            with zipfile.ZipFile(file) as archive:
                read = {name: _array(archive, name, kind, most) for name, kind in arrays.items()}
        except Exception as error:  # a hostile or damaged archive can raise anything
            raise ValueError(f"is damaged ({str(error) or type(error).__name__})") from error
        if len({len(array) for array in read.values()}) != 1:
            raise ValueError("has arrays that differ in length")
    return read


def _array(archive: zipfile.ZipFile, name: str, kind: Array, most: int) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        if np.lib.format.read_magic(file) != (1, 0):
            raise ValueError(f"{name} is not of version 1.0 of the npy format")
        shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
        alike = dtype == np.dtype(kind.dtype) and shape[1:] == kind.shape and len(shape) > 0
        size = math.prod(shape) * dtype.itemsize
        if not alike or (fortran_order and len(shape) > 1) or not 0 <= size <= most:
            raise ValueError(f"{name} is not {kind.dtype} of shape {['N', *kind.shape]}")
        content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{name} ends too soon")
    return np.frombuffer(content, dtype).reshape(shape)
