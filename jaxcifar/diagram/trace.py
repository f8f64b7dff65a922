"""A network's evaluation of one image as one list of operations, each with its module call.

Nothing is computed: the network is traced to a jaxpr. The name scope of each equation in the jaxpr
contains the number of the equation's module call.
"""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcifar.diagram.call_recorder import CallRecorder, ModuleCall
from jaxcifar.diagram.operation import Operation, Shape, TracedStep
from jaxcifar.diagram.scope import Scope
from jaxcifar.diagram.traced_program import TracedProgram

_TracedStep = TypeVar("_TracedStep", bound=TracedStep)


class Parameter(NamedTuple):
    """A trainable parameter: its number as a value of the trace, and the number of its elements."""

    value_number: int
    element_count: int


@dataclasses.dataclass(frozen=True)
class Trace:
    """A network's traced evaluation of one image. Each value in the trace has a number.

    Attributes:
      calls: module calls in the order in which they finish; the network itself is the last.
      operations: operations in the order in which they are computed.
      params: the trainable parameters by path: names of modules, then the parameter's own name.
      image_value: the number of the value that is the input image.
      logits_value: the number of the value that is the logits.
      image_shape: `(height, width, channels)`.
    """

    calls: tuple[ModuleCall, ...]
    operations: tuple[Operation, ...]
    params: dict[tuple[str, ...], Parameter]
    image_value: int
    logits_value: int
    image_shape: Shape


def trace(model: nn.Module, image_shape: Shape) -> Trace:
    """Trace a network's evaluation of one image of `image_shape`, without computing it.

    The network is called as `model(images, train=False)`.
    """
    one_image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    boxed_variables = jax.eval_shape(
        lambda images: model.init(jax.random.key(0), images, train=False), one_image
    )
    variables = nn.meta.unbox(boxed_variables)
    evaluation = _trace_evaluation(model, variables, one_image)
    evaluation = _find_batch_axes_if_possible(evaluation, model, variables, image_shape)
    return Trace(
        calls=_calls_in_program(evaluation.calls, evaluation.operations),
        operations=tuple(evaluation.operations),
        params=_parameters_by_path(variables, evaluation.variable_values),
        image_value=evaluation.image_value,
        logits_value=evaluation.logits_value,
        image_shape=image_shape,
    )


def _parameters_by_path(
    variables: Any, value_numbers: Sequence[int]
) -> dict[tuple[str, ...], Parameter]:
    """Return the trainable parameters by path: names of modules, then the parameter's own name.

    Args:
      variables: the shapes of the network's variables.
      value_numbers: the number of each variable as a value of the trace.
    """
    params = {}
    paths_and_shapes, _ = jax.tree_util.tree_flatten_with_path(variables)
    for (path, shape), value_number in zip(paths_and_shapes, value_numbers, strict=True):
        collection, *names = (key.key for key in path)
        if collection == "params":
            params[tuple(names)] = Parameter(value_number, shape.size)
    return params


class _TracedEvaluation(NamedTuple):
    """A traced evaluation of a network, in which each value has a number.

    `variable_values`, `image_value` and `logits_value` are numbers of values. Calls and operations
    are in the order in which they end.
    """

    calls: list[ModuleCall]
    operations: list[Operation]
    variable_values: list[int]
    image_value: int
    logits_value: int


def _find_batch_axes_if_possible(
    evaluation: _TracedEvaluation, model: nn.Module, variables: Any, image_shape: Shape
) -> _TracedEvaluation:
    """Return a traced evaluation of one image, in which each step knows its batch axes.

    The evaluation is compared with an evaluation of two images, whose batch axes are longer. If
    the network can't evaluate two images, the first axis of each array stays the batch axis.
    """
    two_images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
    try:
        larger_evaluation = _trace_evaluation(model, variables, two_images)
        calls = _with_batch_axes(evaluation.calls, larger_evaluation.calls)
        evaluation = evaluation._replace(calls=calls)
        operations = _with_batch_axes(evaluation.operations, larger_evaluation.operations)
        evaluation = evaluation._replace(operations=operations)
    except Exception:
        # A network may be made for a single image. With two it may raise any exception, or compute
        # something else.
        pass
    return evaluation


def _with_batch_axes(
    steps: list[_TracedStep], larger_batch_steps: list[_TracedStep]
) -> list[_TracedStep]:
    """Return copies of the steps of a traced program that know which axes are batch axes.

    Args:
      steps: operations or module calls of the program.
      larger_batch_steps: the same steps in a trace for more images. The axes of their arrays that
        are longer than in `steps` are batch axes.
    """
    step_pairs = zip(steps, larger_batch_steps, strict=True)
    return [step.with_batch_axes(larger_batch_step) for step, larger_batch_step in step_pairs]


def _trace_evaluation(
    model: nn.Module, variables: Any, images: jax.ShapeDtypeStruct
) -> _TracedEvaluation:
    """Trace the evaluation of a batch of images, and record the module calls."""
    recorder = CallRecorder()

    def evaluate(variables: Any, images: jax.Array) -> Any:
        with nn.intercept_methods(recorder):
            outputs = jax.tree.leaves(model.apply(variables, images, train=False))
        return outputs[0]

    jaxpr = jax.make_jaxpr(evaluate)(variables, images)
    program = TracedProgram()
    input_values = [program.values.new_value() for _ in jaxpr.jaxpr.invars]
    *variable_values, image_value = input_values
    program.values.image_dependent_values.add(image_value)
    (logits_value,) = program.append_operations(jaxpr, input_values, Scope())
    return _TracedEvaluation(
        recorder.calls, program.operations, variable_values, image_value, logits_value
    )


def _calls_in_program(
    calls: Sequence[ModuleCall], operations: Sequence[Operation]
) -> tuple[ModuleCall, ...]:
    """Return the module calls whose operations are part of the traced program.

    Flax traces a scanned module more than once, and the program contains only one of these traces.
    If some calls of a module depend on the image, its other calls are left out.
    """
    image_dependent_operations = [op for op in operations if op.depends_on_image]
    image_dependent_numbers = _find_calls_around(image_dependent_operations, calls)
    all_numbers = _find_calls_around(operations, calls)
    image_dependent_paths = {call.path for call in calls if call.number in image_dependent_numbers}
    calls_in_program = []
    for call in calls:
        module_depends_on_image = call.path in image_dependent_paths
        kept_numbers = image_dependent_numbers if module_depends_on_image else all_numbers
        if call.number in kept_numbers:
            calls_in_program.append(call)
    return tuple(calls_in_program)


def _find_calls_around(operations: Sequence[Operation], calls: Sequence[ModuleCall]) -> set[int]:
    """Return the numbers of the module calls that contain any of the operations."""
    parent_numbers = {call.number: call.parent_number for call in calls}
    numbers: set[int] = set()
    for operation in operations:
        call_number = operation.call_number
        # From the innermost call outwards, up to a call whose parents are there already.
        while call_number is not None and call_number not in numbers:
            numbers.add(call_number)
            call_number = parent_numbers[call_number]
    return numbers
