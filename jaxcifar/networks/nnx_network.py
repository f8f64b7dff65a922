"""A network of Flax NNX as a Linen module, the form in which this package calls all networks.

An NNX module holds its arrays; a Linen module gets them as collections. `NNXNetwork` keeps the
structure of an NNX module, and puts the arrays of the collections into it for each call.

`flax.nnx` is imported only where such a network is used: its import takes time.
"""

import contextlib
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import jax
from flax import linen as nn
from jax import Array

from jaxcifar.array_types import Float, Key
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.networks.nnx_layers import ModulePath, intercept_modules, modules_with_paths

_PARAMS, _BATCH_STATS, _ARRAYS = "params", "batch_stats", "arrays"  # names of collections


class _VariableEntry(NamedTuple):
    """One variable of an NNX module: where it is, and the collection that stores its arrays.

    Attributes:
      path_in_module: attribute names and list indices from the network to the variable.
      collection: name of the Linen collection; None for random state, which is not stored.
      pytree_structure: the pytree of the variable; nearly always a single array.
      arrays: shapes and dtypes of the variable's arrays.
    """

    path_in_module: tuple[Any, ...]
    collection: str | None
    pytree_structure: Any
    arrays: tuple[Any, ...]

    @property
    def paths_in_collection(self) -> list[ModulePath]:
        """For each array of the variable, its path in the nested dicts of the collection."""
        variable_path = tuple(str(name_or_index) for name_or_index in self.path_in_module)
        if len(self.arrays) == 1:
            return [variable_path]
        return [(*variable_path, str(number)) for number in range(len(self.arrays))]


class _NetworkStructure:
    """An NNX module without its arrays: its graph of modules, and an entry for each variable."""

    def __init__(self, graph: Any, entries: list[_VariableEntry]) -> None:
        self.graph, self.entries = graph, entries

    @property
    def collections(self) -> set[str]:
        """The names of the collections that store the arrays."""
        return {entry.collection for entry in self.entries if entry.collection is not None}


class NNXNetwork(nn.Module):
    """An NNX network that is called as `network(images, train)`, as a Linen module.

    Its `nnx.Param` variables are the collection "params", and its `nnx.BatchStat` variables are
    "batch_stats". Other variables are collections with the names of their classes. In each training
    step, all random streams of the network get new keys from the step's key for dropout.

    Attributes:
      construct: returns the NNX module, given `nnx.Rngs`.
      structure: the structure of that module.
      takes_train: True to pass `train` to the module.
      takes_rngs: True to pass `rngs` to the module.
      dtype: the dtype that the module computes in; None if it has no such argument.
      change_layer: function that is called with each module in the network, and with the network
        itself, before the network is called.
      interceptor: function that is called instead of each module, as by `nn.intercept_methods`.
    """

    construct: Callable[[Any], Any]
    structure: _NetworkStructure
    takes_train: bool = False
    takes_rngs: bool = False
    dtype: Dtype | None = None
    change_layer: Callable[[Any], None] | None = None
    interceptor: Callable[..., Any] | None = None

    def __call__(
        self, images: Float[Array, "batch height width channels"], train: bool
    ) -> Float[Array, "batch classes"]:
        from flax import nnx

        if self.is_initializing():
            new_module = self.construct(nnx.Rngs(self.make_rng("params")))
            _store_arrays(self, new_module, self.structure.collections)
        key = self.make_rng("dropout") if self.has_rng("dropout") else jax.random.key(0)
        rngs_key, streams_key = jax.random.split(key)
        network = _make_filled_module(self, streams_key)
        if train:
            network.train()
        else:
            network.eval()
        if self.change_layer is not None:
            for _, layer in modules_with_paths(network):
                self.change_layer(layer)
        options: dict[str, Any] = {"train": train} if self.takes_train else {}
        if self.takes_rngs:
            options["rngs"] = nnx.Rngs(rngs_key)
        with intercept_modules(network, self.interceptor):
            logits = network(images, **options)
        if not self.is_initializing():
            other_names = self.structure.collections - {_PARAMS}
            mutable_names = {name for name in other_names if self.is_mutable_collection(name)}
            _store_arrays(self, network, mutable_names)
        return logits


@contextlib.contextmanager
def intercept_layers(network: NNXNetwork, interceptor: Callable[..., Any]) -> Iterator[None]:
    """In a `with` block, call an interceptor instead of each module in an NNX network.

    The interceptor is called as `interceptor(call, args, kwargs, context)`, where `call` calls the
    module and `context` is a `LayerContext`.
    """
    object.__setattr__(network, "interceptor", interceptor)  # Flax forbids ordinary assignment
    try:
        yield
    finally:
        object.__setattr__(network, "interceptor", None)


