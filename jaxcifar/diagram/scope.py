"""The loops, modules and functions around an equation in a traced program."""

import dataclasses
from typing import Self

from jaxcifar.diagram.operation import FunctionCall


@dataclasses.dataclass(frozen=True)
class Scope:
    """The loops, modules and functions around an equation in a traced program.

    Attributes:
      repeat_count: how often loops repeat the equation; 0 if it is not counted.
      call_number: number of the innermost module call around the equation; None outside of modules.
      function_calls: calls of jitted functions around the equation, outermost first.
    """

    repeat_count: int = 1
    call_number: int | None = None
    function_calls: tuple[FunctionCall, ...] = ()

    def in_module_call(self, call_number: int) -> Self:
        """Return a copy of this scope for equations inside a module call."""
        return dataclasses.replace(self, call_number=call_number)

    def in_function_call(self, function_call: FunctionCall) -> Self:
        """Return a copy of this scope for equations inside a call of a jitted function."""
        function_calls = (*self.function_calls, function_call)
        return dataclasses.replace(self, function_calls=function_calls)

    def repeated(self, step_count: int) -> Self:
        """Return a copy of this scope for equations inside a loop of `step_count` steps."""
        return dataclasses.replace(self, repeat_count=self.repeat_count * step_count)

    def uncounted(self) -> Self:
        """Return a copy of this scope for equations that do not count, as in an unused branch."""
        return dataclasses.replace(self, repeat_count=0)
