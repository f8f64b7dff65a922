"""Record the module calls of a network while it is traced."""

import dataclasses
import itertools
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax import lax

from jaxcifar.diagram.operation import Shape, TracedStep
from jaxcifar.diagram.traced_program import SCOPE_PREFIX
from jaxcifar.networks.nnx_layers import LayerContext
from jaxcifar.networks.nnx_network import NNXNetwork, intercept_layers


@dataclasses.dataclass(frozen=True)
class ModuleCall(TracedStep):
    """A call of a module.

    The inherited shapes are of the call's first input and first output array, channels last.

    Attributes:
      number: the call's number; calls are numbered in the order in which they begin.
      parent_number: the number of the call that made this call; None for the network itself.
      module: the called module, of Flax Linen or Flax NNX.
      path: names of the modules around the called module, then its own name; () for the network.
    """

    number: int
    parent_number: int | None
    module: Any
    path: tuple[str, ...]


class _UnfinishedCall(NamedTuple):
    """The number and path of a module call that has not finished; None outside of all calls."""

    number: int | None
    path: tuple[str, ...] | None


class CallRecorder:
    """A Flax method interceptor that records module calls and puts their numbers into scopes."""

    def __init__(self) -> None:
        self.calls: list[ModuleCall] = []
        self._call_numbers = itertools.count()
        self._unfinished_calls = [_UnfinishedCall(None, None)]

    def __call__(
        self, method: Any, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        module = context.module
        # A module that a transformation such as `nn.scan` made calls itself through a lambda.
        is_lambda_of_flax = not context.method_name.isidentifier()
        if is_lambda_of_flax:
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
        parent_call = self._unfinished_calls[-1]
        module_calls_itself = path == parent_call.path
        if module_calls_itself:
            return method(*args, **kwargs)
        call_number = next(self._call_numbers)
        self._unfinished_calls.append(_UnfinishedCall(call_number, path))
        try:
            with jax.named_scope(f"{SCOPE_PREFIX}{call_number}"):
                output = method(*args, **kwargs)
                computes_nothing = any(output is value for value in args)
                if computes_nothing:  # such as dropout here, which is drawn too
                    output = _add_identity_operation(output)
        finally:
            self._unfinished_calls.pop()
        call = ModuleCall(
            call_number,
            parent_call.number,
            module,
            path,
            traced_input_shape=_shape_of_first_array((args, kwargs)),
            traced_output_shape=_shape_of_first_array(output),
        )
        self.calls.append(call)
        return output


def _add_identity_operation(arrays: Any) -> Any:
    """Return the same arrays, computed by an operation, so that the traced program has one."""
    return jax.tree.map(lax.optimization_barrier, arrays)


def _shape_of_first_array(pytree: Any) -> Shape:
    """Return the shape of the first array in a pytree; () if there is no array."""
    shapes = (leaf.shape for leaf in jax.tree.leaves(pytree) if hasattr(leaf, "shape"))
    return next(shapes, ())
