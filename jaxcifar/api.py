"""Train and summarise networks from a script or a notebook."""

import dataclasses
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import jax.numpy as jnp
from flax import linen as nn
from rich.console import Console

from jaxcifar.build.model import check_model, create_model
from jaxcifar.build.user_metrics import (
    METRIC_OPTION,
    UserMetric,
    load_metrics,
    metric_of,
    with_distinct_names,
)
from jaxcifar.config import user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.config.setting_types import OPTIONS_OF_COMMANDS
from jaxcifar.config.table_pairs import sorted_pairs
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.diagram.network_summary import summarize as summarize_model
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine import environment
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.fit import fit
from jaxcifar.runs.observers import create_observers, find_factories
from jaxcifar.runs.task import Task
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.load import load_just_trained
from jaxcifar.training.metrics import Metric

_FIELDS_SET_BY_PACKAGE = ("parent", "name", "num_classes", "dtype", "axis_name")
NetworkLike = str | nn.Module | Callable[..., Any]


@with_package_settings()
def train(
    network: NetworkLike,
    dataset: Dataset | str = "cifar10",
    *,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    keep_every: int | None = None,
    data_dir: str | Path | None = None,
    metrics: Sequence[Metric | Callable[..., Any] | str] = (),
    observers: Sequence[Any] = (),
    **settings: Any,
) -> Classifier:
    """Train a network, or resume a run with the same settings.

    Args:
      network: a name such as "cnn" or "net.py:Net", a Flax Linen module, the class of a Linen or
        NNX module, or a function that returns a module. The class or function must be defined at
        the top level of a file or in a notebook's cell.
      dataset: images, or the name or path of a data set, such as "cifar10" or "photos/".
      run_dir: folder of the run; by default a readable name under `checkpoints/`.
      overwrite: True to delete an earlier run in the folder.
      keep_every: also keep the checkpoint of every N-th epoch; None for none of them.
      data_dir: folder of TensorFlow Datasets (TFDS), or None for its default.
      metrics: metrics in addition to the built-in ones. Each is a `Metric`, a function of logits
        and labels or of the confusion matrix, or a name such as "my_metrics.py:mean_rank".
      observers: objects with methods that are called during training, such as after each epoch;
        they are some of the methods of `runs.observers.Observer`. Classes and functions that return
        such an object, and names such as "tensorboard" or "my_code.py:Observer", are possible too.
      **settings: fields of `Config`, such as `epochs=5`. `class_weights` may be a dict.

    Returns:
      the classifier with the weights of the epoch that has the best validation accuracy.

    Raises:
      UsageError: a setting, the network, a metric or the folder can't be used.
      RunError: a file can't be read or written, or the loss is not finite.
      Interrupted: the user pressed Ctrl-C; the run is saved.
    """
    for option in settings.keys() & OPTIONS_OF_COMMANDS.keys():
        raise UsageError(f"{option}: only commands have this option; call train without it")
    settings |= _network_settings(network, settings)
    for setting in ("optimizer", "schedule", "augmentation"):
        if callable(settings.get(setting)):
            settings[setting] = code_name(settings[setting])
    if isinstance(dataset, Dataset):
        settings |= _dataset_settings(dataset, settings)
    else:
        settings["dataset"] = str(dataset)
    config = Config.create(**settings)
    environment.use_cpu_cores(config.batch_size, parts=config.accumulate)
    environment.use_compilation_cache()
    if not isinstance(metrics, list | tuple):
        raise UsageError(f"metrics {metrics!r:.80}: must be a list; write metrics=[...]")
    user_metrics = with_distinct_names([_user_metric(metric) for metric in metrics])
    run_path = Path(run_dir) if run_dir else Path("checkpoints", config.run_name())
    console = Console(emoji=False, highlight=False)

    def get_dataset() -> Dataset:
        if isinstance(dataset, Dataset):
            return dataset
        return load_dataset(config, Path(data_dir or default_data_dir()), line_printer(console))

    task = Task(
        config,
        run_path,
        overwrite=overwrite,
        observers=create_observers(find_factories(observers)),
        user_metrics=user_metrics,
        keep_every=keep_every,
    )
    fit(task, get_dataset, console)
    return load_just_trained(run_path, data_dir)


@with_package_settings()
def summarize(
    network: NetworkLike, num_classes: int = 10, image_size: int = IMAGE_SIZE, **arch_args: Any
) -> Summary:
    """Return a table of a network's layers, parameters and FLOPs.

    Args:
      network: a name such as "cnn" or "net.py:Net", a Flax Linen module, the class of a Linen or
        NNX module, or a function that returns a module.
      num_classes: number of classes.
      image_size: height and width of the images.
      **arch_args: arguments of the network; by default, those of the network's first recipe.

    Returns:
      the table; its method `table()` returns the table as text.

    Raises:
      UsageError: the network can't be made or called.
    """
    settings = {"arch_args": arch_args} if arch_args else {}
    config = Config.create(**_network_settings(network, settings))
    config = dataclasses.replace(config, image_size=image_size)
    model = create_model(config, num_classes)
    check_model(config, model, num_classes)
    return summarize_model(model, image_size)


def _network_settings(network: NetworkLike, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that name a network and its arguments.

    Args:
      network: a name or module, or a class or function that returns a module (see `train`).
      settings: the user's settings; their `arch_args` override the fields of a module.

    Raises:
      UsageError: a field of a module can't be stored in the file with the run's settings.
    """
    arguments: dict[str, Any] = {}
    network_settings: dict[str, Any] = {}
    if isinstance(network, nn.Module):
        if getattr(network, "dtype", None) not in (None, jnp.float32):
            network_settings["dtype"] = jnp.dtype(network.dtype).name
        arguments = _arguments_of_module(network)
        network = type(network)
    network_settings["arch"] = network if isinstance(network, str) else code_name(network)
    if arguments or "arch_args" in settings:  # otherwise, the recipe's arguments are used
        network_settings["arch_args"] = {**arguments, **settings.get("arch_args", {})}
    return network_settings


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


def _dataset_settings(dataset: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings of a config that identify a data set made by the user's program.

    `settings` are the settings that the user gives for the training.

    Raises:
      UsageError: the settings would split or resize the images again.
    """
    for name in ("val_fraction", "fold", "train_examples"):
        if name in settings:
            raise UsageError(
                f"{name}: the images are split already; pass {name} to Dataset.from_arrays"
            )
    image_size = dataset.image_size
    if settings.get("image_size", image_size) != image_size:
        raise UsageError(
            f"image_size {settings['image_size']}: the images have {image_size}x{image_size} "
            "pixels already; pass image_size to Dataset.from_arrays"
        )
    return {
        "dataset": dataset.name,
        "data_sha256": None if dataset.is_from_catalog else dataset.sha256,
        "fold": dataset.fold,
        "image_size": image_size,
    }


def _user_metric(metric: Metric | Callable[..., Any] | str) -> UserMetric:
    """Return the record of a metric that the user passed to `train`: metric, name and SHA-256.

    Raises:
      UsageError: the value is not a metric, or its code can't be found.
    """
    if isinstance(metric, str):
        [user_metric] = load_metrics([metric])
        return user_metric
    code = _name_of_metric(metric) if isinstance(metric, Metric) else code_name(metric)
    return UserMetric(metric_of(metric, code), code, user_reference.digest(METRIC_OPTION, code))


def _name_of_metric(metric: Metric) -> str:
    """Return `module:NAME` for a metric, where NAME is its variable or else its function."""
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
