"""Safe reading of `.npz` and `.npy` files whose arrays must have a declared dtype and shape."""

import contextlib
import math
import os
import zipfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import IO, NamedTuple

import numpy as np

from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors


class ArrayForm(NamedTuple):
    """The dtype and shape that an array in a file must have.

    Attributes:
      dtype: name of a dtype, or an abstract type such as `np.integer`.
      row_shape: sizes of all axes but the first; the first axis may have any length.
      allowed_sides: other allowed sizes of images, whose `row_shape` ends in (height, width,
        channels). Height and width must be equal. None if no other size is allowed.
    """

    dtype: str | type[np.generic]
    row_shape: tuple[int, ...] = ()
    allowed_sides: range | None = None

    def fits(self, dtype: np.dtype, shape: tuple[int, ...]) -> bool:
        """Return whether an array with this dtype and shape is allowed in the file."""
        if isinstance(self.dtype, str):
            dtype_fits = dtype == np.dtype(self.dtype)
        else:
            dtype_fits = np.issubdtype(dtype, self.dtype)
        return dtype_fits and len(shape) > 0 and self._fits_row_shape(shape[1:])

    def _fits_row_shape(self, row_shape: tuple[int, ...]) -> bool:
        """Return whether `row_shape` is allowed as the shape of an array without its first axis."""
        if row_shape == self.row_shape:
            return True
        if self.allowed_sides is None or len(row_shape) != len(self.row_shape):
            return False
        *leading_sizes, height, width, channels = row_shape
        *needed_leading_sizes, _, _, needed_channels = self.row_shape
        other_axes_fit = leading_sizes == needed_leading_sizes and channels == needed_channels
        return height == width and height in self.allowed_sides and other_axes_fit

    def __str__(self) -> str:
        dtype = self.dtype if isinstance(self.dtype, str) else self.dtype.__name__
        dtype_and_shape = f"{dtype} of shape [{', '.join(['N', *map(str, self.row_shape)])}]"
        if self.allowed_sides is None:
            return dtype_and_shape
        smallest, largest = self.allowed_sides[0], self.allowed_sides[-1]
        return f"{dtype_and_shape}, or squares of {smallest} to {largest} pixels"


def read_array(path: Path, form: ArrayForm, remedy: Remedy, max_bytes: int) -> np.ndarray:
    """Read the array in an untrusted `.npy` file, which must have the dtype and shape of `form`.

    Args:
      path: the file.
      form: dtype and shape that the array must have.
      remedy: the advice and type of the error if the file can't be used.
      max_bytes: maximum size of the array.

    Raises:
      RunError, UsageError: the file can't be read, or its array has another form.
    """
    with report_errors(path, remedy), open_regular_file(path) as file, _report_damage():
        return _read_array(file, "the array", form, max_bytes)


def map_array(path: Path, remedy: Remedy) -> np.ndarray:
    """Map the array in an `.npy` file into memory, read-only, without checking its dtype and shape.

    Args:
      path: the file; links are not followed.
      remedy: the advice and type of the error if the file can't be used.

    Raises:
      RunError, UsageError: the file can't be read, or has no values.
    """
    with report_errors(path, remedy), open_regular_file(path) as file, _report_damage():
        header = read_header(file, array_name="the array")
        content_start = file.tell()
        if header.byte_count == 0 or not header.shape:
            raise ValueError(
                f"the array has shape {header.shape} with no rows, but needs at least one"
            )
        if os.fstat(file.fileno()).st_size < content_start + header.byte_count:
            raise ValueError("the array ends too soon")
        return np.memmap(file, header.dtype, "r", content_start, header.shape)


def read_arrays(
    path: Path, forms: Mapping[str, ArrayForm], remedy: Remedy, max_bytes: int
) -> dict[str, np.ndarray]:
    """Read the arrays of an untrusted `.npz` file by name; all must have the same length.

    Memory is allocated for an array only if its header has the declared form and its content is
    complete.

    Args:
      path: the file.
      forms: name -> dtype and shape of the arrays that the file must have.
      remedy: the advice and type of the error if the file can't be used.
      max_bytes: maximum size of the file, and of each array.

    Raises:
      RunError, UsageError: the file can't be read, or an array is missing or has another form.
    """
    with report_errors(path, remedy), open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > max_bytes:
            raise ValueError(f"has more than {max_bytes:,} bytes")
        with _report_damage():
            arrays = _read_archive(file, forms, max_bytes)
        lengths = {len(array) for array in arrays.values()}
        if len(lengths) != 1:
            raise ValueError("has arrays that differ in length")
    return arrays


@contextlib.contextmanager
def _report_damage() -> Iterator[None]:
    """Turn any error in the `with` block into a `ValueError`: a damaged file can raise anything."""
    try:
        yield
    except Exception as error:
        reason = str(error) or type(error).__name__
        raise ValueError(f"is damaged ({reason})") from error


def _read_archive(
    file: IO[bytes], forms: Mapping[str, ArrayForm], max_bytes: int
) -> dict[str, np.ndarray]:
    """Read the array of each name in `forms` from an open `.npz` file."""
    arrays = {}
    with zipfile.ZipFile(file) as archive:
        for name, form in forms.items():
            with archive.open(f"{name}.npy") as member:
                arrays[name] = _read_array(member, name, form, max_bytes)
    return arrays


def _read_array(file: IO[bytes], array_name: str, form: ArrayForm, max_bytes: int) -> np.ndarray:
    """Read an array in the `.npy` format from an open file, after checking its header."""
    header = read_header(file, array_name)
    if not form.fits(header.dtype, header.shape) or header.byte_count > max_bytes:
        raise ValueError(f"{array_name} is not {form}")
    return read_content(file, array_name, header)


class ArrayHeader(NamedTuple):
    """The shape and dtype of an array in a file."""

    shape: tuple[int, ...]
    dtype: np.dtype

    @property
    def byte_count(self) -> int:
        """Number of bytes of the array's content."""
        return math.prod(self.shape) * self.dtype.itemsize


def read_header(file: IO[bytes], array_name: str) -> ArrayHeader:
    """Read the header of an array in the `.npy` format.

    Args:
      file: a file, positioned at the header; afterwards positioned at the array's content.
      array_name: name of the array, for the message.

    Raises:
      ValueError: the file is damaged, or the array has Python objects or is in Fortran order.
    """
    if np.lib.format.read_magic(file) != (1, 0):
        raise ValueError(
            f"{array_name} is not of version 1.0 of the npy format (save it again with np.save)"
        )
    shape, fortran_order, dtype = np.lib.format.read_array_header_1_0(file)
    if dtype.hasobject:
        raise ValueError(
            f"{array_name} is not a plain array: pickled objects are not read (write text as "
            f"{array_name}.astype(str), numbers as {array_name}.astype(int))"
        )
    if fortran_order and len(shape) > 1:
        raise ValueError(
            f"{array_name} is not in C order (save np.ascontiguousarray(ARRAY) instead)"
        )
    if min(shape, default=0) < 0:
        raise ValueError(f"{array_name} is damaged: its shape {shape} has a negative number")
    return ArrayHeader(shape, dtype)


def read_content(file: IO[bytes], array_name: str, header: ArrayHeader) -> np.ndarray:
    """Read the content of an array, after its header, from an open file in the `.npy` format.

    Memory is allocated only for content that exists.

    Raises:
      ValueError: the content is shorter than the header says.
    """
    content = file.read(header.byte_count)
    if len(content) != header.byte_count:
        raise ValueError(f"{array_name} ends too soon")
    return np.frombuffer(content, header.dtype).reshape(header.shape)
