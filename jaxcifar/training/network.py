"""Functions that initialise and apply a network, one of ours or any Flax module.

A network is called as `model(images, train)`, and maps normalised images to logits. In addition to
parameters it may carry collections of variables from step to step. They form one tree: the entries
of `batch_stats`, and each other collection under its name with a colon in front.
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
_MARK = ":"  # no module name can contain it


def variables(params: PyTree, carried: PyTree) -> Variables:
    """Return the variables of a network by collection, as `model.apply` takes them."""
    others = {name[1:]: tree for name, tree in carried.items() if name.startswith(_MARK)}
    stats = {name: tree for name, tree in carried.items() if not name.startswith(_MARK)}
    return {"params": params, _STATS: stats, **others}


def split(all_variables: Variables) -> tuple[PyTree, PyTree]:
    """Return the parameters, and the collections that the network carries; inverts `variables`."""
    others = {name: tree for name, tree in all_variables.items() if name != "params"}
    return all_variables["params"], _carried(others)


def _carried(collections: Variables) -> PyTree:
    stats = collections.get(_STATS, {})
    others = {_MARK + name: tree for name, tree in collections.items() if name != _STATS}
    return {**stats, **others}


def init(
    model: nn.Module, key: Key[Array, ""], images: Float[AnyArray, "images height width channels"]
) -> tuple[PyTree, PyTree]:
    """Return new parameters, and the collections that the network carries.

    Collections that grow with each call (made by Flax's `sow`) are not carried.

    Args:
      model: the network.
      key: random key of the initial values.
      images: normalised training images; a network may compute initial values from them.
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
    """Return the shapes and types of a network's variables; nothing is computed."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), jnp.float32)
    params, carried = jax.eval_shape(lambda x: init(alone(model), jax.random.key(0), x), images)
    return variables(params, carried)


def forward(
    model: nn.Module,
    all_variables: Variables,
    images: Float[Array, "batch height width channels"],
    key: Key[Array, ""],
    axis: str | None,
    operands: Dtype | None = None,
) -> tuple[Float32[Array, "batch classes"], PyTree]:
    """Apply a network in training.

    Args:
      model: the network.
      all_variables: the network's variables.
      images: this device's part of the batch, normalised.
      key: random key of the network's random streams, the same on all devices.
      axis: mapped axis of the devices that share the batch.
      operands: see `adapted`.

    Returns:
      logits, and the collections that the network carries to the next step, of this device.
    """
    collections = [name for name in all_variables if name != "params"]
    with adapted(axis, operands):
        logits, updated = model.apply(
            all_variables, images, train=True, mutable=collections, rngs=_streams(key, axis)
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
    all_variables: Variables,
    images: Float[Array, "batch height width channels"],
    operands: Dtype | None = None,
) -> Float32[Array, "batch classes"]:
    """Return the logits in evaluation; for `operands` see `adapted`."""
    with adapted(None, operands):
        logits: Any = model.apply(all_variables, images, train=False)
        return logits.astype(jnp.float32)


def alone(model: nn.Module) -> nn.Module:
    """Return the network for a device that computes whole batches."""
    return model.clone(axis_name=None) if hasattr(model, "axis_name") else model


def dtype(model: nn.Module) -> jnp.dtype:
    """Return the `dtype` field of a network, or float32, the type of the images."""
    return jnp.dtype(getattr(model, "dtype", None) or jnp.float32)


def has_convolution(model: nn.Module, platform: str) -> bool:
    """Return True if a network's program for a platform, such as "cpu", contains a convolution.

    The lowered program is searched, so a convolution is found however the network is written.
    """
    model, key = alone(model), jax.random.key(0)
    images = jax.ShapeDtypeStruct((2, 32, 32, 3), jnp.float32)
    all_variables = jax.eval_shape(lambda images: variables(*init(model, key, images)), images)

    @jax.jit
    def logits(all_variables: Variables, images: Array) -> Array:
        return forward(model, all_variables, images, key, None)[0]

    text = logits.trace(all_variables, images).lower(lowering_platforms=(platform,)).as_text()
    return "stablehlo.convolution" in text
