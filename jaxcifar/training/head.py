"""Find the inputs of the dense layers that may compute a network's logits."""

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float32, UInt8
from jaxcifar.machine.compilations import CPU_OPTIONS
from jaxcifar.networks.adapt import adapted
from jaxcifar.networks.layers import Dense
from jaxcifar.networks.nnx_layers import LayerContext
from jaxcifar.networks.nnx_network import NNXNetwork, intercepted
from jaxcifar.training import augment, network
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_COLLECTION = "inputs_of_dense_layers"


class DenseCall(NamedTuple):
    """The input and the output of one call of a dense layer."""

    inputs: Float32[Array, "batch features"]
    outputs: Float32[Array, "batch classes"]


class Heads(NamedTuple):
    """A network's logits, and the calls of dense layers whose outputs have the logits' shape."""

    logits: Float32[Array, "batch classes"]
    calls: list[DenseCall]


@partial(jax.jit, static_argnums=0, compiler_options=CPU_OPTIONS)
def dense_calls(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: UInt8[Array, "batch height width 3"],
) -> Heads:
    """Apply a network in evaluation mode; return its logits and the calls that may compute them.

    These are calls of dense layers (`nn.Dense`, `nnx.Linear` or this package's `Dense`) whose
    outputs have the logits' shape. Of `hyper`, only `mean` and `std` are used.
    """
    normalized = augment.normalize(augment.pixels(images), hyper.mean, hyper.std)
    model = network.for_one_device(program.model)
    call_names: list[str] = []  # in the order of the calls

    def record(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        outputs = call(*args, **kwargs)
        module = context.module
        is_dense = isinstance(module, nn.Dense | Dense) and context.method_name == "__call__"
        inputs = args[0] if args else kwargs.get("inputs")
        if is_dense and inputs is not None and inputs.ndim == 2 and len(inputs) == len(images):
            # `sow` also works inside Flax's transformations, such as `nn.remat`.
            call_name = f"call_{len(call_names)}"
            call_names.append(call_name)
            module.sow(_COLLECTION, call_name, (inputs, outputs))
        return outputs

    nnx_calls: list[tuple[Array, Array]] = []

    def record_nnx(call: Callable, args: Any, kwargs: Any, context: LayerContext) -> Any:
        from flax import nnx

        outputs = call(*args, **kwargs)
        inputs = args[0] if args else kwargs.get("inputs")
        is_dense = isinstance(context.module, nnx.Linear)
        if is_dense and inputs is not None and inputs.ndim == 2 and len(inputs) == len(images):
            nnx_calls.append((inputs, outputs))
        return outputs

    nnx_interception: AbstractContextManager[None] = nullcontext()
    if isinstance(model, NNXNetwork):
        nnx_interception = intercepted(model, record_nnx)
    with adapted(None, program.product_dtype), nn.intercept_methods(record), nnx_interception:
        logits, recorded = model.apply(variables, normalized, train=False, mutable=[_COLLECTION])
    calls = _recorded_calls(recorded.get(_COLLECTION, {}))
    all_calls = [calls[name] for name in call_names if name in calls] + nnx_calls
    dense_calls = [
        DenseCall(inputs.astype(jnp.float32), outputs.astype(jnp.float32))
        for inputs, outputs in all_calls
    ]
    calls_like_logits = [call for call in dense_calls if call.outputs.shape == logits.shape]
    return Heads(logits.astype(jnp.float32), calls_like_logits)


def _recorded_calls(collection: Any) -> dict[str, tuple[Array, Array]]:
    """Return (inputs, outputs) of each recorded call of a layer, by the call's name.

    `collection` is a Flax collection: nested dictionaries, one for each module.
    """
    calls: dict[str, tuple[Array, Array]] = {}
    for name, value in collection.items():
        if hasattr(value, "items"):
            calls.update(_recorded_calls(value))
        else:
            [calls[name]] = value  # `sow` puts each value into a tuple
    return calls
