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

# fmt: off
__all__ = [
    "Bool", "Float", "Float32", "Float64", "Int", "Int32", "Int64", "Integer", "Key", "Shaped",
    "UInt8",
]
# fmt: on


class _ArrayTypeWithoutShape:
    """A replacement for jaxtyping's types: `Float[Array, "batch"]` is `Array`."""

    def __getitem__(self, array_and_shape: tuple[Any, str]) -> Any:
        array, _ = array_and_shape
        return array


if not TYPE_CHECKING:
    # The tests import jaxtyping before this module, because of its import hook.
    jaxtyping = sys.modules.get("jaxtyping")
    for _name in __all__:
        globals()[_name] = getattr(jaxtyping, _name) if jaxtyping else _ArrayTypeWithoutShape()
