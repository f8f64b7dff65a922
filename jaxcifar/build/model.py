"""Create the network of a config, and check a user's network before training."""

import dataclasses
import inspect
import math
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import psutil
from flax import linen as nn

from jaxcifar.build.nnx_model import (
    RNGS,
    constructor_parameters,
    create_nnx_network,
    is_nnx_class,
    is_nnx_module,
    makes_nnx_module,
)
from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import option_text
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError, first_line
from jaxcifar.image_size import image_shape
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine.sharing import PyTree
from jaxcifar.networks.adapt import SequentialNetwork, adapted

_UNBOUND_AXIS = "unbound axis name"  # in JAX's message
_FLAX_FIELDS = {"parent", "name"}
_FLOAT_BYTES = 4
_COPIES = 4  # copies of the parameters during training: weights, gradients, momentum, new weights


def create_model(
    config: Config,
    num_classes: int,
    dtype: Dtype = jnp.float32,
    axis_name: str | None = None,
) -> nn.Module:
    """Create the network that a config names, and return it.

    The network gets the arguments of `--arch-args`, and the settings that the registry lists for
    it. It also gets `num_classes`, `dtype` and `axis_name` (the mapped axis of devices that share a
    batch) if it has fields of these names.

    Raises:
      UsageError: the network is unknown, or does not have one of the arguments.
    """
    option = f"--arch {config.arch}"
    constructor: Any = user_code.load(config, "arch")
    if not callable(constructor):
        raise UsageError(f"{option}: is no Flax module, nor a function that returns one")
    is_nnx = registry.is_user_code(config.arch) and makes_nnx_module(constructor, option)
    defaults = _argument_defaults(constructor)
    set_by_package: dict[str, Any] = {
        "num_classes": num_classes,
        "dtype": dtype,
        "axis_name": axis_name,
    }
    if is_nnx:  # `adapted` sets the axis of NNX layers
        set_by_package |= {"axis_name": None, RNGS: None}
    set_by_package |= {
        name: getattr(config, name) for name in registry.entry("arch", config.arch).takes
    }
    for name, value in config.arch_args:
        _check_argument(config, name, value, defaults, set_by_package)
    arguments = {name: value for name, value in set_by_package.items() if name in defaults}
    arguments |= dict(config.arch_args)
    with _explain_errors(config):
        if is_nnx:
            del arguments[RNGS]
            model: Any = create_nnx_network(constructor, arguments, option)
        elif isinstance(constructor, nn.Module):
            model = constructor.clone(**arguments)
        else:
            model = constructor(**arguments)
    _check_type(model, option)
    takes_dtype = "dtype" in defaults if is_nnx else hasattr(model, "dtype")
    if config.dtype == "bfloat16" and not takes_dtype:
        raise UsageError(
            f"--dtype bfloat16: {config.network_title} has no field `dtype`; add one, or leave the "
            "option out"
        )
    return SequentialNetwork(model) if isinstance(model, nn.Sequential) else model


def _check_type(model: Any, option: str) -> None:
    if is_nnx_module(model):
        raise UsageError(
            f"{option}: returns a module of flax.nnx with weights already; give the function a "
            f"parameter `{RNGS}` and pass it to the module, so that --seed decides the weights"
        )
    if not isinstance(model, nn.Module):
        raise UsageError(f"{option}: returns {type(model).__name__}, not a Flax module")


def compute_dtype(config: Config, device: jax.Device) -> jnp.dtype:
    """Return the dtype in which a network computes on a device.

    The setting "auto" means float32 on a CPU and bfloat16 on an accelerator.
    """
    if config.dtype != "auto":
        return jnp.dtype(config.dtype)
    return jnp.dtype("float32" if device.platform == "cpu" else "bfloat16")


@contextmanager
def _explain_errors(config: Config) -> Iterator[None]:
    """Convert errors of a user's network or `--arch-args` in the `with` block to UsageError."""
    with explain_user_code_errors(("arch", config.arch)):
        try:
            yield
        except UsageError:
            raise
        except NameError as error:
            if _UNBOUND_AXIS not in str(error):
                raise
            raise NameError(
                f"{first_line(error)} Write a field `axis_name: str | None = None` and use it: the "
                "name is None if no devices share a batch."
            ).with_traceback(error.__traceback__) from error
        except Exception as error:
            if registry.is_user_code(config.arch) or not config.arch_args:
                raise
            arguments = " ".join(f"{name}={option_text(value)}" for name, value in config.arch_args)
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(
                f"--arch-args {arguments}: {config.arch} can't be created with these arguments "
                f"({reason})"
            ) from error


