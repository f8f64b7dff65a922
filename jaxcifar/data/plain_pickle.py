"""Read the pickled batches of a CIFAR archive without running code that the pickle names.

The standard unpickler is not safe even if it imports nothing: a few bytes make it reserve any
amount of memory, or compute a hash for ever. Here the operations are counted and checked first.
Python's own unpickler then reads the pickle, with the few operations replaced that could do harm.
"""

import io
import pickle
import pickletools
from collections.abc import Callable
from typing import Any, ClassVar

import numpy as np

from jaxcifar.array_types import Shaped
from jaxcifar.data.archive_errors import RefusedArchiveError

_MAX_OPERATIONS = 500_000  # the training batch of CIFAR-100 has 250,000
_ALLOWED_OPERATIONS = frozenset(
    """
    PROTO FRAME STOP MARK NONE NEWTRUE NEWFALSE
    INT BININT BININT1 BININT2 LONG LONG1 LONG4 FLOAT BINFLOAT
    STRING BINSTRING SHORT_BINSTRING UNICODE BINUNICODE SHORT_BINUNICODE BINUNICODE8
    BINBYTES SHORT_BINBYTES BINBYTES8
    EMPTY_LIST LIST APPEND APPENDS EMPTY_TUPLE TUPLE TUPLE1 TUPLE2 TUPLE3
    EMPTY_DICT DICT SETITEM SETITEMS
    PUT BINPUT LONG_BINPUT MEMOIZE GET BINGET LONG_BINGET
    GLOBAL STACK_GLOBAL REDUCE BUILD
    """.split()  # noqa: SIM905 (a table is easier to read)
)


def load_pickle(content: bytes) -> Any:
    """Return the object in an untrusted pickle without running code that the pickle names.

    Arrays become `PickledArray`, and strings of Python 2 become bytes. Memory and time are bounded
    by the length of the content.

    Raises:
      Exception: the pickle is damaged or hostile; the exception can have any type.
    """
    for count, (operation, _, _) in enumerate(pickletools.genops(content)):
        if count == _MAX_OPERATIONS:
            raise RefusedArchiveError("the pickle has far more operations than a CIFAR batch")
        if operation.name not in _ALLOWED_OPERATIONS:
            raise RefusedArchiveError(
                f"the pickle has the operation {operation.name}, which no CIFAR batch has"
            )
    return _BatchUnpickler(content).load()


class _PickledDtype:
    """Replaces `numpy.dtype` in a pickle."""

    def __init__(self, code: Any, *options: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code


class PickledArray:
    """Replaces `numpy.ndarray` in a pickle, so that none of NumPy's code runs."""

    state: Any = None

    def to_numpy(self) -> Shaped[np.ndarray, "..."]:
        """Return this array, read from a pickle, as a NumPy array with two axes, of uint8.

        Raises:
          RefusedArchiveError: the array has another type than uint8, or not two axes.
        """
        _version, shape, dtype, fortran_order, content = self.state
        is_uint8 = isinstance(dtype, _PickledDtype) and dtype.code == "u1"
        if not is_uint8 or type(content) is not bytes:
            raise RefusedArchiveError("'data' is not an array of uint8")
        are_integers = type(shape) is tuple and all(type(length) is int for length in shape)
        if not are_integers or len(shape) != 2 or min(shape) < 0:
            raise RefusedArchiveError("'data' is not an array with two axes")
        if shape[0] * shape[1] != len(content):
            raise RefusedArchiveError("the shape of the array 'data' does not fit its content")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


class _BatchUnpickler(pickle._Unpickler):
    """Python's own unpickler, without imports; it checks dict keys and object states."""

    stack: list[Any]
    pop_mark: Callable[[], list[Any]]

    def __init__(self, content: bytes) -> None:
        super().__init__(io.BytesIO(content), encoding="bytes")
        self._encodable_characters_left = len(content)

    def find_class(self, module: str, name: str) -> Any:
        """Return the harmless replacement for a class or function that the pickle imports."""
        replacements: dict[tuple[str, str], Any] = {
            ("numpy.core.multiarray", "_reconstruct"): lambda *arguments: PickledArray(),
            ("numpy._core.multiarray", "_reconstruct"): lambda *arguments: PickledArray(),
            ("numpy", "ndarray"): PickledArray,
            ("numpy", "dtype"): _PickledDtype,
            ("_codecs", "encode"): self._encode_latin1,
        }
        if (module, name) not in replacements:
            full_name_in_quotes = ascii(f"{module}.{name}"[:80])
            full_name = full_name_in_quotes[1:-1]
            raise RefusedArchiveError(f"the pickle imports {full_name}, which is not allowed")
        return replacements[module, name]

    def _encode_latin1(self, text: str, encoding: str) -> bytes:
        """Return text as bytes; pickles of Python 3 call this to restore `bytes` objects."""
        self._encodable_characters_left -= len(text)
        if self._encodable_characters_left < 0:
            raise RefusedArchiveError(
                "the pickle encodes the same text too often for a CIFAR batch"
            )
        if encoding != "latin1":
            raise RefusedArchiveError(
                f"the pickle encodes bytes as {encoding[:20]!a}, but a CIFAR batch as 'latin1'"
            )
        return text.encode("latin1")

    def _load_build(self) -> None:
        """Set an object's state (operation BUILD) without running the object's own code."""
        state = self.stack.pop()
        target = self.stack[-1]
        if isinstance(target, PickledArray):
            target.state = state
        elif not isinstance(target, _PickledDtype):  # its state is the byte order
            raise RefusedArchiveError(
                "the pickle sets the state of an object that is not an array, unlike a CIFAR batch"
            )

    def _load_setitem(self) -> None:
        value = self.stack.pop()
        key = self.stack.pop()
        self._update_dict([key, value])

    def _load_setitems(self) -> None:
        self._update_dict(self.pop_mark())

    def _load_dict(self) -> None:
        keys_and_values = self.pop_mark()
        self.stack.append({})
        self._update_dict(keys_and_values)

    def _update_dict(self, keys_and_values: list[Any]) -> None:
        keys, values = keys_and_values[::2], keys_and_values[1::2]
        target = self.stack[-1]
        # The hash of another key may take for ever.
        has_string_keys = all(type(key) in (str, bytes) for key in keys)
        if type(target) is not dict or not has_string_keys:
            raise RefusedArchiveError(
                "the pickle has a dictionary with keys that are not strings, unlike a CIFAR batch"
            )
        target.update(zip(keys, values, strict=True))

    dispatch: ClassVar[dict[int, Any]] = {
        **pickle._Unpickler.dispatch,
        pickle.BUILD[0]: _load_build,
        pickle.SETITEM[0]: _load_setitem,
        pickle.SETITEMS[0]: _load_setitems,
        pickle.DICT[0]: _load_dict,
    }
