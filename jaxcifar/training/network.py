"""Functions that initialise and apply a network: a built-in network or any Flax module.

A network is called as `model(images, train)`, and maps normalised images to logits. Besides
parameters a network may have other variables, which change in each step, such as `batch_stats`.
These `other_variables` form one tree: the entries of `batch_stats`, and each other collection
under its name with a colon in front.
"""

from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float, Float32, Int32, Key
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine import sharing
from jaxcifar.machine.sharing import AnyArray, PyTree
from jaxcifar.networks.adapt import adapt_layers
from jaxcifar.networks.layers import EXAMPLE_STREAM

Variables = dict[str, PyTree]
_MAX_INIT_IMAGES = 5000  # images from which a network may compute its first weights
_MAX_INIT_PIXELS = _MAX_INIT_IMAGES * IMAGE_SIZE**2  # of larger images, fewer are used
_BATCH_STATS = "batch_stats"
_COLLECTION_PREFIX = ":"  # no module name can contain it


class BatchPart(NamedTuple):
    """The position of a part of a batch, if a batch is computed in parts to save memory.

    Attributes:
      number: the part's number, from 0.
      first_position: position of the part's first example in the whole batch.
    """

    number: Int32[Array, ""]
    first_position: Int32[Array, ""]


def variables(params: PyTree, other_variables: PyTree) -> Variables:
    """Return a network's variables as Flax collections, by the name of the collection.

    Args:
      params: the parameters.
      other_variables: all other variables as one tree: the entries of the collection "batch_stats",
        and each other collection under its name with a colon in front.
    """
    batch_stats, other_collections = {}, {}
    for name, tree in other_variables.items():
        is_collection = name.startswith(_COLLECTION_PREFIX)
        if is_collection:
            collection_name = name.removeprefix(_COLLECTION_PREFIX)
            other_collections[collection_name] = tree
        else:
            batch_stats[name] = tree
    return {"params": params, _BATCH_STATS: batch_stats, **other_collections}


def split_variables(all_variables: Variables) -> tuple[PyTree, PyTree]:
    """Return a network's parameters, and all other variables as one tree.

    This is the inverse of `variables`.
    """
    collections = {name: tree for name, tree in all_variables.items() if name != "params"}
    return all_variables["params"], _as_one_tree(collections)


def _as_one_tree(collections: Variables) -> PyTree:
    one_tree = dict(collections.get(_BATCH_STATS, {}))
    for name, tree in collections.items():
        if name != _BATCH_STATS:
            one_tree[_COLLECTION_PREFIX + name] = tree
    return one_tree


def init(
    model: nn.Module, key: Key[Array, ""], images: Float[AnyArray, "images height width channels"]
) -> tuple[PyTree, PyTree]:
    """Initialise a network; return its parameters, and its other variables as one tree.

    Other variables are, for example, running statistics (see `variables`). Collections that grow
    with each call (made by Flax's `sow`) are left out.

    Args:
      model: the network.
      key: random key for the initial weights.
      images: normalised training images, from which a network may compute its initial weights.
    """
    collections = dict(nn.meta.unbox(model.init(key, images, train=False)))
    params = collections.pop("params", {})
    no_collection_can_grow = set(collections) <= {_BATCH_STATS}
    if no_collection_can_grow:
        return params, _as_one_tree(collections)

    # A collection grows if one more step changes its structure.
    def collections_after_one_step() -> Variables:
        _, updated_collections = copy_for_one_device(model).apply(
            {"params": params, **collections},
            images,
            train=True,
            mutable=list(collections),
            rngs=_random_streams(key, None),
        )
        return dict(updated_collections)

    updated_collections = jax.eval_shape(collections_after_one_step)
    lasting_collections = {}
    for name, tree in collections.items():
        structure_before: Any = jax.tree.structure(tree)
        structure_after: Any = jax.tree.structure(updated_collections.get(name))
        grows_with_each_call = structure_after != structure_before
        if not grows_with_each_call:
            lasting_collections[name] = tree
    return params, _as_one_tree(lasting_collections)


