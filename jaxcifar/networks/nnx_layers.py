"""The modules in a network of Flax NNX, and interceptors of their calls.

Flax has interceptors, `nn.intercept_methods`, for Linen modules only.
"""

import contextlib
import functools
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

ModulePath = tuple[str, ...]


def modules_with_paths(network: Any) -> list[tuple[ModulePath, Any]]:
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

    path: ModulePath
    module: Any


# The interceptors of NNX modules that are being traced, by the `id` of the module.
_interceptors_by_id: dict[int, Callable[..., Any]] = {}


@contextlib.contextmanager
def intercept_modules(network: Any, interceptor: Callable[..., Any] | None) -> Iterator[None]:
    """In a `with` block, call an interceptor instead of each module in an NNX network.

    The interceptor is called as `interceptor(call, args, kwargs, context)`, where `call` calls the
    module and `context` is a `LayerContext`. If `interceptor` is None, the modules are called as
    usual.
    """
    if interceptor is None:
        yield
        return
    modules = modules_with_paths(network)
    callable_modules = [(path, module) for path, module in modules if callable(module)]
    try:
        for path, module in callable_modules:
            context = LayerContext(path, module)
            _interceptors_by_id[id(module)] = functools.partial(interceptor, context=context)
            module_class: Any = type(module)  # the cache's type takes no classes
            object.__setattr__(module, "__class__", _intercepted_class(module_class))
        yield
    finally:
        for _, module in callable_modules:
            _interceptors_by_id.pop(id(module), None)


@functools.cache
def _intercepted_class(module_class: Any) -> type:
    """Return a subclass of an NNX module's class whose instances call their interceptors.

    Python looks up `__call__` in the class, so `__call__` can't be replaced in a single module.
    """

    def call(self: Any, *args: Any, **kwargs: Any) -> Any:
        original_call = functools.partial(module_class.__call__, self)
        interceptor = _interceptors_by_id.get(id(self))  # a copy by a transformation has none
        if interceptor is None:
            return original_call(*args, **kwargs)
        return interceptor(original_call, args, kwargs)

    copied_names = ("__module__", "__qualname__", "__doc__")
    members = {name: getattr(module_class, name) for name in copied_names}
    metaclass = type(module_class)
    return metaclass(module_class.__name__, (module_class,), {**members, "__call__": call})
