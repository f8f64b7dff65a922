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
from jaxcifar.networks.adapt import adapt_layers
from jaxcifar.networks.layers import Dense
from jaxcifar.networks.nnx_layers import LayerContext
from jaxcifar.networks.nnx_network import NNXNetwork, intercept_layers
from jaxcifar.training import augment, network
from jaxcifar.training.network import Variables
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters

_CALLS_COLLECTION = "inputs_of_dense_layers"


class DenseCall(NamedTuple):
    """The input and the output of one call of a dense layer."""

    inputs: Float32[Array, "batch features"]
    outputs: Float32[Array, "batch classes"]


class LogitsAndCalls(NamedTuple):
    """A network's logits, and the calls of dense layers whose outputs have the logits' shape."""

    logits: Float32[Array, "batch classes"]
    calls: list[DenseCall]


@partial(jax.jit, static_argnums=0, compiler_options=CPU_OPTIONS)
def dense_calls(
    program: Program,
    variables: Variables,
    hyper: Hyperparameters,
    images: UInt8[Array, "batch height width 3"],
) -> LogitsAndCalls:
    """Return a network's logits, and the inputs and outputs of its possible last layers.

    The network is applied in evaluation mode. A dense layer (`nn.Dense`, `nnx.Linear` or this
    package's `Dense`) may be the last layer if its outputs have the logits' shape. Of `hyper`, only
    `mean` and `std` are used.
    """
    normalized = augment.normalize(augment.pixels(images), hyper.mean, hyper.std)
    model = network.copy_for_one_device(program.model)
    call_names_in_order: list[str] = []  # Flax groups the recorded calls by module

    def record_linen_call(
        call: Callable, args: Any, kwargs: Any, context: nn.module.InterceptorContext
    ) -> Any:
        outputs = call(*args, **kwargs)
        inputs = _first_argument(args, kwargs)
        module = context.module
        is_dense = isinstance(module, nn.Dense | Dense) and context.method_name == "__call__"
        if is_dense and _has_vector_per_image(inputs, len(images)):
            # `sow` also works inside Flax's transformations, such as `nn.remat`.
            unique_name = f"call_{len(call_names_in_order)}"
            call_names_in_order.append(unique_name)
            module.sow(_CALLS_COLLECTION, unique_name, (inputs, outputs))
        return outputs

    nnx_calls: list[tuple[Array, Array]] = []

    def record_nnx_call(call: Callable, args: Any, kwargs: Any, context: LayerContext) -> Any:
        from flax import nnx

        outputs = call(*args, **kwargs)
        inputs = _first_argument(args, kwargs)
        is_dense = isinstance(context.module, nnx.Linear)
        if is_dense and _has_vector_per_image(inputs, len(images)):
            nnx_calls.append((inputs, outputs))
        return outputs

    nnx_recording: AbstractContextManager[None] = nullcontext()
    if isinstance(model, NNXNetwork):
        nnx_recording = intercept_layers(model, record_nnx_call)
    linen_recording = nn.intercept_methods(record_linen_call)
    with adapt_layers(None, program.product_dtype), linen_recording, nnx_recording:
        logits, sown_collections = model.apply(
            variables, normalized, train=False, mutable=[_CALLS_COLLECTION]
        )
    linen_calls = _recorded_calls(sown_collections.get(_CALLS_COLLECTION, {}))
    linen_calls_in_order = [
        linen_calls[name] for name in call_names_in_order if name in linen_calls
    ]
    calls = [
        DenseCall(inputs.astype(jnp.float32), outputs.astype(jnp.float32))
        for inputs, outputs in linen_calls_in_order + nnx_calls
    ]
    calls_like_logits = [call for call in calls if call.outputs.shape == logits.shape]
    return LogitsAndCalls(logits.astype(jnp.float32), calls_like_logits)


def _first_argument(args: tuple[Any, ...], kwargs: dict[str, Any]) -> Any:
    """Return the input of a layer's call, or None if the call has other arguments."""
    return args[0] if args else kwargs.get("inputs")


def _has_vector_per_image(inputs: Any, image_count: int) -> bool:
    """Return True if the inputs of a dense layer are one vector for each image."""
    return inputs is not None and inputs.ndim == 2 and len(inputs) == image_count


def _recorded_calls(collection: Any) -> dict[str, tuple[Array, Array]]:
    """Return (inputs, outputs) of each recorded call of a layer, by the call's name.

    `collection` is a Flax collection: nested dictionaries, one for each module.
    """
    calls: dict[str, tuple[Array, Array]] = {}
    for name, value in collection.items():
        is_collection_of_module = hasattr(value, "items")
        if is_collection_of_module:
            calls |= _recorded_calls(value)
        else:
            [inputs_and_outputs] = value  # `sow` puts each value into a tuple
            calls[name] = inputs_and_outputs
    return calls
