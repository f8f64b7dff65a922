"""Pickles taken apart without running them: containers, strings, numbers and plain byte arrays.

Not even the standard unpickler is run: a few bytes can have it hash without end, or reserve any
amount of memory. `pickletools` says what the operations of a pickle are, and the few that an honest
batch consists of are done here, one after the other, without recursion.
"""

import pickletools
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.array_types import Shaped

# The training batch of CIFAR-100 takes 250,000: a label one or two, a name that is remembered two.
_MAX_OPERATIONS = 500_000


def load(content: bytes) -> Any:
    """What a pickle holds; its arrays as `PickledArray`, the strings of Python 2 as bytes.

    Memory and time are bounded by the length of the content and by `_MAX_OPERATIONS`.

    Raises:
      Exception: of any kind; a hostile or damaged pickle can raise anything.
    """
    machine = _Machine(room=len(content))
    for count, (operation, argument, _) in enumerate(pickletools.genops(content)):
        if count == _MAX_OPERATIONS:
            raise ValueError("far more operations than a batch of a CIFAR has")
        if operation.name == "STOP":
            return machine.stack.pop()
        machine.do(operation.name, argument)
    raise EOFError("it ends too soon")


class _Global(NamedTuple):
    """A name that a pickle would import."""

    module: str
    name: str


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle: remembers the type's code."""

    def __init__(self, code: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code


class PickledArray:
    """Stands in for `numpy.ndarray` in a pickle: keeps the state, runs none of NumPy's code."""

    state: Any = None

    def to_numpy(self) -> Shaped[np.ndarray, "..."]:
        """The array, if it is one of plain bytes with two axes.

        Raises:
          ValueError: it is another.
        """
        _version, shape, dtype, fortran_order, content = self.state
        if not isinstance(dtype, _Dtype) or dtype.code != "u1" or type(content) is not bytes:
            raise ValueError("'data' is no array of bytes")
        whole = type(shape) is tuple and all(type(length) is int for length in shape)
        if not whole or len(shape) != 2 or min(shape) < 0 or shape[0] * shape[1] != len(content):
            raise ValueError("'data' is of another shape than its content")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


_VALUES = {
    *("INT", "BININT", "BININT1", "BININT2", "LONG", "LONG1", "LONG4", "FLOAT", "BINFLOAT"),
    *("UNICODE", "BINUNICODE", "SHORT_BINUNICODE", "BINUNICODE8"),
    *("BINBYTES", "SHORT_BINBYTES", "BINBYTES8"),
}
_PYTHON_2_STRINGS = {"STRING", "BINSTRING", "SHORT_BINSTRING"}
_NEW: dict[str, Callable[[], Any]] = {
    "NONE": lambda: None,
    "NEWTRUE": lambda: True,
    "NEWFALSE": lambda: False,
    "EMPTY_LIST": list,
    "EMPTY_DICT": dict,
    "EMPTY_TUPLE": tuple,
}
_TUPLES = {"TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}
_RECONSTRUCT = {_Global(f"numpy.{core}.multiarray", "_reconstruct") for core in ("core", "_core")}


class _Machine:
    """The stack of an unpickler, and what it remembers.

    Args:
      room: how many bytes strings may take that are encoded anew.
    """

    def __init__(self, room: int) -> None:
        self.stack: list[Any] = []
        self._marks: list[list[Any]] = []
        self._memo: dict[int, Any] = {}
        self._room = room

    def do(self, name: str, argument: Any) -> None:
        """Carry out one operation.

        Raises:
          Exception: of any kind.
        """
        if name in _VALUES:
            self.stack.append(argument)
        elif name in _PYTHON_2_STRINGS:
            self.stack.append(argument.encode("latin1"))
        elif name in _NEW:
            self.stack.append(_NEW[name]())
        elif name in _TUPLES:
            self.stack[-_TUPLES[name] :] = [tuple(self.stack[-_TUPLES[name] :])]
        elif name in ("PUT", "BINPUT", "LONG_BINPUT"):
            self._memo[argument] = self.stack[-1]
        elif name in ("GET", "BINGET", "LONG_BINGET"):
            self.stack.append(self._memo[argument])
        elif name not in ("PROTO", "FRAME"):
            getattr(self, f"_{name.lower()}", self._refuse)(argument)

    def _refuse(self, argument: Any) -> None:
        raise ValueError("has operations that no batch of a CIFAR needs")

    def _memoize(self, _: Any) -> None:
        self._memo[len(self._memo)] = self.stack[-1]

    def _mark(self, _: Any) -> None:
        self._marks.append(self.stack)
        self.stack = []

    def _since_mark(self) -> list[Any]:
        items, self.stack = self.stack, self._marks.pop()
        return items

    def _tuple(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(tuple(items))

    def _list(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append(items)

    def _dict(self, _: Any) -> None:
        items = self._since_mark()
        self.stack.append({})
        self._set(items)

    def _append(self, _: Any) -> None:
        self._extend([self.stack.pop()])

    def _appends(self, _: Any) -> None:
        self._extend(self._since_mark())

    def _extend(self, items: list[Any]) -> None:
        if type(self.stack[-1]) is not list:
            raise ValueError("appends to what is no list")
        self.stack[-1].extend(items)

    def _setitem(self, _: Any) -> None:
        value, key = self.stack.pop(), self.stack.pop()
        self._set([key, value])

    def _setitems(self, _: Any) -> None:
        self._set(self._since_mark())

    def _set(self, items: list[Any]) -> None:
        keys, target = items[::2], self.stack[-1]
        # Of other keys the hash may be known before, or take for ever.
        if type(target) is not dict or not all(type(key) in (str, bytes) for key in keys):
            raise ValueError("has a dictionary whose keys are no strings")
        target.update(zip(keys, items[1::2], strict=True))

    def _global(self, argument: str) -> None:
        self.stack.append(_Global(*argument.split(" ")))

    def _stack_global(self, _: Any) -> None:
        name, module = self.stack.pop(), self.stack.pop()
        if type(name) is not str or type(module) is not str:
            raise ValueError("imports what is no name")
        self.stack.append(_Global(module, name))

    def _reduce(self, _: Any) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not _Global:
            raise ValueError("calls what is no name")
        if function in _RECONSTRUCT:
            self.stack.append(PickledArray())
        elif function == _Global("numpy", "dtype"):
            self.stack.append(_Dtype(arguments[0]))
        elif function == _Global("_codecs", "encode"):
            self.stack.append(self._latin1(*arguments))
        else:
            name = ascii(".".join(function)[:80])[1:-1]
            raise ValueError(f"{name} is not admitted")

    def _latin1(self, text: str, encoding: str) -> bytes:
        """What protocol 2 of Python 3 writes for bytes."""
        self._room -= len(text)
        if encoding != "latin1" or self._room < 0:
            raise ValueError("has strings in another encoding than latin1, or the same ones often")
        return text.encode("latin1")

    def _build(self, _: Any) -> None:
        state, target = self.stack.pop(), self.stack[-1]
        if isinstance(target, PickledArray):
            target.state = state
        elif not isinstance(target, _Dtype):  # whose byte order has no meaning for single bytes
            raise ValueError("sets the state of what has none")
