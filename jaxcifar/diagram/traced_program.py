"""A traced program as one list of operations, those in functions, loops and branches included."""

import itertools
import re
from collections.abc import Sequence
from typing import Any

import numpy as np
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import (
    called_programs,
    jaxpr_without_constants,
    split_scan,
    split_while,
)
from jaxcifar.diagram.count import multiply_accumulates, shape_of
from jaxcifar.diagram.operation import FunctionCall, Operation, Shape, constant_result
from jaxcifar.diagram.scope import Scope

# Followed by the number of a module call, this names the scope in which its equations are traced.
SCOPE_PREFIX = "module-call-"


class TracedProgram:
    """A flat list of operations, filled by `inline`. Each value has a number.

    Attributes:
      operations: the operations added so far, in the order in which they are computed.
      image_dependent_values: numbers of the values that depend on the image.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.image_dependent_values: set[int] = set()
        self._constant_of_value: dict[int, float] = {}  # value -> the number in all its elements
        self._platform_values: set[int] = set()  # values that tell the kind of device (CPU, GPU)
        # Values that are computed from positions (`iota`), not from the image.
        self._index_pattern_values: set[int] = set()
        self._value_numbers = itertools.count()

    def new_value(self) -> int:
        """Return a number that no value has yet."""
        return next(self._value_numbers)

    def inline(self, jaxpr: ClosedJaxpr | Jaxpr, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append the operations of a program and of the programs that it calls.

        `inputs` are the numbers of the values that the program takes. Return those of its results.
        """
        jaxpr = jaxpr_without_constants(jaxpr)
        number_of_variable = {variable: self.new_value() for variable in jaxpr.constvars}
        number_of_variable |= dict(zip(jaxpr.invars, inputs, strict=True))

        def number_of(variable: Any) -> int:
            if isinstance(variable, Literal):
                return self._add_literal(variable)
            return number_of_variable[variable]

        for equation in jaxpr.eqns:
            equation_inputs = [number_of(variable) for variable in equation.invars]
            outputs = self._append_equation(equation, equation_inputs, scope)
            number_of_variable |= dict(zip(equation.outvars, outputs, strict=True))
        return [number_of(variable) for variable in jaxpr.outvars]

    def _add_literal(self, literal: Literal) -> int:
        number = self.new_value()
        self._constant_of_value[number] = np.asarray(literal.val).item()
        return number

    def _append_equation(
        self, equation: JaxprEqn, inputs: list[int], scope: Scope
    ) -> Sequence[int]:
        """Append an equation, or the program that it calls; return the numbers of its results."""
        call_numbers = re.findall(rf"{SCOPE_PREFIX}(\d+)", str(equation.source_info.name_stack))
        if call_numbers:
            innermost_call = int(call_numbers[-1])
            scope = scope.in_module_call(innermost_call)
        name = equation.primitive.name
        if name == "scan":
            return self._append_scan(equation, inputs, scope)
        if name == "while":
            return self._append_while(equation, inputs, scope)
        if name == "cond":
            return self._append_cond(equation, inputs, scope)
        called_program = next(called_programs(equation), None)
        if called_program is None:
            return self._append_single_operation(equation, inputs, scope)
        if name in ("jit", "pjit"):
            function_call = FunctionCall(equation.params["name"], self.new_value())
            scope = scope.in_function_call(function_call)
        return self.inline(called_program, inputs, scope)

    def _append_single_operation(
        self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope
    ) -> Sequence[int]:
        """Append an equation that calls no program; return the numbers of its results."""
        name = equation.primitive.name
        outputs = tuple(self.new_value() for _ in equation.outvars)
        variable_inputs = set(inputs) - self._constant_of_value.keys()
        reads_index_pattern = not self._index_pattern_values.isdisjoint(variable_inputs)
        self._record_origin(name, variable_inputs, outputs)
        constant = constant_result(name, [self._constant_of_value.get(value) for value in inputs])
        if constant is not None:
            self._constant_of_value |= dict.fromkeys(outputs, constant)
        macs = 0 if reads_index_pattern else multiply_accumulates(equation)
        input_shapes = [shape_of(variable) for variable in equation.invars]
        output_shape = shape_of(equation.outvars[0]) if outputs else ()
        self._add_operation(equation, inputs, input_shapes, outputs, output_shape, scope, macs)
        return outputs

    def _record_origin(self, name: str, inputs: set[int], outputs: Sequence[int]) -> None:
        """Record whether an operation computes from the image, the platform or positions.

        `inputs` are the values that it reads, except constants; `name` is the primitive's name.
        """
        depends_on_image = not self.image_dependent_values.isdisjoint(inputs)
        if depends_on_image:
            self.image_dependent_values.update(outputs)
        # JAX clamps and converts the platform's index before a conditional reads it.
        reads_only_platform = bool(inputs) and inputs <= self._platform_values
        if name == "platform_index" or reads_only_platform:
            self._platform_values.update(outputs)
        reads_index_pattern = not self._index_pattern_values.isdisjoint(inputs)
        if name == "iota" or (reads_index_pattern and not depends_on_image):
            self._index_pattern_values.update(outputs)

    def _add_operation(
        self,
        equation: JaxprEqn,
        inputs: Sequence[int],
        input_shapes: Sequence[Shape],
        outputs: Sequence[int],
        output_shape: Shape,
        scope: Scope,
        macs: int = 0,
    ) -> None:
        dependent_shapes = [
            shape
            for value, shape in zip(inputs, input_shapes, strict=True)
            if value in self.image_dependent_values
        ]
        operation = Operation(
            equation,
            inputs=tuple(inputs),
            constants=tuple(self._constant_of_value.get(value) for value in inputs),
            outputs=tuple(outputs),
            traced_input_shape=dependent_shapes[0] if dependent_shapes else (),
            traced_output_shape=output_shape,
            **vars(scope),
            depends_on_image=bool(dependent_shapes),
            macs=macs,
        )
        self.operations.append(operation)

    def _append_scan(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.scan`; its body counts once for each step."""
        body = equation.params["jaxpr"]
        step_count = equation.params["length"]
        scan_inputs = split_scan(equation, inputs)
        carried = self._forget_constants(scan_inputs.carried)
        body_inputs = [*scan_inputs.constants, *carried, *scan_inputs.stacked]
        results = self.inline(body, body_inputs, scope.repeated(step_count))
        return self._append_loop_or_conditional(equation, [], [results], scope)

    def _append_while(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.while_loop`; its body counts once, because the number of steps is unknown.

        The condition counts 0 times: it only decides when the loop ends.
        """
        condition, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
        while_inputs = split_while(equation, inputs)
        carried = self._forget_constants(while_inputs.carried)
        condition_inputs = [*while_inputs.condition_constants, *carried]
        loop_conditions = self.inline(condition, condition_inputs, scope.uncounted())
        body_inputs = [*while_inputs.body_constants, *carried]
        results = self.inline(body, body_inputs, scope)
        # After 0 steps, the loop returns the carried values that it got.
        alternatives = [carried, results]
        return self._append_loop_or_conditional(equation, loop_conditions, alternatives, scope)

    def _append_cond(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.cond` or `lax.switch`; only its most expensive branch counts."""
        branch_index, *branch_inputs = inputs
        branches = equation.params["branches"]
        if branch_index in self._platform_values:  # `lax.platform_dependent` puts its default last
            return self.inline(branches[-1], branch_inputs, scope)
        costs = [_count_multiply_accumulates(branch) for branch in branches]
        most_expensive = costs.index(max(costs))  # the first one, if several cost the same
        other_branches = [*branches[:most_expensive], *branches[most_expensive + 1 :]]
        results = [
            self.inline(branch, branch_inputs, scope.uncounted()) for branch in other_branches
        ]
        results.append(self.inline(branches[most_expensive], branch_inputs, scope))
        return self._append_loop_or_conditional(equation, [branch_index], results, scope)

    def _forget_constants(self, values: Sequence[int]) -> list[int]:
        """Return the numbers of values, with a new number in place of each known constant.

        For example, a loop's counter is 0 in the first step only, so it must not count as constant.
        """
        return [self.new_value() if value in self._constant_of_value else value for value in values]

    def _append_loop_or_conditional(
        self,
        equation: JaxprEqn,
        conditions: Sequence[int],
        alternatives: Sequence[list[int]],
        scope: Scope,
    ) -> list[int]:
        """Append a loop or conditional as an operation; return the numbers of its results.

        Args:
          equation: the loop or conditional.
          conditions: numbers of the values that decide when the loop ends, or which branch runs.
          alternatives: the lists of values that the equation may return, such as one list for each
            branch.
          scope: the loops, modules and functions around the equation.
        """
        dependent_indices = []  # indices of the results that depend on the image
        for index, possible_values in enumerate(zip(*alternatives, strict=True)):
            # The conditions decide which of the possible values the result is.
            values_to_compute_from = {*conditions, *possible_values}
            if values_to_compute_from & self.image_dependent_values:
                dependent_indices.append(index)
        results = self._forget_constants(alternatives[-1])
        for index in dependent_indices:
            results[index] = self.new_value()
        outputs = [results[index] for index in dependent_indices]
        if outputs:
            inputs: list[int] = []
            for alternative in alternatives:
                inputs += [alternative[index] for index in dependent_indices]
            shapes = [shape_of(equation.outvars[index]) for index in dependent_indices]
            input_shapes = shapes * len(alternatives)
            inputs += conditions
            input_shapes += [() for _ in conditions]  # conditions are scalars
            self.image_dependent_values.update(outputs)
            self._add_operation(equation, inputs, input_shapes, outputs, shapes[0], scope)
        return results


def _count_multiply_accumulates(jaxpr: ClosedJaxpr) -> int:
    """Return the number of multiply-accumulates in a program, loops included."""
    program = TracedProgram()
    inputs = [program.new_value() for _ in jaxpr_without_constants(jaxpr).invars]
    program.inline(jaxpr, inputs, Scope())
    return sum(operation.repeat_count * operation.macs for operation in program.operations)
