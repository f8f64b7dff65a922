"""Types of arrays with their shapes, such as `UInt8[Array, "batch height width 3"]`.

The names are those of jaxtyping. Type checkers read them as the type of the array alone. The tests
switch on jaxtyping's import hook, which checks the values and shapes at every call. In use they are
the type of the array alone, and jaxtyping need not be installed: its import takes 40 ms where JAX
is not imported before.
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
elif "jaxtyping" in sys.modules:  # who installs its import hook has imported it
    from jaxtyping import (
        Bool,
        Float,
        Float32,
        Float64,
        Int,
        Int32,
        Int64,
        Integer,
        Key,
        Shaped,
        UInt8,
    )
else:

    class _Unchecked:
        def __getitem__(self, array_and_shape: tuple[Any, str]) -> Any:
            array, _ = array_and_shape
            return array

    Bool = Float = Float32 = Float64 = _Unchecked()
    Int = Int32 = Int64 = Integer = UInt8 = _Unchecked()
    Key = Shaped = _Unchecked()

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
