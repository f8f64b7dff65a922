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
    """A call of a dense layer: its input and its output."""

    inputs: Float32[Array, "batch features"]
    outputs: Float32[Array, "batch classes"]


class Heads(NamedTuple):
    """A network's logits, and the calls of dense layers whose outputs have the same shape."""

    logits: Float32[Array, "batch classes"]
    calls: list[DenseCall]


@partial(jax.jit, static_argnums=0, compiler_options=CPU_OPTIONS)
def dense_calls(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: UInt8[Array, "batch height width 3"],
) -> Heads:
    """Apply a network in evaluation mode, and return the dense layers that may give its logits.

    Dense layers are Flax's `nn.Dense` and `nnx.Linear`, and this package's `Dense`. Of `hyper`,
    only `mean` and `std` are used.
    """
    normalized = augment.normalize(augment.pixels(images), hyper.mean, hyper.std)
    model = network.for_one_device(program.model)
    names: list[str] = []  # of the recorded calls, in the order of the calls

    def record(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        outputs = call(*args, **kwargs)
        module = context.module
        is_dense = isinstance(module, nn.Dense | Dense) and context.method_name == "__call__"
        inputs = args[0] if args else kwargs.get("inputs")
        if is_dense and inputs is not None and inputs.ndim == 2 and len(inputs) == len(images):
            # `sow` also works inside Flax's transformations, such as `nn.remat`.
            names.append(f"call_{len(names)}")
            module.sow(_COLLECTION, names[-1], (inputs, outputs))
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
    calls = {name: call for name, (call,) in _leaves_by_name(recorded.get(_COLLECTION, {}))}
    pairs = [calls[name] for name in names if name in calls] + nnx_calls
    found = [
        DenseCall(inputs.astype(jnp.float32), outputs.astype(jnp.float32))
        for inputs, outputs in pairs
    ]
    heads = [call for call in found if call.outputs.shape == logits.shape]
    return Heads(logits.astype(jnp.float32), heads)


def _leaves_by_name(tree: Any) -> list[tuple[str, Any]]:
    """Return (name, sown tuple) of each recorded call in nested dictionaries by module."""
    leaves: list[tuple[str, Any]] = []
    for name, value in tree.items():
        leaves += _leaves_by_name(value) if hasattr(value, "items") else [(name, value)]
    return leaves
