"""Recognise networks of Flax NNX in a user's code, and create them.

`flax.nnx` is looked up among the imported modules: if it is not there, no NNX network can exist.
"""

import inspect
import sys
from collections.abc import Callable, Mapping
from typing import Any

from jaxcifar.errors import UsageError
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.networks.nnx_network import NNXNetwork, nnx_network

RNGS = "rngs"  # the argument with the random streams, in all guides of Flax


def is_nnx_module(value: Any) -> bool:
    """Return True if a value is a module of Flax NNX (an instance, not a class)."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, nnx.Module)


def is_nnx_class(value: Any) -> bool:
    """Return True if a value is the class of a module of Flax NNX."""
    nnx = sys.modules.get("flax.nnx")
    return nnx is not None and isinstance(value, type) and issubclass(value, nnx.Module)


def makes_nnx_module(constructor: Callable[..., Any], option: str) -> bool:
    """Return True if a user's class or function creates a module of Flax NNX.

    The function is not called: if it has a parameter `rngs` (the random streams), it is assumed to
    create such a module.

    Args:
      constructor: the user's class or function.
      option: the option that names it, such as "--arch net.py:Net", for messages.

    Raises:
      UsageError: a class of NNX has no parameter `rngs`, or the user named a module, not its class.
    """
    if is_nnx_module(constructor):
        raise UsageError(
            f"{option}: is a module that has its weights already; name its class, or a function "
            f"of {RNGS} that returns it, so that --seed decides the weights"
        )
    takes_rngs = RNGS in constructor_parameters(constructor)
    if is_nnx_class(constructor) and not takes_rngs:
        raise UsageError(
            f"{option}: its __init__ takes no `{RNGS}`: write __init__(self, *, {RNGS}), and pass "
            "it to the layers, so that --seed decides the weights"
        )
    return is_nnx_class(constructor) or (takes_rngs and inspect.isfunction(constructor))


def constructor_parameters(constructor: Callable[..., Any]) -> Mapping[str, inspect.Parameter]:
    """Return the parameters of a function, or of the `__init__` of a class, by name."""
    if not is_nnx_class(constructor):
        return inspect.signature(constructor).parameters
    # The signature of the class itself is that of Flax's metaclass.
    _, *parameters = inspect.signature(constructor.__init__).parameters.values()
    return {parameter.name: parameter for parameter in parameters}


def create_nnx_network(
    constructor: Callable[..., Any], arguments: Mapping[str, Any], option: str
) -> NNXNetwork:
    """Create a module of Flax NNX, and return it as a network.

    Args:
      constructor: a class or function that is called with `arguments` and `rngs`.
      arguments: keyword arguments without `rngs`.
      option: the option that names the constructor, for messages.

    Raises:
      UsageError: the function does not return an NNX module, or the module has no `__call__`.
    """
    created_classes: list[type] = []  # filled when `nnx_network` calls `construct`

    def construct(rngs: Any) -> Any:
        module = constructor(**arguments, rngs=rngs)
        if not is_nnx_module(module):
            raise UsageError(
                f"{option}: returns {type(module).__name__} for `{RNGS}`, not a module of "
                f"flax.nnx; return the module that is made with `{RNGS}`"
            )
        created_classes.append(type(module))
        return module

    dtype: Dtype | None = arguments.get("dtype")
    network = nnx_network(construct, dtype=dtype)
    module_class = created_classes[0]
    has_call = any("__call__" in vars(base) for base in module_class.__mro__)
    if not has_call:
        raise UsageError(
            f"{option}: {module_class.__name__} has no method __call__(self, x); add one that "
            "returns the logits"
        )
    parameters = inspect.signature(module_class.__call__).parameters
    return network.clone(takes_train="train" in parameters, takes_rngs=RNGS in parameters)