def _argument_defaults(constructor: Callable[..., Any]) -> dict[str, Any]:
    """Return the default value of each argument of a network's constructor, by name.

    `constructor` is a class, a function, or a Linen module, whose fields count as arguments.
    """
    if isinstance(constructor, nn.Module):
        names = {field.name for field in dataclasses.fields(constructor) if field.init}
        return {name: getattr(constructor, name) for name in sorted(names - _FLAX_FIELDS)}
    if dataclasses.is_dataclass(constructor) and not is_nnx_class(constructor):
        fields = (field for field in dataclasses.fields(constructor) if field.init)
        return {field.name: field.default for field in fields if field.name not in _FLAX_FIELDS}
    return {name: p.default for name, p in constructor_parameters(constructor).items()}


def _check_argument(
    config: Config,
    name: str,
    value: Any,
    defaults: Mapping[str, Any],
    set_by_package: Mapping[str, Any],
) -> None:
    option = f"--arch-args {name}={option_text(value)}"
    if name in ("dropout", "dtype") and name in set_by_package:
        raise UsageError(f"{option}: can't be set here; use --{name} instead")
    if name in set_by_package:
        raise UsageError(f"{option}: is set from the data and the devices; leave it out")
    if name not in defaults:
        title = registry.entry("arch", config.arch).title
        allowed_names = [name for name in defaults if name not in set_by_package]
        raise UsageError(
            f"{option}: {title} has no such argument; {registry.did_you_mean(name, allowed_names)}"
            f"it takes {', '.join(allowed_names) or 'none'}"
        )
    default = defaults[name]
    default_type = type(default)
    is_checked = default_type in (bool, int, float, str, tuple)
    if is_checked and not _has_type(value, default_type):
        default_text = option_text(default)
        raise UsageError(f"{option}: must be of the same kind as {default_text}, the default")


def _has_type(value: Any, expected: type) -> bool:
    """Return True if a value can replace a default value of type `expected`.

    An int can replace a float. A bool is no number here, although Python's bool is an int.
    """
    if isinstance(value, bool):
        return expected is bool
    if expected is float:
        return isinstance(value, (int, float))
    return isinstance(value, expected)


def check_model(config: Config, model: nn.Module, num_classes: int) -> None:
    """Check that a network can be trained and evaluated, by tracing it; nothing is computed.

    Raises:
      UsageError: the network can't be called as `model(images, train)`, fails, does not return
        logits `[B, num_classes]`, or is too large for this machine. The message is one line, with
        file and line of the user's code.
    """
    option = f"--arch {config.arch}:"
    parameters = inspect.signature(type(model).__call__).parameters
    takes_any_name = any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    if "train" not in parameters and not takes_any_name:
        raise UsageError(f"{option} its __call__ takes no `train`: write __call__(self, x, train)")
    images = jax.ShapeDtypeStruct((2, *image_shape(config.image_size)), jnp.float32)

    def variables_and_logits(images: jax.Array, train: bool) -> tuple[Any, Any]:
        rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
        variables = model.init(rngs, images, train=False)
        if not train:
            return variables, model.apply(variables, images, train=False)
        mutable = list(variables)
        logits, _ = model.apply(variables, images, train=True, rngs=rngs, mutable=mutable)
        return variables, logits

    with _explain_errors(config), adapted(None):
        evaluate = partial(variables_and_logits, train=False)
        variables, evaluation_logits = jax.eval_shape(evaluate, images)
        size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
        if _FLOAT_BYTES * _COPIES * size > psutil.virtual_memory().total:
            raise UsageError(
                f"{option} its {size:,} parameters do not fit into this machine's memory; use a "
                "smaller network"
            )
        _check_storable(option, variables)
        train = partial(variables_and_logits, train=True)
        _, training_logits = jax.eval_shape(train, images)
    for logits in (evaluation_logits, training_logits):
        if not hasattr(logits, "shape"):
            raise UsageError(f"{option} returns {type(logits).__name__}, not an array of logits")
        if logits.shape != (2, num_classes):
            raise UsageError(
                f"{option} returns {list(logits.shape)} for 2 images of {num_classes} classes; it "
                f"must be [2, {num_classes}]: a field num_classes is set to the number of classes"
            )
        if not jnp.issubdtype(logits.dtype, jnp.floating):
            raise UsageError(f"{option} returns {logits.dtype} for logits; they must be floats")


def _check_storable(option: str, variables: PyTree) -> None:
    """Raise UsageError if a network's variables contain a random key, which files can't hold."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UsageError(
                f"{option} its variable {name} is a random key, which files of weights can't hold; "
                "draw a new key in each call, or keep jax.random.key_data(key)"
            )
