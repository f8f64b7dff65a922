"""A network as training and evaluation apply it, be it ours or of plain Flax layers.

Called `model(images, train)`, it maps normalised images to logits. Beside parameters it may carry
collections of variables from step to step. Those are one tree: the entries of `batch_stats`, and
each other collection below its name with a colon before it.
"""

from collections.abc import Callable
from typing import Any

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float, Float32, Key
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine import sharing
from jaxcifar.machine.sharing import AnyArray, PyTree
from jaxcifar.networks.adapt import adapted
from jaxcifar.networks.layers import EXAMPLES

Variables = dict[str, PyTree]
_STATS = "batch_stats"
_MARK = ":"  # in no name of a module


def variables(params: PyTree, carried: PyTree) -> Variables:
    """What applying a network takes, by collection."""
    others = {name[1:]: tree for name, tree in carried.items() if name.startswith(_MARK)}
    stats = {name: tree for name, tree in carried.items() if not name.startswith(_MARK)}
    return {"params": params, _STATS: stats, **others}


def split(given: Variables) -> tuple[PyTree, PyTree]:
    """Parameters, and what the network carries beside them: the inverse of `variables`."""
    return given["params"], _carried({k: tree for k, tree in given.items() if k != "params"})


def _carried(collections: Variables) -> PyTree:
    stats = collections.get(_STATS, {})
    others = {_MARK + name: tree for name, tree in collections.items() if name != _STATS}
    return {**stats, **others}


def init(
    model: nn.Module, key: Key[Array, ""], images: Float[AnyArray, "images height width channels"]
) -> tuple[PyTree, PyTree]:
    """Parameters, and what the network carries beside them.

    Collections that grow from call to call are not carried: what is sown.

    Args:
      model: the network.
      key: what is random in it.
      images: training images, normalised: what is found from them is a network's own affair.
    """
    collections = dict(nn.meta.unbox(model.init(key, images, train=False)))
    params = collections.pop("params", {})
    if set(collections) <= {_STATS}:
        return params, _carried(collections)

    def step() -> Variables:
        _, updated = alone(model).apply(
            {"params": params, **collections},
            images,
            train=True,
            mutable=list(collections),
            rngs=_streams(key, None),
        )
        return dict(updated)

    after = jax.eval_shape(step)
    structure: Callable[[Any], Any] = jax.tree.structure
    same = {
        name: tree
        for name, tree in collections.items()
        if structure(tree) == structure(after.get(name))
    }
    return params, _carried(same)


def shapes(model: nn.Module) -> Variables:
    """What a network's variables look like; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    made = jax.eval_shape(lambda x: init(alone(model), jax.random.key(0), x), images)
    return variables(*made)


def forward(
    model: nn.Module,
    given: Variables,
    images: Float[Array, "batch height width channels"],
    key: Key[Array, ""],
    axis: str | None,
    operands: Dtype | None = None,
) -> tuple[Float32[Array, "batch classes"], PyTree]:
    """Apply a network in training.

    Args:
      model: the network.
      given: its variables.
      images: this device's part of the batch, normalised.
      key: what its random streams come from, the same on all devices.
      axis: of the devices that share the batch.
      operands: see `adapted`.

    Returns:
      logits, and what the network carries on, as this device has it.
    """
    collections = [name for name in given if name != "params"]
    with adapted(axis, operands):
        logits, updated = model.apply(
            given, images, train=True, mutable=collections, rngs=_streams(key, axis)
        )
    return logits.astype(jnp.float32), _carried(
        {name: updated.get(name, {}) for name in collections}
    )


def _streams(key: Array, axis: str | None) -> dict[str, Array]:
    """Random keys by stream; streams of other names draw from "params", by Flax's own rule."""
    own = sharing.device_key(key, axis)
    return {EXAMPLES: key, "dropout": own, "params": own}


def predict(
    model: nn.Module,
    given: Variables,
    images: Float[Array, "batch height width channels"],
    operands: Dtype | None = None,
) -> Float32[Array, "batch classes"]:
    """Logits in evaluation; of `operands` see `adapted`."""
    with adapted(None, operands):
        logits: Any = model.apply(given, images, train=False)
        return logits.astype(jnp.float32)


def alone(model: nn.Module) -> nn.Module:
    """The network for a device that shares no batch."""
    return model.clone(axis_name=None) if hasattr(model, "axis_name") else model


def dtype(model: nn.Module) -> jnp.dtype:
    """What a network says that it computes in; if it doesn't, what images are."""
    return jnp.dtype(getattr(model, "dtype", None) or jnp.float32)


def has_convolution(model: nn.Module, platform: str) -> bool:
    """Whether a convolution is left in the program for a kind of device, in words of XLA.

    Found in the program itself, where no way of writing one down escapes.
    """
    model, key = alone(model), jax.random.key(0)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    given = jax.eval_shape(lambda images: variables(*init(model, key, images)), images)
    logits = jax.jit(lambda given, images: forward(model, given, images, key, None)[0])
    text = logits.trace(given, images).lower(lowering_platforms=(platform,)).as_text()
    return "stablehlo.convolution" in text
