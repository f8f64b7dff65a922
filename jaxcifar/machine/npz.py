"""An `.npz` or `.npy` of a known form, read with nothing taken for granted."""

import math
import os
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors


class ArrayForm(NamedTuple):
    """An array that a file must have.

    Attributes:
      dtype: by name, or the kind of it, such as `np.integer`.
      shape: after the first axis.
    """

    dtype: str | type[np.generic]
    shape: tuple[int, ...] = ()

    def fits(self, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
        """Whether an array of that dtype and shape is one."""
        same = isinstance(self.dtype, str) and dtype == np.dtype(self.dtype)
        alike = isinstance(self.dtype, type) and np.issubdtype(dtype, self.dtype)
        return (same or alike) and len(shape) > 0 and shape[1:] == self.shape

    def __str__(self) -> str:
        dtype = self.dtype if isinstance(self.dtype, str) else self.dtype.__name__
        return f"{dtype} of shape {['N', *self.shape]}"


def read_array(path: Path, kind: ArrayForm, remedy: Remedy, most: int) -> np.ndarray:
    """The array of an `.npy`.

    Args:
      path: of the file.
      kind: what it must be.
      remedy: what to do if it is not.
      most: bytes of it.

    Raises:
      RunError, UsageError: it can't be read, or is no such array.
    """
    with report_errors(path, remedy), open_regular_file(path) as file:
        try:
            return _array(file, "it", kind, most)
        except Exception as error:  # a damaged header can raise anything
            raise ValueError(f"is damaged ({str(error) or type(error).__name__})") from error


def read_arrays(
    path: Path, arrays: Mapping[str, ArrayForm], remedy: Remedy, most: int
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
    with report_errors(path, remedy), open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise ValueError(f"has more than {most:,} bytes")
        try:
            with zipfile.ZipFile(file) as archive:
                read = {name: _member(archive, name, kind, most) for name, kind in arrays.items()}
        except Exception as error:  # a hostile or damaged archive can raise anything
            raise ValueError(f"is damaged ({str(error) or type(error).__name__})") from error
        if len({len(array) for array in read.values()}) != 1:
            raise ValueError("has arrays that differ in length")
    return read


def _member(archive: zipfile.ZipFile, name: str, kind: ArrayForm, most: int) -> np.ndarray:
    with archive.open(f"{name}.npy") as file:
        return _array(file, name, kind, most)


def _array(file: IO[bytes], name: str, kind: ArrayForm, most: int) -> np.ndarray:
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(f"{name} is not of version 1.0 of the npy format")
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    size = math.prod(shape) * dtype.itemsize
    wrong = not kind.fits(dtype, shape) or (fortran_order and len(shape) > 1)
    if wrong or not 0 <= size <= most:
        raise ValueError(f"{name} is not {kind}")
    content = file.read(size)
    if len(content) != size:
        raise ValueError(f"{name} ends too soon")
    return np.frombuffer(content, dtype).reshape(shape)
