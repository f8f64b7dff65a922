"""A traced program as one list of operations, those in functions, loops and branches included."""

import re
from collections.abc import Sequence
from typing import Any

from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.diagram.control_flow import (
    called_programs,
    jaxpr_without_constants,
    split_scan,
    split_while,
)
from jaxcifar.diagram.count import multiply_accumulates, shape_of
from jaxcifar.diagram.operation import FunctionCall, Operation, Shape
from jaxcifar.diagram.scope import Scope
from jaxcifar.diagram.traced_values import TracedValues

# Followed by the number of a module call, this names the scope in which its equations are traced.
SCOPE_PREFIX = "module-call-"


class TracedProgram:
    """A flat list of operations, filled by `append_operations`. Each value has a number.

    Attributes:
      operations: the operations added so far, in the order in which they are computed.
      values: what is known about the values that the operations read and compute.
    """

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.values = TracedValues()

    def append_operations(
        self, jaxpr: ClosedJaxpr | Jaxpr, inputs: Sequence[int], scope: Scope
    ) -> list[int]:
        """Append the operations of a program and of the programs that it calls.

        Args:
          jaxpr: the program.
          inputs: numbers of the values that the program takes.
          scope: the loops, modules and functions around the program.

        Returns:
          The numbers of the program's results.
        """
        jaxpr = jaxpr_without_constants(jaxpr)
        value_of_variable = {variable: self.values.new_value() for variable in jaxpr.constvars}
        value_of_variable |= dict(zip(jaxpr.invars, inputs, strict=True))
        for equation in jaxpr.eqns:
            equation_inputs = self._look_up_values(equation.invars, value_of_variable)
            outputs = self._append_equation(equation, equation_inputs, scope)
            value_of_variable |= dict(zip(equation.outvars, outputs, strict=True))
        return self._look_up_values(jaxpr.outvars, value_of_variable)

    def _look_up_values(
        self, operands: Sequence[Any], value_of_variable: dict[Any, int]
    ) -> list[int]:
        """Return the numbers that stand for operands: variables of a program, or literals."""
        values = []
        for operand in operands:
            if isinstance(operand, Literal):
                values.append(self.values.add_literal(operand))
            else:
                values.append(value_of_variable[operand])
        return values

    def _append_equation(
        self, equation: JaxprEqn, inputs: list[int], scope: Scope
    ) -> Sequence[int]:
        """Add an equation's operation, or the operations of the program that it calls, to the list.

        Returns:
          the numbers that stand for the equation's results.
        """
        scope_names = str(equation.source_info.name_stack)
        module_call_numbers = re.findall(rf"{SCOPE_PREFIX}(\d+)", scope_names)
        if module_call_numbers:
            innermost_call = int(module_call_numbers[-1])
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
            unique_number = self.values.new_value()
            function_call = FunctionCall(equation.params["name"], unique_number)
            scope = scope.in_function_call(function_call)
        return self.append_operations(called_program, inputs, scope)

    def _append_single_operation(
        self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope
    ) -> Sequence[int]:
        """Add the operation of an equation that calls no program; return its results' numbers."""
        outputs = tuple(self.values.new_value() for _ in equation.outvars)
        self.values.record_outputs(equation.primitive.name, inputs, outputs)
        # For example a one-hot matrix: a product with it only picks elements.
        reads_matrix_of_positions = self.values.any_is_computed_from_positions(inputs)
        macs = 0 if reads_matrix_of_positions else multiply_accumulates(equation)
        input_shapes = [shape_of(variable) for variable in equation.invars]
        output_shape = shape_of(equation.outvars[0]) if outputs else ()
        self._add_operation(equation, inputs, input_shapes, outputs, output_shape, scope, macs)
        return outputs

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
        image_dependent_shapes = [
            shape
            for value, shape in zip(inputs, input_shapes, strict=True)
            if value in self.values.image_dependent_values
        ]
        operation = Operation(
            equation,
            inputs=tuple(inputs),
            constants=tuple(self.values.constants.get(value) for value in inputs),
            outputs=tuple(outputs),
            traced_input_shape=image_dependent_shapes[0] if image_dependent_shapes else (),
            traced_output_shape=output_shape,
            **vars(scope),
            depends_on_image=bool(image_dependent_shapes),
            macs=macs,
        )
        self.operations.append(operation)

    def _append_scan(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.scan`; its body counts once for each step."""
        body = equation.params["jaxpr"]
        step_count = equation.params["length"]
        scan_inputs = split_scan(equation, inputs)
        carried = self.values.replace_constants_by_unknowns(scan_inputs.carried)
        body_inputs = [*scan_inputs.constants, *carried, *scan_inputs.stacked]
        results = self.append_operations(body, body_inputs, scope.repeated(step_count))
        return self._append_loop_or_conditional(
            equation, conditions=[], possible_results=[results], scope=scope
        )

    def _append_while(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.while_loop`; its body counts once, because the number of steps is unknown.

        The condition counts 0 times: it only decides when the loop ends.
        """
        condition, body = equation.params["cond_jaxpr"], equation.params["body_jaxpr"]
        while_inputs = split_while(equation, inputs)
        carried = self.values.replace_constants_by_unknowns(while_inputs.carried)
        condition_inputs = [*while_inputs.condition_constants, *carried]
        loop_conditions = self.append_operations(condition, condition_inputs, scope.uncounted())
        body_inputs = [*while_inputs.body_constants, *carried]
        results_after_a_step = self.append_operations(body, body_inputs, scope)
        results_without_a_step = carried
        possible_results = [results_without_a_step, results_after_a_step]
        return self._append_loop_or_conditional(equation, loop_conditions, possible_results, scope)

    def _append_cond(self, equation: JaxprEqn, inputs: Sequence[int], scope: Scope) -> list[int]:
        """Append a `lax.cond` or `lax.switch`; only its most expensive branch counts."""
        branch_index, *branch_inputs = inputs
        branches = equation.params["branches"]
        has_branch_for_each_device_kind = self.values.depends_only_on_device(branch_index)
        if has_branch_for_each_device_kind:
            *_, default_branch = branches  # of `lax.platform_dependent`, for any kind of device
            return self.append_operations(default_branch, branch_inputs, scope)
        costs = [_count_multiply_accumulates(branch) for branch in branches]
        most_expensive = costs.index(max(costs))  # the first one, if several cost the same
        possible_results = []
        for index, branch in enumerate(branches):
            if index != most_expensive:
                results = self.append_operations(branch, branch_inputs, scope.uncounted())
                possible_results.append(results)
        counted_results = self.append_operations(branches[most_expensive], branch_inputs, scope)
        possible_results.append(counted_results)
        return self._append_loop_or_conditional(
            equation, conditions=[branch_index], possible_results=possible_results, scope=scope
        )

    def _append_loop_or_conditional(
        self,
        equation: JaxprEqn,
        conditions: Sequence[int],
        possible_results: Sequence[list[int]],
        scope: Scope,
    ) -> list[int]:
        """Append a loop or conditional as an operation; return the numbers of its results.

        Args:
          equation: the loop or conditional.
          conditions: numbers of the values that decide when the loop ends, or which branch runs.
          possible_results: the lists of values that the equation may return, such as a list for
            each branch.
          scope: the loops, modules and functions around the equation.
        """
        image_dependent_indices = self._image_dependent_results(conditions, possible_results)
        # A result that does not depend on the image is represented by one of its possible values.
        *_, last_results = possible_results
        results = self.values.replace_constants_by_unknowns(last_results)
        for index in image_dependent_indices:
            results[index] = self.values.new_value()
        if not image_dependent_indices:
            return results
        outputs = [results[index] for index in image_dependent_indices]
        output_shapes = [shape_of(equation.outvars[index]) for index in image_dependent_indices]
        inputs: list[int] = []
        input_shapes: list[Shape] = []
        for results_of_branch in possible_results:
            inputs += [results_of_branch[index] for index in image_dependent_indices]
            input_shapes += output_shapes
        inputs += conditions
        scalar_shape: Shape = ()
        input_shapes += [scalar_shape] * len(conditions)
        self.values.image_dependent_values.update(outputs)
        self._add_operation(equation, inputs, input_shapes, outputs, output_shapes[0], scope)
        return results

    def _image_dependent_results(
        self, conditions: Sequence[int], possible_results: Sequence[list[int]]
    ) -> list[int]:
        """Return the indices of a loop's or conditional's results that depend on the image.

        The conditions decide which of its possible values a result has. So each result depends on
        the conditions too.
        """
        indices = []
        for index, possible_values in enumerate(zip(*possible_results, strict=True)):
            if self.values.any_depends_on_image({*conditions, *possible_values}):
                indices.append(index)
        return indices


def _count_multiply_accumulates(jaxpr: ClosedJaxpr) -> int:
    """Return the number of multiply-accumulates in a program, loops included."""
    program = TracedProgram()
    inputs = [program.values.new_value() for _ in jaxpr_without_constants(jaxpr).invars]
    program.append_operations(jaxpr, inputs, Scope())
    return sum(operation.repeat_count * operation.macs for operation in program.operations)
