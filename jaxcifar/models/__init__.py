"""Networks: ours, and anyone's that is a Flax module called `model(images, train)`."""

import dataclasses
import difflib
import inspect
from collections.abc import Callable
from typing import Any, NoReturn

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxcifar import own_code, registry
from jaxcifar.config import Config
from jaxcifar.errors import UsageError

IMAGE_SHAPE = (32, 32, 3)
_FLAX_FIELDS = {"parent", "name"}


def create_model(
    config: Config,
    num_classes: int,
    dtype: jnp.dtype | type = jnp.float32,
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
    constructor = own_code.load("arch", config.arch)
    if not callable(constructor):
        raise UsageError(f"--arch {config.arch}: is no Flax module, nor a function that gives one")
    fields = _arguments(constructor)
    given = {"num_classes": num_classes, "dtype": dtype, "axis_name": axis_name}
    given |= {name: getattr(config, name) for name in registry.entry("arch", config.arch).takes}
    own = dict(config.arch_args)
    for name in own:
        if name not in fields or name in given:
            _refuse(config, name, [field for field in fields if field not in given])
    with own_code.telling_of_own_code("arch", config.arch):
        model = constructor(**{k: v for k, v in given.items() if k in fields}, **own)
    if not isinstance(model, nn.Module):
        raise UsageError(
            f"--arch {config.arch}: gives {type(model).__name__}, not a Flax module (flax.linen)"
        )
    if config.dtype == "bfloat16" and not hasattr(model, "dtype"):
        raise UsageError(
            f"--dtype bfloat16: {config.network_title} has no field `dtype` to be told so"
        )
    return model


def _arguments(constructor: Callable[..., Any]) -> list[str]:
    if dataclasses.is_dataclass(constructor):
        names = [field.name for field in dataclasses.fields(constructor) if field.init]
    else:
        names = list(inspect.signature(constructor).parameters)
    return [name for name in names if name not in _FLAX_FIELDS]


def _refuse(config: Config, name: str, free: list[str]) -> NoReturn:
    near = difflib.get_close_matches(name, free, n=1)
    meant = f"did you mean {near[0]}? " if near else ""
    title = registry.entry("arch", config.arch).title
    raise UsageError(
        f"--arch-args {name}: {title} has no such argument; {meant}"
        f"it takes {', '.join(free) or 'none'}"
    )


def check_model(config: Config, model: nn.Module, num_classes: int) -> None:
    """Find out what is wrong with a network before anything is computed with it.

    Raises:
      UsageError: it can't be called as `model(images, train)`, fails, or gives something else than
        `[B, num_classes]` logits; in one line, with its file and line where it is its own code.
    """
    said = f"--arch {config.arch}:"
    parameters = inspect.signature(type(model).__call__).parameters
    takes_any = any(p.kind is p.VAR_KEYWORD for p in parameters.values())
    if "train" not in parameters and not takes_any:
        raise UsageError(f"{said} its __call__ takes no `train`: write __call__(self, x, train)")
    images = jax.ShapeDtypeStruct((2, *IMAGE_SHAPE), jnp.float32)

    def run(images: jax.Array, train: bool) -> jax.Array:
        rngs = {name: jax.random.key(0) for name in ("params", "dropout")}
        variables = model.init(rngs, images, train=False)
        if not train:
            return model.apply(variables, images, train=False)
        return model.apply(variables, images, train=True, rngs=rngs, mutable=list(variables))[0]

    with own_code.telling_of_own_code("arch", config.arch):
        outputs = [
            jax.eval_shape(lambda images, train=train: run(images, train), images)
            for train in (False, True)
        ]
    for logits in outputs:
        if not hasattr(logits, "shape"):
            raise UsageError(f"{said} returns {type(logits).__name__}, not an array of logits")
        if logits.shape != (2, num_classes):
            shown = ", ".join(map(str, ("B", *logits.shape[1:])))
            raise UsageError(
                f"{said} returns [{shown}]; the data has {num_classes} classes, so it must be "
                f"[B, {num_classes}]: give it a field num_classes, which is set to that"
            )
