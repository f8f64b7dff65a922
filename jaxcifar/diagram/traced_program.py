"""A traced program as a flat list of operations: functions, loops and branches laid out in line."""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.count import multiply_accumulates, shape_of
from jaxcifar.diagram.operation import Operation, Shape, constant_result

# With a number behind it, the scope that a module call's equations are traced in.
SCOPE = "module-call-"


@dataclasses.dataclass(frozen=True)
class Scope:
    """Where in a program equations stand; see `Operation`."""

    times: int = 1
    call: int | None = None
    functions: tuple[tuple[str, int], ...] = ()


class TracedProgram:
    """A traced program, laid out in line.

    Attributes:
      operations: so far, in the order in which they are computed.
      depending: values that depend on the image.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.depending: set[int] = set()
        self._constants: dict[int, float] = {}  # values of which all elements are this number
        self._platform: set[int] = set()  # values that tell what kind of device computes
        self._patterns: set[int] = set()  # values made of indices, without the image
        self._numbers = itertools.count()

    def number(self) -> int:
        """That of a new value."""
        return next(self._numbers)

    def inline(self, jaxpr: ClosedJaxpr | Jaxpr, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a program's equations; returns the numbers of what it returns."""
        jaxpr = _without_constants(jaxpr)
        known = {var: self.number() for var in jaxpr.constvars}
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variables: Sequence[Any]) -> list[int]:
            return [self._literal(v) if isinstance(v, Literal) else known[v] for v in variables]

        for equation in jaxpr.eqns:
            outputs = self._append(equation, read(equation.invars), scope)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def _literal(self, literal: Literal) -> int:
        number = self.number()
        self._constants[number] = np.asarray(literal.val).item()
        return number

    def _append(self, equation: JaxprEqn, inputs: list[int], scope: Scope) -> Sequence[int]:
        calls = re.findall(rf"{SCOPE}(\d+)", str(equation.source_info.name_stack))
        scope = dataclasses.replace(scope, call=int(calls[-1])) if calls else scope
        name, params = equation.primitive.name, equation.params
        if name in ("scan", "while", "cond"):
            return self._control(equation, inputs, scope)
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
        read = set(inputs) - self._constants.keys()
        if name == "platform_index" or (read and read <= self._platform):  # clamped, converted
            self._platform.update(outputs)
        if name == "iota" or (not depends and read & self._patterns):
            self._patterns.update(outputs)
        constant = constant_result(name, [self._constants.get(value) for value in inputs])
        if constant is not None:
            self._constants |= dict.fromkeys(outputs, constant)
        macs = 0 if read & self._patterns else multiply_accumulates(equation)
        shapes = (shape_of(var) for var in equation.invars)
        self._add(equation, list(zip(inputs, shapes, strict=True)), outputs, 0, scope, macs)
        return outputs

    def _add(
        self,
        equation: JaxprEqn,
        inputs: Sequence[tuple[int, Shape]],
        outputs: Sequence[int],
        first: int,
        scope: Scope,
        macs: int,
    ) -> None:
        """An operation; `first` is which of the equation's results its first output is."""
        entering = next((shape for value, shape in inputs if value in self.depending), None)
        leaving = shape_of(equation.outvars[first]) if outputs else ()
        values = tuple(value for value, _ in inputs)
        operation = Operation(
            equation,
            inputs=values,
            constants=tuple(self._constants.get(value) for value in values),
            outputs=tuple(outputs),
            shapes=(entering or (), leaving),
            **vars(scope),
            depends=entering is not None,
            macs=macs,
        )
        self.operations.append(operation)

    def _control(self, equation: JaxprEqn, inputs: list[int], scope: Scope) -> Sequence[int]:
        """What lies in a loop or in branches, and behind it the loop or choice itself."""
        name, params = equation.primitive.name, equation.params
        aside, tests = dataclasses.replace(scope, times=0), []
        if name == "scan":
            inner = dataclasses.replace(scope, times=scope.times * params["length"])
            constants, carried, slices = _split_scan(equation, inputs)
            inputs = [*constants, *self._varying(carried), *slices]
            ends = [self.inline(params["jaxpr"], inputs, inner)]
        elif name == "while":
            of_condition, of_body, carried = _split_while(equation, inputs)
            start = self._varying(carried)
            tests = self.inline(params["cond_jaxpr"], [*of_condition, *start], aside)
            ends = [start, self.inline(params["body_jaxpr"], [*of_body, *start], scope)]
        else:
            index, *entering = inputs
            if index in self._platform:  # `lax.platform_dependent` puts its default last
                return self.inline(params["branches"][-1], entering, scope)
            *others, counted = _by_cost(params["branches"])
            tests, ends = [index], [self.inline(branch, entering, aside) for branch in others]
            ends.append(self.inline(counted, entering, scope))
        return self._join(equation, tests, ends, scope)

    def _varying(self, values: Sequence[int]) -> list[int]:
        """The same, those that are constants unknown: a loop or another branch has other ones."""
        return [self.number() if value in self._constants else value for value in values]

    def _join(
        self, equation: JaxprEqn, tests: list[int], ends: Sequence[list[int]], scope: Scope
    ) -> list[int]:
        """What control flow returns: each result is what one of its ends came to there."""
        depends = [
            any(value in self.depending for value in (*tests, *values))
            for values in zip(*ends, strict=True)
        ]
        results = self._varying(ends[-1])
        changed = [number for number, depending in enumerate(depends) if depending]
        for number in changed:
            results[number] = self.number()
        outputs = [results[number] for number in changed]
        if outputs:
            shapes = [shape_of(var) for var in equation.outvars]
            inputs = [(end[number], shapes[number]) for end in ends for number in changed]
            inputs += [(test, ()) for test in tests]
            self.depending.update(outputs)
            self._add(equation, inputs, outputs, changed[0], scope, 0)
        return results


