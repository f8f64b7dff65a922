"""A network's evaluation of one image as a flat list of operations, each with its module call.

Nothing is computed: the network is traced to a jaxpr, in which the scope of every equation names
the call of a module that it belongs to. Functions, loops and branches within are then laid out in
line, so that whoever counts or draws has one list to read.
"""

import dataclasses
import itertools
import re
from collections.abc import Iterator, Sequence
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import lax
from jax.extend.core import ClosedJaxpr, Jaxpr, JaxprEqn, Literal

from jaxcifar.models.count import multiply_accumulates

Shape = tuple[int, ...]
_SCOPE = "module-call-"


@dataclasses.dataclass(frozen=True)
class Call:
    """A module called by another one.

    Attributes:
      number: in the order of their beginnings.
      parent: the number of the call that it happened in, None for the network's own.
      module: what was called.
      input_shape, output_shape: of the first array, without the batch's axis, channels last.
    """

    number: int
    parent: int | None
    module: nn.Module
    input_shape: Shape
    output_shape: Shape

    @property
    def path(self) -> tuple[str, ...]:
        """Names of the modules that it lies in, outermost first, and its own."""
        return self.module.path


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
    """

    equation: JaxprEqn
    inputs: tuple[int | None, ...]
    outputs: tuple[int, ...]
    times: int
    call: int | None
    functions: tuple[tuple[str, int], ...]
    depends: bool

    @property
    def name(self) -> str:
        """That of the primitive."""
        return self.equation.primitive.name


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
    recorder = _Recorder()

    def evaluate(variables: Any, image: jax.Array) -> Any:
        with nn.intercept_methods(recorder):
            return jax.tree.leaves(model.apply(variables, image, train=False))[0]

    jaxpr = jax.make_jaxpr(evaluate)(variables, image)
    flat = _Flattening()
    numbers = [flat.number() for _ in jaxpr.jaxpr.invars]
    flat.depending.add(numbers[-1])
    (logits,) = flat.inline(jaxpr, numbers, _Place())
    paths, _ = jax.tree_util.tree_flatten_with_path(variables)
    params = {
        tuple(key.key for key in path[1:]): (number, leaf.size)
        for (path, leaf), number in zip(paths, numbers, strict=False)
        if path[0].key == "params"
    }
    calls = _computed(recorder.calls, flat.operations)
    return Trace(calls, tuple(flat.operations), params, numbers[-1], logits, image_shape)


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
            with jax.named_scope(f"{_SCOPE}{number}"):
                output = method(*args, **kwargs)
                if any(output is value for value in args):
                    # A call that computes nothing, such as dropout here, is to be seen, too.
                    output = jax.tree.map(lax.optimization_barrier, output)
        finally:
            self._active.pop()
        shapes = (_first_shape((args, kwargs)), _first_shape(output))
        self.calls.append(Call(number, parent, module, *shapes))
        return output


def _first_shape(values: Any) -> Shape:
    """Of the first array, without the batch's axis."""
    shapes = (leaf.shape[1:] for leaf in jax.tree.leaves(values) if hasattr(leaf, "shape"))
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


@dataclasses.dataclass(frozen=True)
class _Place:
    """Where in the program equations stand; see `Operation`."""

    times: int = 1
    call: int | None = None
    functions: tuple[tuple[str, int], ...] = ()


class _Flattening:
    """The program so far."""

    def __init__(self) -> None:
        self.operations: list[Operation] = []
        self.depending: set[int] = set()  # values that depend on the image
        self._platform: set[int] = set()  # values that tell what kind of device computes
        self._numbers = itertools.count()

    def number(self) -> int:
        """That of a new value."""
        return next(self._numbers)

    def inline(
        self, jaxpr: ClosedJaxpr | Jaxpr, inputs: Sequence[int | None], place: _Place
    ) -> list[int | None]:
        """Append a program's equations; returns the numbers of what it returns."""
        jaxpr = jaxpr.jaxpr if isinstance(jaxpr, ClosedJaxpr) else jaxpr
        known = {var: self.number() for var in jaxpr.constvars}
        known |= dict(zip(jaxpr.invars, inputs, strict=True))

        def read(variables: Sequence[Any]) -> list[int | None]:
            return [None if isinstance(var, Literal) else known[var] for var in variables]

        for equation in jaxpr.eqns:
            outputs = self._append(equation, read(equation.invars), place)
            known |= dict(zip(equation.outvars, outputs, strict=True))
        return read(jaxpr.outvars)

    def _append(
        self, equation: JaxprEqn, inputs: list[int | None], place: _Place
    ) -> Sequence[int | None]:
        calls = re.findall(rf"{_SCOPE}(\d+)", str(equation.source_info.name_stack))
        place = dataclasses.replace(place, call=int(calls[-1])) if calls else place
        name, params = equation.primitive.name, equation.params
        if name == "scan":
            place = dataclasses.replace(place, times=place.times * params["length"])
            return self.inline(params["jaxpr"], inputs, place)
        if name == "while":
            return self.inline(params["body_jaxpr"], inputs[params["cond_nconsts"] :], place)
        if name == "cond":
            branch = self._branch(params["branches"], inputs[0])
            return self.inline(branch, inputs[1:], place)
        body = next(_bodies(equation), None)
        if body is not None:
            if name in ("jit", "pjit"):
                functions = (*place.functions, (params["name"], self.number()))
                place = dataclasses.replace(place, functions=functions)
            return self.inline(body, inputs, place)
        outputs = tuple(self.number() for _ in equation.outvars)
        depends = any(value in self.depending for value in inputs)
        if depends:
            self.depending.update(outputs)
        read = set(inputs) - {None}
        if name == "platform_index" or (read and read <= self._platform):  # clamped, converted
            self._platform.update(outputs)
        operation = Operation(equation, tuple(inputs), outputs, **vars(place), depends=depends)
        self.operations.append(operation)
        return outputs

    def _branch(self, branches: Sequence[ClosedJaxpr], index: int | None) -> ClosedJaxpr:
        """The one to count: the definition's where platforms have their own, else the costliest."""
        if index in self._platform:
            return branches[-1]  # `lax.platform_dependent` puts its default there
        return max(branches, key=_cost)


def _cost(jaxpr: ClosedJaxpr) -> int:
    flat = _Flattening()
    flat.inline(jaxpr, [flat.number() for _ in jaxpr.jaxpr.invars], _Place())
    return sum(op.times * multiply_accumulates(op.equation) for op in flat.operations)


def _bodies(equation: JaxprEqn) -> Iterator[ClosedJaxpr | Jaxpr]:
    """Programs that an equation calls with just what enters it."""
    shapes = [var.aval.shape for var in equation.invars]
    for value in equation.params.values():
        jaxpr = value.jaxpr if isinstance(value, ClosedJaxpr) else value
        if isinstance(jaxpr, Jaxpr) and [var.aval.shape for var in jaxpr.invars] == shapes:
            yield value