def _make_filled_module(network: NNXNetwork, key: Key[Array, ""]) -> Any:
    """Return the NNX module that `network` wraps, with the arrays that Linen's collections hold.

    The random streams of the NNX module get new keys, made from `key`.
    """
    from flax import nnx

    variables = network.variables
    leaves = []
    for number, entry in enumerate(network.structure.entries):
        if entry.collection is None:
            stream_key = jax.random.fold_in(key, number)
            arrays = [_new_random_state(array, stream_key) for array in entry.arrays]
        else:
            collection = variables[entry.collection]
            arrays = [_get_nested(collection, path) for path in entry.paths_in_collection]
        leaf = jax.tree.unflatten(entry.pytree_structure, arrays)
        leaves.append((entry.path_in_module, leaf))
    return nnx.merge(network.structure.graph, nnx.from_flat_state(leaves))


def _store_arrays(network: NNXNetwork, module: Any, collections: set[str]) -> None:
    """Copy arrays of an NNX module into the named collections of the Linen module `network`.

    `collections` has the names. Arrays that belong to other collections are not copied.
    """
    filled_entries = _split_structure(module).entries
    arrays_by_path = {entry.path_in_module: entry.arrays for entry in filled_entries}
    tree_of_collection: dict[str, dict[str, Any]] = {name: {} for name in collections}
    for entry in network.structure.entries:
        if entry.collection in tree_of_collection:
            tree = tree_of_collection[entry.collection]
            arrays = arrays_by_path[entry.path_in_module]
            for path, array in zip(entry.paths_in_collection, arrays, strict=True):
                _set_nested(tree, path, array)
    for collection, tree in tree_of_collection.items():
        for name, subtree in tree.items():
            network.put_variable(collection, name, subtree)


def nnx_network(construct: Callable[[Any], Any], **options: Any) -> NNXNetwork:
    """Return an NNX network as a Linen module; no weights are computed.

    Args:
      construct: returns the NNX network, given `nnx.Rngs`.
      options: other fields of `NNXNetwork`.
    """
    from flax import nnx

    traced_structures = []

    def record_structure(key: Key[Array, ""]) -> None:
        traced_structures.append(_split_structure(construct(nnx.Rngs(key))))

    jax.eval_shape(record_structure, jax.random.key(0))
    [traced_structure] = traced_structures
    entries = []
    for entry in traced_structure.entries:
        shapes = [jax.ShapeDtypeStruct(array.shape, array.dtype) for array in entry.arrays]
        entries.append(entry._replace(arrays=tuple(shapes)))
    return NNXNetwork(construct, _NetworkStructure(traced_structure.graph, entries), **options)


def _split_structure(network: Any) -> _NetworkStructure:
    """Return the graph of an NNX module, with an entry (path and arrays) for each variable."""
    from flax import nnx

    graph, state = nnx.split(network)
    entries = []
    for path, leaf in nnx.to_flat_state(state):
        arrays, structure = jax.tree.flatten(leaf)
        entries.append(_VariableEntry(path, _collection_name(leaf), structure, tuple(arrays)))
    return _NetworkStructure(graph, entries)


def _collection_name(leaf: Any) -> str | None:
    """Return the name of the Linen collection that stores a variable of an NNX module.

    Return None for random state, which is not stored. `leaf` is the variable. A variable of an
    unusual class has a collection with the name of its class.
    """
    from flax import nnx

    leaf_class = getattr(leaf, "type", type(leaf))  # older versions wrap variables
    is_variable = isinstance(leaf_class, type) and issubclass(leaf_class, nnx.Variable)
    if not is_variable:
        return _ARRAYS
    if issubclass(leaf_class, nnx.RngState):
        return None
    if issubclass(leaf_class, nnx.Param):
        return _PARAMS
    if issubclass(leaf_class, nnx.BatchStat):
        return _BATCH_STATS
    return leaf_class.__name__


def _new_random_state(array: Any, key: Key[Array, ""]) -> Array:
    """Return new state of a random stream: new keys, or 0 for the count of keys drawn so far.

    Args:
      array: the old state, either keys or a count. The new state has the same shape.
      key: random key from which the new keys are made.
    """
    if not jax.numpy.issubdtype(array.dtype, jax.dtypes.prng_key):
        return jax.numpy.zeros(array.shape, array.dtype)
    return jax.random.split(key, array.shape) if array.shape else key


def _get_nested(tree: Any, path: ModulePath) -> Any:
    """Return the item at a path in nested dicts."""
    for name in path:
        tree = tree[name]
    return tree


def _set_nested(tree: dict[str, Any], path: ModulePath, value: Any) -> None:
    """Set the item at a path in nested dicts; missing dicts are created."""
    *outer_names, last_name = path
    for name in outer_names:
        tree = tree.setdefault(name, {})
    tree[last_name] = value