def init_image_count(images_shape: tuple[int, ...]) -> int:
    """Return how many training images to pass to `init`, for images of a shape `[N, H, W, 3]`."""
    _, height, width, _ = images_shape
    images_of_this_size = max(1, _MAX_INIT_PIXELS // (height * width))
    return min(_MAX_INIT_IMAGES, images_of_this_size)


def variable_shapes(model: nn.Module, image_size: int = IMAGE_SIZE) -> Variables:
    """Return the shapes and dtypes of a network's variables; no values are computed.

    Args:
      model: the network.
      image_size: height and width of the images.
    """
    images = jax.ShapeDtypeStruct((1, image_size, image_size, 3), jnp.float32)
    model = copy_for_one_device(model)

    def initialize(images: Array) -> tuple[PyTree, PyTree]:
        return init(model, jax.random.key(0), images)

    params, other_variables = jax.eval_shape(initialize, images)
    return variables(params, other_variables)


def forward(
    model: nn.Module,
    all_variables: Variables,
    images: Float[Array, "batch height width channels"],
    key: Key[Array, ""],
    device_axis: str | None,
    product_dtype: Dtype | None = None,
    part: BatchPart | None = None,
) -> tuple[Float32[Array, "batch classes"], PyTree]:
    """Apply a network in training mode to this device's share of the batch.

    Args:
      model: the network.
      all_variables: the network's variables as Flax collections.
      images: normalised images.
      key: random key for dropout and other random layers.
      device_axis: name of the mapped axis of the devices that share the batch; None for one device.
      product_dtype: on a CPU, the inputs of matrix products are rounded to this dtype, unless None.
      part: position of the images if they are a part of the batch, else None. Each part draws
        other random numbers.

    Returns:
      the logits of these images, and the variables other than parameters after the step.
    """
    mutable_names = [name for name in all_variables if name != "params"]
    random_streams = _random_streams(key, device_axis, part)
    first_position = None if part is None else part.first_position
    with adapt_layers(device_axis, product_dtype, first_position):
        logits, updated_collections = model.apply(
            all_variables, images, train=True, mutable=mutable_names, rngs=random_streams
        )
    mutable_collections = {name: updated_collections.get(name, {}) for name in mutable_names}
    return logits.astype(jnp.float32), _as_one_tree(mutable_collections)


def _random_streams(
    key: Array, device_axis: str | None, part: BatchPart | None = None
) -> dict[str, Array]:
    """Return a random key for each of Flax's random streams, by the stream's name.

    Flax uses the key of "params" for streams that are missing here. The key of `EXAMPLE_STREAM` is
    the same on all devices and for all parts of a batch. Layers derive a key for each image from
    this key.
    """
    device_key = sharing.device_key(key, device_axis)
    if part is not None:
        device_key = jax.random.fold_in(device_key, part.number)
    return {EXAMPLE_STREAM: key, "dropout": device_key, "params": device_key}


def predict(
    model: nn.Module,
    all_variables: Variables,
    images: Float[Array, "batch height width channels"],
    product_dtype: Dtype | None = None,
) -> Float32[Array, "batch classes"]:
    """Return a network's logits in evaluation mode.

    Args:
      model: the network.
      all_variables: the network's variables as Flax collections.
      images: normalised images.
      product_dtype: on a CPU, the inputs of matrix products are rounded to this dtype, unless None.
    """
    with adapt_layers(None, product_dtype):
        logits: Any = model.apply(all_variables, images, train=False)
        return logits.astype(jnp.float32)


def copy_for_one_device(model: nn.Module) -> nn.Module:
    """Return a copy of a network that computes its statistics on one device, not over devices."""
    return model.clone(axis_name=None) if hasattr(model, "axis_name") else model


def dtype(model: nn.Module) -> jnp.dtype:
    """Return the field `dtype` of a network; float32 if the network has no such field."""
    return jnp.dtype(getattr(model, "dtype", None) or jnp.float32)


def has_convolution(model: nn.Module, platform: str, image_size: int = IMAGE_SIZE) -> bool:
    """Return True if a network contains a convolution, when compiled for a platform such as "cpu".

    JAX's lowered program for images of `image_size` x `image_size` pixels is searched, so that a
    convolution is found however the network is written.
    """
    model = copy_for_one_device(model)
    key = jax.random.key(0)
    batch_size = 2
    images = jax.ShapeDtypeStruct((batch_size, image_size, image_size, 3), jnp.float32)
    all_variables = jax.eval_shape(lambda images: variables(*init(model, key, images)), images)

    @jax.jit
    def compute_logits(all_variables: Variables, images: Array) -> Array:
        logits, _ = forward(model, all_variables, images, key, device_axis=None)
        return logits

    lowered = compute_logits.trace(all_variables, images).lower(lowering_platforms=(platform,))
    return "stablehlo.convolution" in lowered.as_text()
