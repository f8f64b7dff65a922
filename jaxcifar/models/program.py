"""A traced program as a flat list of operations: functions, loops and branches laid out in line."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.models.count import multiply_accumulates

# With a number behind it, the scope that a module call's equations are traced in.
SCOPE = "module-call-"


@dataclasses.dataclass(frozen=True)
class Operation:
    """An equation of the program; values have numbers.

    Attributes:
      equation: with its parameters, and the shapes of what enters and leaves.
      inputs: a literal among them is None.
      outputs: no other operation has them.
      times: how often loops repeat it.
      call: the number of the innermost module call around it.
      functions: name and number of each call of a jitted function around it, outermost first.
      depends: whether it depends on the image.
      macs: multiply-accumulates, `times` left out; none where a pattern of zeros and ones, made of
        indices, only picks values.
    """

    equation: JaxprEqn
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    times: int
    call: int | None
    functions: tuple[tuple[str, int], ...]
    depends: bool
    macs: int

    @property
    def name(self) -> str:
        """That of the primitive."""
        return self.equation.primitive.name


@dataclasses.dataclass(frozen=True)
class Scope:
    """Where in a program equations stand; see `Operation`."""

    times: int = 1
    call: int | None = None
    functions: tuple[tuple[str, int], ...] = ()


class Program:
    """A traced program, laid out in line.

    Attributes:
      operations: so far, in the order in which they are computed.
      depending: values that depend on the image.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.depending: set[int] = set()
        self._platform: set[int] = set()  # values that tell what kind of device computes
        self._patterns: set[int] = set()  # values made of indices, without the image
        self._numbers = itertools.count()

    def number(self) -> int:
        """That of a new value."""
        return next(self._numbers)

    def inline(
        self, jaxpr: ClosedJaxpr | Jaxpr, inputs: Sequence[int | None], scope: Scope
    ) -> list[int | None]:
        """Append a program's equations; returns the numbers of what it returns."""
        jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
        known = {var: self.number() for var in jaxpr.constvars}
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variables: Sequence[Any]) -> list[int | None]:
            return [None if isinstance(var, Literal) else known[var] for var in variables]

        for equation in jaxpr.eqns:
            outputs = self._append(equation, read(equation.invars), scope)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def _append(
        self, equation: JaxprEqn, inputs: list[int | None], scope: Scope
    ) -> Sequence[int | None]:
        calls = re.findall(rf"{SCOPE}(\d+)", str(equation.source_info.name_stack))
        scope = dataclasses.replace(scope, call=int(calls[-1])) if calls else scope
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            scope = dataclasses.replace(scope, times=scope.times * params["length"])
            return self.inline(params["jaxpr"], inputs, scope)
        if name == "while":
            return self.inline(params["body_jaxpr"], inputs[params["cond_nconsts"] :], scope)
        if name == "cond":
            branch = self._branch(params["branches"], inputs[0])
            return self.inline(branch, inputs[1:], scope)
        body = next(_bodies(equation), None)
        if body is not None:
            if name in ("jit", "pjit"):
                functions = (*scope.functions, (params["name"], self.number()))
                scope = dataclasses.replace(scope, functions=functions)
            return self.inline(body, inputs, scope)
        outputs = tuple(self.number() for _ in equation.outvars)
        depends = any(value in self.depending for value in inputs)
        if depends:
            self.depending.update(outputs)
        read = set(inputs) - {None}
        if name == "platform_index" or (read and read <= self._platform):  # clamped, converted
            self._platform.update(outputs)
        if name == "iota" or (not depends and read & self._patterns):
            self._patterns.update(outputs)
        macs = 0 if read & self._patterns else multiply_accumulates(equation)
        values = equation, tuple(inputs), outputs
        self.operations.append(Operation(*values, **vars(scope), depends=depends, macs=macs))
        return outputs

    def _branch(self, branches: Sequence[ClosedJaxpr], index: int | None) -> ClosedJaxpr:
        """The one to count: the definition's where platforms have their own, else the costliest."""
        if index in self._platform:
            return branches[-1]  # `lax.platform_dependent` puts its default there
        return max(branches, key=_cost)


def _cost(jaxpr: ClosedJaxpr) -> int:
    flat = Program()
    flat.inline(jaxpr, [flat.number() for _ in jaxpr.jaxpr.invars], Scope())
    return sum(op.times * op.macs for op in flat.operations)


def _bodies(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Programs that an equation calls with just what enters it."""
    shapes = [var.aval.shape for var in equation.invars]
    for value in equation.params.values():
        jaxpr = value.jaxpr if isinstance(value, ClosedJaxpr) else value
        if isinstance(jaxpr, Jaxpr) and [var.aval.shape for var in jaxpr.invars] == shapes:
            yield value
