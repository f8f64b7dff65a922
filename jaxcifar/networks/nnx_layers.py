"""The modules in a network of Flax NNX, and interceptors of their calls.

Flax has interceptors, `nn.intercept_methods`, for Linen modules only.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

Path = tuple[str, ...]


def layers(network: Any) -> list[tuple[Path, Any]]:
    """Return all NNX modules in a network, and the network itself, as pairs (path, module).

    A path has the attribute names and list indices that lead from the network to the module.
    """
    from flax import nnx

    modules = []
    for path, node in nnx.iter_graph(network):
        if isinstance(node, nnx.Module):
            modules.append((tuple(map(str, path)), node))
    return modules


class LayerContext(NamedTuple):
    """The context of an intercepted call of an NNX module: the module, and its path."""

    path: Path
    module: Any


# The interceptors of NNX modules that are being traced, by the `id` of the module.
_interceptors: dict[int, Callable[..., Any]] = {}


@contextlib.contextmanager
def interceptors_of_layers(network: Any, interceptor: Callable[..., Any] | None) -> Iterator[None]:
    """In a `with` block, call an interceptor instead of each module in an NNX network.

    The interceptor is called as `interceptor(call, args, kwargs, context)`, where `call` calls the
    module and `context` is a `LayerContext`. If `interceptor` is None, the modules are called as
    usual.
    """
    if interceptor is None:
        yield
        return
    callable_layers = [(path, layer) for path, layer in layers(network) if callable(layer)]
    try:
        for path, layer in callable_layers:
            context = LayerContext(path, layer)
            _interceptors[id(layer)] = functools.partial(interceptor, context=context)
            layer_class: Any = type(layer)  # the cache's type takes no classes
            object.__setattr__(layer, "__class__", _intercepted_class(layer_class))
        yield
    finally:
        for _, layer in callable_layers:
            _interceptors.pop(id(layer), None)


@functools.cache
def _intercepted_class(layer_class: Any) -> type:
    """Return a subclass of an NNX module's class whose instances call their interceptors.

    Python looks up `__call__` in the class, so `__call__` can't be replaced in a single module.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        method = functools.partial(layer_class.__call__, self)
        interceptor = _interceptors.get(id(self))  # a copy made by a transformation has none
        return interceptor(method, args, kwargs) if interceptor else method(*args, **kwargs)

    names = ("__module__", "__qualname__", "__doc__")
    members = {name: getattr(layer_class, name) for name in names}
    return type(layer_class)(layer_class.__name__, (layer_class,), {**members, "__call__": call})