# A loop's inputs are told apart by shapes and counts, because the parameters in which JAX keeps
# these numbers have other names in other versions.


def _split_scan(
    equation: JaxprEqn, inputs: Sequence[int]
) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return a scan's inputs by kind: constants, values carried at the start, stacked arrays.

    The body takes one slice of each stacked input and returns one slice of each stacked result. So
    these have fewer axes inside than outside, while constants and carried values have the same.
    """
    body = _without_constants(equation.params["jaxpr"])
    stacked = sum(map(_differ_in_rank, equation.invars, body.invars))
    results = sum(map(_differ_in_rank, equation.outvars, body.outvars))
    carried = len(equation.outvars) - results
    first_stacked = len(inputs) - stacked
    first_carried = first_stacked - carried
    return inputs[:first_carried], inputs[first_carried:first_stacked], inputs[first_stacked:]


def _split_while(
    equation: JaxprEqn, inputs: Sequence[int]
) -> tuple[Sequence[int], Sequence[int], Sequence[int]]:
    """Return a while loop's inputs by kind: the condition's constants, the body's, carried values.

    The loop returns all carried values, and its condition takes them after its constants.
    """
    condition = _without_constants(equation.params["cond_jaxpr"])
    carried = len(equation.outvars)
    first_of_body = len(condition.invars) - carried
    first_carried = len(inputs) - carried
    return inputs[:first_of_body], inputs[first_of_body:first_carried], inputs[first_carried:]


def _differ_in_rank(outside: Any, inside: Any) -> bool:
    """Return whether a value has another number of axes in a loop's body than outside of it."""
    return len(outside.aval.shape) != len(inside.aval.shape)


def _without_constants(value: Any) -> Any:
    """Return a program without the values of its constants; anything else as it is."""
    return value.jaxpr if isinstance(value, ClosedJaxpr) else value


def _by_cost(branches: Sequence[ClosedJaxpr]) -> list[ClosedJaxpr]:
    """Branches with the one to count last: the first of the costliest."""
    counted = max(range(len(branches)), key=lambda number: _cost(branches[number]))
    return [*branches[:counted], *branches[counted + 1 :], branches[counted]]


def _cost(jaxpr: ClosedJaxpr) -> int:
    flat = TracedProgram()
    flat.inline(jaxpr, [flat.number() for _ in _without_constants(jaxpr).invars], Scope())
    return sum(op.times * op.macs for op in flat.operations)


def _bodies(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Programs that an equation calls with just what enters it."""
    shapes = [shape_of(var) for var in equation.invars]
    for value in equation.params.values():
        jaxpr = _without_constants(value)
        if isinstance(jaxpr, Jaxpr) and [shape_of(var) for var in jaxpr.invars] == shapes:
            yield value
