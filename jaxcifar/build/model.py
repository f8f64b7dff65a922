"""Create the network of a config, and check a user's network before training."""

import inspect
import math
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import psutil
from flax import linen as nn

from jaxcifar.build.network_arguments import argument_defaults, check_argument
from jaxcifar.build.nnx_model import RNGS, create_nnx_network, is_nnx_module, makes_nnx_module
from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import option_text
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError, first_line
from jaxcifar.image_size import image_shape
from jaxcifar.kernels.winograd import Dtype
from jaxcifar.machine import onednn
from jaxcifar.machine.sharing import PyTree
from jaxcifar.networks.adapt import SequentialNetwork, adapt_layers

_UNBOUND_AXIS = "unbound axis name"  # in JAX's message
_TRACED_IMAGES = 2
_FLOAT_BYTES = 4
# Copies of the parameters during training: weights, gradients, momentum, new weights.
_PARAMETER_COPIES = 4


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
        raise UsageError(
            f"{option}: is no Flax module, nor a function that returns one; name a class that "
            "inherits from flax.linen.Module or flax.nnx.Module"
        )
    is_nnx = registry.is_user_code(config.arch) and makes_nnx_module(constructor, option)
    defaults = argument_defaults(constructor)
    arguments_if_taken: dict[str, Any] = {
        "num_classes": num_classes,
        "dtype": dtype,
        "axis_name": axis_name,
    }
    if is_nnx:  # `adapt_layers` sets the axis of NNX layers
        arguments_if_taken |= {"axis_name": None, RNGS: None}
    for name in registry.entry("arch", config.arch).takes:
        arguments_if_taken[name] = getattr(config, name)
    for name, value in config.arch_args:
        check_argument(config, name, value, defaults, set_by_package=arguments_if_taken)
    arguments = {name: value for name, value in arguments_if_taken.items() if name in defaults}
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
        raise UsageError(
            f"{option}: returns {type(model).__name__}, not a Flax module; return a module of "
            "flax.linen or flax.nnx"
        )


def compute_dtype(config: Config, device: jax.Device) -> jnp.dtype:
    """Return the dtype in which a network computes on a device.

    The setting "auto" means bfloat16 on an accelerator, and on a CPU with AMX if XLA convolves by
    oneDNN there. On other CPUs it means float32.
    """
    if config.dtype != "auto":
        return jnp.dtype(config.dtype)
    is_accelerator = device.platform != "cpu"
    if is_accelerator or (onednn.has_matrix_instructions() and onednn.is_on()):
        return jnp.dtype("bfloat16")
    return jnp.dtype("float32")


@contextmanager
def _explain_errors(config: Config) -> Iterator[None]:
    """Convert errors of a user's network or `--arch-args` in the `with` block to UsageError."""
    with explain_user_code_errors(("arch", config.arch)):
        try:
            yield
        except UsageError:
            raise
        except NameError as error:
            is_about_axis_name = _UNBOUND_AXIS in str(error)
            if not is_about_axis_name:
                raise
            raise NameError(
                f"{first_line(error)} Write a field `axis_name: str | None = None` and use it: the "
                "name is None if no devices share a batch."
            ).with_traceback(error.__traceback__) from error
        except Exception as error:
            is_built_in = not registry.is_user_code(config.arch)
            may_be_caused_by_arguments = is_built_in and len(config.arch_args) > 0
            if not may_be_caused_by_arguments:
                raise
            arguments = " ".join(f"{name}={option_text(value)}" for name, value in config.arch_args)
            reason = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(
                f"--arch-args {arguments}: {config.arch} can't be created with these arguments "
                f"({reason}); change them, or leave them out"
            ) from error


def check_model(config: Config, model: nn.Module, num_classes: int) -> None:
    """Check that a network can be trained and evaluated, by tracing it; nothing is computed.

    Raises:
      UsageError: the network can't be called as `model(images, train)`, fails, does not return
        logits `[B, num_classes]`, or is too large for this machine. The message is one line, with
        file and line of the user's code.
    """
    option = f"--arch {config.arch}:"
    _check_takes_train(model, option)
    images = jax.ShapeDtypeStruct((_TRACED_IMAGES, *image_shape(config.image_size)), jnp.float32)

    def variables_and_logits(images: jax.Array, train: bool) -> tuple[Any, Any]:
        rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
        variables = model.init(rngs, images, train=False)
        if not train:
            return variables, model.apply(variables, images, train=False)
        all_collections = list(variables)
        logits, _ = model.apply(variables, images, train=True, rngs=rngs, mutable=all_collections)
        return variables, logits

    with _explain_errors(config), adapt_layers(None):
        forward_in_evaluation = partial(variables_and_logits, train=False)
        variables, evaluation_logits = jax.eval_shape(forward_in_evaluation, images)
        _check_memory(variables, option)
        _check_storable(variables, option)
        forward_in_training = partial(variables_and_logits, train=True)
        _, training_logits = jax.eval_shape(forward_in_training, images)
    _check_logits(evaluation_logits, num_classes, option)
    _check_logits(training_logits, num_classes, option)


def _check_takes_train(model: nn.Module, option: str) -> None:
    """Raise UsageError if a network can't be called with an argument `train`."""
    parameters = inspect.signature(type(model).__call__).parameters
    takes_any_name = any(
        parameter.kind is parameter.VAR_KEYWORD for parameter in parameters.values()
    )
    if "train" not in parameters and not takes_any_name:
        raise UsageError(f"{option} its __call__ takes no `train`: write __call__(self, x, train)")


def _check_memory(variables: PyTree, option: str) -> None:
    """Raise UsageError if a network's variables do not fit into this machine's memory."""
    value_count = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(variables))
    bytes_in_training = _PARAMETER_COPIES * _FLOAT_BYTES * value_count
    if bytes_in_training > psutil.virtual_memory().total:
        raise UsageError(
            f"{option} its {value_count:,} parameters do not fit into this machine's memory; use a "
            "smaller network"
        )


def _check_logits(logits: Any, num_classes: int, option: str) -> None:
    """Raise UsageError if a network's outputs for `_TRACED_IMAGES` images are not logits."""
    if not hasattr(logits, "shape"):
        raise UsageError(
            f"{option} returns {type(logits).__name__}, not an array of logits; return one array "
            f"of shape [images, {num_classes}]"
        )
    if logits.shape != (_TRACED_IMAGES, num_classes):
        raise UsageError(
            f"{option} returns {list(logits.shape)} for {_TRACED_IMAGES} images of {num_classes} "
            f"classes; return logits of shape [{_TRACED_IMAGES}, {num_classes}] (a field "
            "`num_classes` of the network is set to the number of classes)"
        )
    if not jnp.issubdtype(logits.dtype, jnp.floating):
        raise UsageError(
            f"{option} returns {logits.dtype} for logits; return floats, without an argmax"
        )


def _check_storable(variables: PyTree, option: str) -> None:
    """Raise UsageError if a network's variables contain a random key, which files can't hold."""
    for path, leaf in jax.tree_util.tree_leaves_with_path(variables):
        if jnp.issubdtype(leaf.dtype, jax.dtypes.prng_key):
            variable_name = jax.tree_util.keystr(path, simple=True, separator="/")
            raise UsageError(
                f"{option} its variable {variable_name} is a random key, which files of weights "
                "can't hold; draw a new key in each call, or keep jax.random.key_data(key)"
            )
