"""Networks: ours, and anyone's that is a Flax module called `model(images, train)`."""

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

from jaxcifar.config import registry, user_code
from jaxcifar.config.experiment import Config
from jaxcifar.config.settings import option_text
from jaxcifar.config.user_errors import explain_user_code_errors
from jaxcifar.errors import UsageError, first_line
from jaxcifar.kernels.winograd import Dtype

IMAGE_SHAPE = (32, 32, 3)
_FLAX_FIELDS = {"parent", "name"}
_COPIES = 4  # of the parameters that training holds: themselves, gradients, momentum, new ones


def create_model(
    config: Config,
    num_classes: int,
    dtype: Dtype = jnp.float32,
    axis_name: str | None = None,
) -> nn.Module:
    """The network that a config names, with the arguments that it takes.

    Args:
      config: names it, and holds arguments of its own.
      num_classes: of the data; given to a field of that name, as the next two are.
      dtype: to compute in.
      axis_name: of the mapped axis whose devices share a training batch, if any.

    Raises:
      UsageError: there is no such network, or it takes no such arguments; in one line.
    """
    constructor = user_code.load(config, "arch")
    if not callable(constructor):
        raise UsageError(f"--arch {config.arch}: is no Flax module, nor a function that gives one")
    defaults = _arguments(constructor)
    given = {"num_classes": num_classes, "dtype": dtype, "axis_name": axis_name}
    given |= {name: getattr(config, name) for name in registry.entry("arch", config.arch).takes}
    for name, value in config.arch_args:
        _check_argument(config, name, value, defaults, given)
    given = {name: value for name, value in given.items() if name in defaults}
    with _telling(config):
        model = constructor(**given, **dict(config.arch_args))
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"--arch {config.arch}: gives {type(model).__name__}, not a Flax module (flax.linen)"
        )
    if config.dtype == "bfloat16" and not hasattr(model, "dtype"):
        raise UsageError(
            f"--dtype bfloat16: {config.network_title} has no field `dtype` to be told so"
        )
    return model


def compute_dtype(config: Config, device: jax.Device) -> jnp.dtype:
    """What the network computes in: as asked for, or by the kind of device."""
    auto = "float32" if device.platform == "cpu" else "bfloat16"
    return jnp.dtype(auto if config.dtype == "auto" else config.dtype)


@contextmanager
def _telling(config: Config) -> Iterator[None]:
    """Tell in one line of what a network, or ours with somebody's arguments, can't be made of."""
    with explain_user_code_errors(("arch", config.arch)):
        try:
            yield
        except UsageError:
            raise
        except Exception as error:
            if registry.is_user_code(config.arch) or not config.arch_args:
                raise
            given = " ".join(f"{name}={option_text(value)}" for name, value in config.arch_args)
            why = f"{type(error).__name__}: {first_line(error)}"
            raise UsageError(
                f"--arch-args {given}: {config.arch} can't be made with that ({why})"
            ) from error


def _arguments(constructor: Callable[..., Any]) -> dict[str, Any]:
    """What a network can be made with: name -> default."""
    if dataclasses.is_dataclass(constructor):
        fields = (field for field in dataclasses.fields(constructor) if field.init)
        return {field.name: field.default for field in fields if field.name not in _FLAX_FIELDS}
    return {p.name: p.default for p in inspect.signature(constructor).parameters.values()}


def _check_argument(
    config: Config, name: str, value: Any, defaults: Mapping[str, Any], given: Mapping[str, Any]
) -> None:
    said = f"--arch-args {name}={option_text(value)}"
    if name in given:
        how = "with --" + name if name in ("dropout", "dtype") else "from the data and the devices"
        raise UsageError(f"{said}: is set {how}")
    if name not in defaults:
        title = registry.entry("arch", config.arch).title
        free = [known for known in defaults if known not in given]
        raise UsageError(
            f"{said}: {title} has no such argument; {registry.did_you_mean(name, free)}"
            f"it takes {', '.join(free) or 'none'}"
        )
    default = defaults[name]
    kind = type(default)
    is_flag = isinstance(value, bool)  # to Python it is an integer too
    fits = isinstance(value, (int, float) if kind is float else kind) and is_flag == (kind is bool)
    if kind in (bool, int, float, str, tuple) and not fits:
        shown = option_text(default)
        raise UsageError(f"{said}: must be of the kind of {shown}, which is its default")


def check_model(config: Config, model: nn.Module, num_classes: int) -> None:
    """Find out what is wrong with a network before anything is computed with it.

    Raises:
      UsageError: it can't be called as `model(images, train)`, fails, gives something else than
        `[B, num_classes]` logits, or is too large for this machine; in one line, with its file and
        line where it is its own code.
    """
    said = f"--arch {config.arch}:"
    parameters = inspect.signature(type(model).__call__).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "train" not in parameters and not takes_any:
        raise UsageError(f"{said} its __call__ takes no `train`: write __call__(self, x, train)")
    images = jax.ShapeDtypeStruct((2, *IMAGE_SHAPE), jnp.float32)

    def run(images: jax.Array, train: bool) -> tuple[Any, Any]:
        rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
        variables = model.init(rngs, images, train=False)
        if not train:
            return variables, model.apply(variables, images, train=False)
        kept = list(variables)
        return variables, model.apply(variables, images, train=True, rngs=rngs, mutable=kept)[0]

    with _telling(config):
        made, evaluated = jax.eval_shape(partial(run, train=False), images)
        size = sum(math.prod(leaf.shape) for leaf in jax.tree.leaves(made))
        if 4 * _COPIES * size > psutil.virtual_memory().total:
            raise UsageError(f"{said} {size:,} parameters are too many for this memory")
        _, trained = jax.eval_shape(partial(run, train=True), images)
    for logits in (evaluated, trained):
        if not hasattr(logits, "shape"):
            raise UsageError(f"{said} returns {type(logits).__name__}, not an array of logits")
        if logits.shape != (2, num_classes):
            raise UsageError(
                f"{said} returns {list(logits.shape)} for 2 images of {num_classes} classes; it "
                f"must be [2, {num_classes}]: a field num_classes is set to the number of classes"
            )
        if not jnp.issubdtype(logits.dtype, jnp.floating):
            raise UsageError(f"{said} returns {logits.dtype} for logits; they must be floats")
