"""A network's evaluation of one image as a flat list of operations, each with its module call.

Nothing is computed: the network is traced to a jaxpr. The name scope of each equation in the jaxpr
contains the number of the equation's module call.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any, NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcifar.diagram.operation import Operation, Shape, TracedStep
from jaxcifar.diagram.traced_program import SCOPE, Scope, TracedProgram
from jaxcifar.networks.nnx_layers import LayerContext
from jaxcifar.networks.nnx_network import NNXNetwork, intercept_layers

_Step = TypeVar("_Step", bound=TracedStep)


@dataclasses.dataclass(frozen=True)
class Call(TracedStep):
    """A call of a module.

    The inherited shapes are of the call's first input and first output array, channels last.

    Attributes:
      number: the call's number; calls are numbered in the order in which they begin.
      parent: the number of the call that made this call; None for the network itself.
      module: the called module, of Flax Linen or Flax NNX.
      path: names of the modules around the called module, then its own name; () for the network.
    """

    number: int
    parent: int | None
    module: Any
    path: tuple[str, ...]


class Parameter(NamedTuple):
    """A trainable parameter: its number as a value of the trace, and its size in elements."""

    value: int
    size: int


@dataclasses.dataclass(frozen=True)
class Trace:
    """A network's traced evaluation of one image. Each value in the trace has a number.

    Attributes:
      calls: module calls in the order in which they finish; the network itself is the last.
      operations: operations in the order in which they are computed.
      params: the trainable parameters by path: names of modules, then the parameter's own name.
      image: the number of the value that is the input image.
      logits: the number of the value that is the logits.
      image_shape: `(height, width, channels)`.
    """

    calls: tuple[Call, ...]
    operations: tuple[Operation, ...]
    params: dict[tuple[str, ...], Parameter]
    image: int
    logits: int
    image_shape: Shape


def trace(model: nn.Module, image_shape: Shape) -> Trace:
    """Trace a network's evaluation of one image of `image_shape`, without computing it.

    The network is called as `model(images, train=False)`.
    """
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    initial = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    variables = nn.meta.unbox(initial)
    evaluation = _trace_evaluation(model, variables, image)
    calls, operations = evaluation.calls, evaluation.operations
    try:
        two_images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        two_image_evaluation = _trace_evaluation(model, variables, two_images)
        calls = _with_batch_axes(calls, two_image_evaluation.calls)
        operations = _with_batch_axes(operations, two_image_evaluation.operations)
    except Exception:
        # A network may be made for a single image. With two it may raise any exception, or compute
        # something else. Then the first axis of each array is taken for the batch axis.
        pass
    paths_and_leaves, _ = jax.tree_util.tree_flatten_with_path(variables)
    params = {}
    for (path, leaf), value in zip(paths_and_leaves, evaluation.variables, strict=True):
        collection, *names = (key.key for key in path)
        if collection == "params":
            params[tuple(names)] = Parameter(value, leaf.size)
    return Trace(
        _computed_calls(calls, operations),
        tuple(operations),
        params,
        evaluation.image,
        evaluation.logits,
        image_shape,
    )


def _with_batch_axes(steps: list[_Step], larger: list[_Step]) -> list[_Step]:
    """Return copies of traced steps in which the batch axes are set.

    Args:
      steps: the steps.
      larger: the same steps, traced for more images. Axes that are longer in them are batch axes.
    """
    pairs = zip(steps, larger, strict=True)
    return [step.with_batch_axes(larger_step) for step, larger_step in pairs]


class _TracedEvaluation(NamedTuple):
    """A traced evaluation of a network, in which each value has a number.

    `variables`, `image` and `logits` are numbers of values. Calls and operations are in the order
    in which they end.
    """

    calls: list[Call]
    operations: list[Operation]
    variables: list[int]
    image: int
    logits: int


def _trace_evaluation(
    model: nn.Module, variables: Any, images: jax.ShapeDtypeStruct
) -> _TracedEvaluation:
    """Trace the evaluation of a batch of images, and record the module calls."""
    recorder = _CallRecorder()

    def evaluate(variables: Any, images: jax.Array) -> Any:
        with nn.intercept_methods(recorder):
            return jax.tree.leaves(model.apply(variables, images, train=False))[0]

    jaxpr = jax.make_jaxpr(evaluate)(variables, images)
    program = TracedProgram()
    inputs = [program.new_value() for _ in jaxpr.jaxpr.invars]
    *variable_values, image = inputs
    program.image_dependent.add(image)
    (logits,) = program.inline(jaxpr, inputs, Scope())
    return _TracedEvaluation(recorder.calls, program.operations, variable_values, image, logits)


class _CallRecorder:
    """A Flax method interceptor that records module calls and puts their numbers into scopes."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._numbers = itertools.count()
        # Number and path of the calls that have not finished, after an entry for no call.
        self._active: list[tuple[int | None, tuple[str, ...] | None]] = [(None, None)]

    def __call__(
        self, method: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        # A lifted module calls itself through a lambda.
        if not context.method_name.isidentifier():
            return method(*args, **kwargs)
        if isinstance(module, NNXNetwork):
            with intercept_layers(module, self._record_nnx):
                return method(*args, **kwargs)
        return self._record(method, args, kwargs, module, module.path)

    def _record_nnx(self, method: Any, args: Any, kwargs: Any, context: LayerContext) -> Any:
        return self._record(method, args, kwargs, context.module, context.path)

    def _record(
        self, method: Any, args: Any, kwargs: Any, module: Any, path: tuple[str, ...]
    ) -> Any:
        """Call a method of a module and return its output, and record the call with its shapes.

        A method that a module calls on itself is not recorded.
        """
        parent, parent_path = self._active[-1]
        if path == parent_path:  # a module calls its own methods
            return method(*args, **kwargs)
        number = next(self._numbers)
        self._active.append((number, path))
        try:
            with jax.named_scope(f"{SCOPE}{number}"):
                output = method(*args, **kwargs)
                if any(output is value for value in args):
                    # The barrier puts an operation into calls that compute nothing, such as
                    # dropout here, so that they are drawn too.
                    output = jax.tree.map(lax.optimization_barrier, output)
        finally:
            self._active.pop()
        call = Call(
            number,
            parent,
            module,
            path,
            traced_input_shape=_first_shape((args, kwargs)),
            traced_output_shape=_first_shape(output),
        )
        self.calls.append(call)
        return output


def _first_shape(values: Any) -> Shape:
    """Return the shape of the first array in a pytree; () if there is no array."""
    shapes = (leaf.shape for leaf in jax.tree.leaves(values) if hasattr(leaf, "shape"))
    return next(shapes, ())


def _computed_calls(calls: Sequence[Call], operations: Sequence[Operation]) -> tuple[Call, ...]:
    """Return the module calls whose operations are part of the traced program.

    Flax traces a scanned module more than once, and the program contains only one of these traces.
    If some calls of a module depend on the image, its other calls are left out.
    """
    parents = {call.number: call.parent for call in calls}
    in_program, image_dependent = set(), set()
    for operation in operations:
        number = operation.call
        while number is not None:
            in_program.add(number)
            if operation.depends_on_image:
                image_dependent.add(number)
            number = parents[number]
    dependent_paths = {call.path for call in calls if call.number in image_dependent}
    computed = []
    for call in calls:
        is_constant = call.number in in_program and call.path not in dependent_paths
        if call.number in image_dependent or is_constant:
            computed.append(call)
    return tuple(computed)
