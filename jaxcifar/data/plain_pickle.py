"""Pickles taken apart without running them: containers, strings, numbers and plain byte arrays."""

import io
import pickle
from typing import Any, ClassVar

import numpy as np


def load(content: bytes) -> Any:
    """What a pickle holds; its arrays as `Array`, the strings of Python 2 as bytes.

    Raises:
      Exception: of any kind; a hostile or damaged pickle can raise anything.
    """
    return _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle: remembers the type's code."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and flags: of no meaning for single bytes."""


class Array:
    """Stands in for `numpy.ndarray` in a pickle: keeps the state, runs none of NumPy's code."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if it is one of plain bytes."""
        _version, shape, dtype, fortran_order, content = self.state
        if not isinstance(dtype, _Dtype) or dtype.code != "u1" or not isinstance(content, bytes):
            raise ValueError("'data' is no array of bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 of Python 3 writes for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not admitted")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Admits arrays, lists, dictionaries, strings and numbers; every other name is refused."""

    _ADMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): Array,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: Array(),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: Array(),
        ("_codecs", "encode"): _latin1_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted") from None
