"""Types of arrays with their shapes, such as `UInt8[Array, "batch height width 3"]`.

The names are those of jaxtyping. Type checkers read each name as the plain array type. The tests
switch on jaxtyping's import hook, which checks types and shapes at every call. Outside the tests
each name returns the plain array type, and jaxtyping need not be installed. Importing it would take
40 ms in commands that do not import JAX.
"""

import sys
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from typing import Annotated as Bool
    from typing import Annotated as Float
    from typing import Annotated as Float32
    from typing import Annotated as Float64
    from typing import Annotated as Int
    from typing import Annotated as Int32
    from typing import Annotated as Int64
    from typing import Annotated as Integer
    from typing import Annotated as Key
    from typing import Annotated as Shaped
    from typing import Annotated as UInt8
elif "jaxtyping" in sys.modules:  # the tests import jaxtyping first, for its import hook
    _jaxtyping = sys.modules["jaxtyping"]
    Bool = _jaxtyping.Bool
    Float = _jaxtyping.Float
    Float32 = _jaxtyping.Float32
    Float64 = _jaxtyping.Float64
    Int = _jaxtyping.Int
    Int32 = _jaxtyping.Int32
    Int64 = _jaxtyping.Int64
    Integer = _jaxtyping.Integer
    Key = _jaxtyping.Key
    Shaped = _jaxtyping.Shaped
    UInt8 = _jaxtyping.UInt8
else:

    class _Unchecked:
        def __getitem__(self, array_and_shape: tuple[Any, str]) -> Any:
            array, _ = array_and_shape
            return array

    Bool = _Unchecked()
    Float = _Unchecked()
    Float32 = _Unchecked()
    Float64 = _Unchecked()
    Int = _Unchecked()
    Int32 = _Unchecked()
    Int64 = _Unchecked()
    Integer = _Unchecked()
    Key = _Unchecked()
    Shaped = _Unchecked()
    UInt8 = _Unchecked()

__all__ = [
    "Bool",
    "Float",
    "Float32",
    "Float64",
    "Int",
    "Int32",
    "Int64",
    "Integer",
    "Key",
    "Shaped",
    "UInt8",
]
