"""Settings and metrics that a user's program gives as Python objects, not by name."""

import dataclasses
import hashlib
import sys
from collections.abc import Callable, Mapping
from functools import lru_cache, partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from jaxcifar.build.user_metrics import METRIC_OPTION, UserMetric, load_metrics, metric_of
from jaxcifar.config import user_reference
from jaxcifar.config.table_pairs import sorted_pairs
from jaxcifar.errors import UsageError
from jaxcifar.training.metrics import Metric

_FIELDS_SET_BY_PACKAGE = ("parent", "name", "num_classes", "dtype", "axis_name")
NetworkLike = str | nn.Module | Callable[..., Any]


def network_settings(network: NetworkLike, settings: Mapping[str, Any]) -> dict[str, Any]:
    """Return the settings that describe a network: `arch`, and if needed `arch_args` and `dtype`.

    Args:
      network: a name or module, or a class or function that returns a module (see `train`).
      settings: the user's settings. If `network` is a module, the setting `arch_args` replaces the
        values of the module's fields.

    Raises:
      UsageError: a field of a module can't be written to the file of a config, `settings` has
        `arch`, or its `arch_args` is no dict.
    """
    if "arch" in settings:
        raise UsageError("arch: the network is the first argument of train; leave arch out")
    arguments_of_module: dict[str, Any] = {}
    settings_from_network: dict[str, Any] = {}
    if isinstance(network, nn.Module):
        has_other_dtype = getattr(network, "dtype", None) not in (None, jnp.float32)
        if has_other_dtype:
            settings_from_network["dtype"] = jnp.dtype(network.dtype).name
        arguments_of_module = _arguments_of_module(network)
        network = type(network)
    settings_from_network["arch"] = network if isinstance(network, str) else code_name(network)
    recipe_decides_arguments = not arguments_of_module and "arch_args" not in settings
    if not recipe_decides_arguments:
        arguments_in_settings = _arguments_in_settings(settings)
        settings_from_network["arch_args"] = {**arguments_of_module, **arguments_in_settings}
    return settings_from_network


def _arguments_in_settings(settings: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the user's setting `arch_args`, the arguments of the network, by name.

    Raises:
      UsageError: the setting is neither a dict nor a tuple of (name, value) from a `Config`.
    """
    user_arguments = settings.get("arch_args", {})
    are_pairs_of_config = isinstance(user_arguments, tuple)
    if are_pairs_of_config:
        user_arguments = dict(user_arguments)
    if not isinstance(user_arguments, Mapping):
        raise UsageError(f"arch_args {user_arguments!r:.80}: must be a dict from names to values")
    return user_arguments


def _arguments_of_module(module: nn.Module) -> dict[str, Any]:
    """Return the fields of a module that the user has set, by name."""
    arguments = {}
    for field in dataclasses.fields(module):
        value = getattr(module, field.name)
        is_network_argument = field.init and field.name not in _FIELDS_SET_BY_PACKAGE
        if is_network_argument and value is not field.default:
            arguments[field.name] = value
    try:
        return dict(sorted_pairs(arguments))
    except UsageError as error:
        raise UsageError(
            f"{type(module).__name__}: a field can't be written to the run's config ({error}); "
            "pass a function that returns the network instead"
        ) from error


def user_metric_of(metric: Metric | Callable[..., Any] | str) -> UserMetric:
    """Return a metric that the user passed to `train`, with the name and SHA-256 of its code.

    Raises:
      UsageError: the value is not a metric, or its code can't be found.
    """
    if isinstance(metric, str):
        [user_metric] = load_metrics([metric])
        return user_metric
    name = _name_of_metric(metric) if isinstance(metric, Metric) else code_name(metric)
    sha256 = user_reference.read_and_hash(METRIC_OPTION, name)
    user_metric = UserMetric(metric_of(metric, name), name, sha256)
    if not _is_from_notebook(name):
        return user_metric
    digests_of_other_cells = user_reference.load_import_digests(METRIC_OPTION, name, sha256)
    return _copy_that_jax_compiles_again(user_metric, tuple(digests_of_other_cells.items()))


def _is_from_notebook(name: str) -> bool:
    """Return True if code with the name `module:NAME` was typed in a notebook or console."""
    module_name = name.partition(":")[0]
    return getattr(sys.modules[module_name], "__file__", None) is None


@lru_cache(maxsize=64)  # so that a metric is compiled once for each version of the other cells
def _copy_that_jax_compiles_again(
    user_metric: UserMetric, digests_of_other_cells: tuple[tuple[str, str], ...]
) -> UserMetric:
    """Return a copy of a notebook's metric that JAX compiles again if other cells have changed.

    JAX compiles a function only once, although an edit of another cell may change what the function
    computes. Therefore the copy has a new function object.

    Args:
      user_metric: the metric.
      digests_of_other_cells: (name, SHA-256) of each definition in other cells that the metric
        uses. If there are none, the metric itself is returned.
    """
    uses_other_cells = len(digests_of_other_cells) > 0
    if not uses_other_cells:
        return user_metric
    metric = user_metric.metric
    if metric.per_image is not None:
        function_unknown_to_jax = partial(metric.per_image)
        metric = dataclasses.replace(metric, per_image=function_unknown_to_jax)
    metric_and_other_cells = f"{user_metric.sha256} {digests_of_other_cells}"
    sha256 = hashlib.sha256(metric_and_other_cells.encode()).hexdigest()
    return dataclasses.replace(user_metric, metric=metric, sha256=sha256)


def _name_of_metric(metric: Metric) -> str:
    """Return `module:NAME` for a metric, where NAME is the variable that holds the metric.

    If no variable of the module holds the metric, NAME is the name of the metric's function.
    """
    name_of_function = code_name(metric.per_image or metric.of_confusion)
    module = name_of_function.partition(":")[0]
    for variable, value in vars(sys.modules[module]).items():
        if value is metric:
            return f"{module}:{variable}"
    return name_of_function


def code_name(code: Any) -> str:
    """Return the name by which a config refers to a class or function: `module:NAME`.

    Raises:
      UsageError: the code has no name, such as the result of `functools.partial`.
    """
    module = getattr(code, "__module__", None)
    name_in_module = getattr(code, "__qualname__", "")
    if not module or not name_in_module or "<" in name_in_module:
        raise UsageError(
            f"{code!r:.80}: must be a class or function that is defined with a name at the top "
            "level of a file or in a notebook's cell"
        )
    return f"{module}:{name_in_module}"
