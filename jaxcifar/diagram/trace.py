"""A network's evaluation of one image as a flat list of operations, each with its module call.

Nothing is computed: the network is traced to a jaxpr, in which the scope of every equation names
the call of a module that it belongs to.
"""

import dataclasses
import itertools
from collections.abc import Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax

from jaxcifar.diagram.operation import Operation, Shape, Shaped
from jaxcifar.diagram.traced_program import SCOPE, Scope, TracedProgram


@dataclasses.dataclass(frozen=True)
class Call(Shaped):
    """A module called by another one.

    Attributes:
      number: in the order of their beginnings.
      parent: the number of the call that it happened in, None for the network's own.
      module: what was called.
      shapes: of the first array that enters, and of the first that leaves; channels last.
    """

    number: int
    parent: int | None
    module: nn.Module

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the modules that it lies in, outermost first, and its own."""
        return self.module.path


@dataclasses.dataclass(frozen=True)
class Trace:
    """An evaluation of one image.

    Attributes:
      calls: in the order in which they finished, the network's own last.
      operations: in the order in which they are computed.
      params: path of each parameter -> its value's number and its size.
      image, logits: values.
      image_shape: `(height, width, channels)`.
    """

    calls: tuple[Call, ...]
    operations: tuple[Operation, ...]
    params: dict[tuple[str, ...], tuple[int, int]]
    image: int
    logits: int
    image_shape: Shape


def trace(model: nn.Module, image_shape: Shape) -> Trace:
    """Trace `model(images, train=False)` for one image `[*image_shape] float32`."""
    image = jax.ShapeDtypeStruct((1, *image_shape), jnp.float32)
    start = jax.eval_shape(lambda x: model.init(jax.random.key(0), x, train=False), image)
    variables = nn.meta.unbox(start)
    calls, flat, numbers, logits = _evaluate(model, variables, image)
    operations = flat.operations
    try:
        images = jax.ShapeDtypeStruct((2, *image_shape), jnp.float32)
        more_calls, more, _, _ = _evaluate(model, variables, images)
        calls = [one.beside(two) for one, two in zip(calls, more_calls, strict=True)]
        operations = [one.beside(two) for one, two in zip(operations, more.operations, strict=True)]
    except Exception:
        # A network may be made for a single image, and then raise anything or compute something
        # else for two: nothing tells its batch's axes, which are the first ones as a rule.
        pass
    paths, _ = jax.tree_util.tree_flatten_with_path(variables)
    params = {
        tuple(key.key for key in path[1:]): (number, leaf.size)
        for (path, leaf), number in zip(paths, numbers, strict=False)
        if path[0].key == "params"
    }
    computed = _computed(calls, operations)
    return Trace(computed, tuple(operations), params, numbers[-1], logits, image_shape)


def _evaluate(
    model: nn.Module, variables: Any, images: jax.ShapeDtypeStruct
) -> tuple[list[Call], TracedProgram, list[int], int]:
    """Calls, program, and the numbers of what enters it and of the logits."""
    recorder = _Recorder()

    def evaluate(variables: Any, images: jax.Array) -> Any:
        with nn.intercept_methods(recorder):
            return jax.tree.leaves(model.apply(variables, images, train=False))[0]

    jaxpr = jax.make_jaxpr(evaluate)(variables, images)
    flat = TracedProgram()
    numbers = [flat.number() for _ in jaxpr.jaxpr.invars]
    flat.depending.add(numbers[-1])
    (logits,) = flat.inline(jaxpr, numbers, Scope())
    return recorder.calls, flat, numbers, logits


class _Recorder:
    """Intercepts calls of modules: keeps them, and names their equations' scope."""

    def __init__(self) -> None:
        self.calls: list[Call] = []
        self._numbers = itertools.count()
        self._active: list[tuple[int | None, tuple[str, ...] | None]] = [(None, None)]

    def __call__(
        self, method: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module, (parent, around) = context.module, self._active[-1]
        # A module calls its own methods too, and a lifted one itself by way of a lambda.
        if not context.method_name.isidentifier() or module.path == around:
            return method(*args, **kwargs)
        number = next(self._numbers)
        self._active.append((number, module.path))
        try:
            with jax.named_scope(f"{SCOPE}{number}"):
                output = method(*args, **kwargs)
                if any(output is value for value in args):
                    # A call that computes nothing, such as dropout here, is to be seen, too.
                    output = jax.tree.map(lax.optimization_barrier, output)
        finally:
            self._active.pop()
        shapes = (_first_shape((args, kwargs)), _first_shape(output))
        self.calls.append(Call(number, parent, module, shapes=shapes))
        return output


def _first_shape(values: Any) -> Shape:
    """Of the first array."""
    shapes = (leaf.shape for leaf in jax.tree.leaves(values) if hasattr(leaf, "shape"))
    return next(shapes, ())


def _computed(calls: Sequence[Call], operations: Sequence[Operation]) -> tuple[Call, ...]:
    """The calls that are part of the program: a scanned module is traced more than once."""
    parents = {call.number: call.parent for call in calls}
    present, depending = set(), set()
    for operation in operations:
        call = operation.call
        while call is not None:
            present.add(call)
            if operation.depends:
                depending.add(call)
            call = parents[call]
    real = {call.path for call in calls if call.number in depending}
    return tuple(
        call
        for call in calls
        if call.number in depending or (call.number in present and call.path not in real)
    )
