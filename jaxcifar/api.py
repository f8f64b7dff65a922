"""Train and summarise networks from a script or a notebook."""

import dataclasses
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console

from jaxcifar.build.model import check_model, create_model
from jaxcifar.build.python_objects import (
    NetworkLike,
    code_name,
    network_settings,
    user_metric_of,
)
from jaxcifar.build.user_metrics import with_distinct_names
from jaxcifar.config.experiment import Config
from jaxcifar.config.python_number import python_number
from jaxcifar.config.setting_types import OPTIONS_OF_COMMANDS
from jaxcifar.data import CATALOG, Dataset, load_dataset
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.diagram.network_summary import Summary
from jaxcifar.diagram.network_summary import summarize as summarize_model
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine import environment
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.machine.terminal import line_printer
from jaxcifar.runs.fit import fit
from jaxcifar.runs.metric_fields import is_measured
from jaxcifar.runs.observers import create_observers, find_factories
from jaxcifar.runs.task import Task
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.load import load_just_trained
from jaxcifar.training.metrics import Metric


@with_package_settings()
def train(
    network: NetworkLike,
    dataset: Dataset | str | Path = "cifar10",
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
    for name in settings:
        if name in OPTIONS_OF_COMMANDS:
            raise UsageError(
                f"{name}: this is an option of the command line only; call train without it"
            )
    settings |= network_settings(network, settings)
    for setting in ("optimizer", "schedule", "augmentation"):
        if callable(settings.get(setting)):
            settings[setting] = code_name(settings[setting])
    if isinstance(dataset, Dataset):
        settings |= _dataset_settings(dataset, settings)
    elif isinstance(dataset, str | Path):
        settings["dataset"] = str(dataset)
    else:
        type_name = type(dataset).__name__
        raise UsageError(
            f"dataset is a {type_name}; give a name, a path, or jaxcifar.Dataset.from_arrays(...)"
        )
    config = Config.create(**settings)
    environment.use_cpu_cores(config.batch_size, parts_per_batch=config.accumulate)
    environment.use_compilation_cache()
    if not isinstance(metrics, list | tuple):
        raise UsageError(f"metrics {metrics!r:.80}: must be a list; write metrics=[...]")
    user_metrics = with_distinct_names([user_metric_of(metric) for metric in metrics])
    run_path = Path(run_dir) if run_dir else Path("checkpoints", config.run_name())
    console = Console(emoji=False, highlight=False)
    print_line = line_printer(console)

    def get_dataset() -> Dataset:
        if isinstance(dataset, Dataset):
            return dataset
        return load_dataset(config, Path(data_dir or default_data_dir()), print_line)

    task = Task(
        config,
        run_path,
        overwrite=overwrite,
        observers=create_observers(find_factories(observers)),
        user_metrics=user_metrics,
        keep_every=python_number(keep_every),
    )
    result = fit(task, get_dataset, console)
    for user_metric in user_metrics:
        if not is_measured(user_metric, result):
            print_line(
                f"metric {user_metric.metric.name}: not measured, because the run was finished "
                "before; give overwrite=True to train again"
            )
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
      UsageError: the network can't be made or called, or a number is not allowed.
    """
    num_classes = _checked_whole_number("num_classes", num_classes)
    image_size = _checked_whole_number("image_size", image_size)
    settings = {"arch_args": arch_args} if arch_args else {}
    config = Config.create(**network_settings(network, settings))
    config = dataclasses.replace(config, image_size=image_size)
    model = create_model(config, num_classes)
    check_model(config, model, num_classes)
    return summarize_model(model, image_size)


def _checked_whole_number(name: str, value: Any) -> int:
    """Return the argument `name` of a public function as Python's int.

    Raises:
      UsageError: `value` is not a whole number, or is below 1.
    """
    number = python_number(value)
    if type(number) is not int or number < 1:
        raise UsageError(f"{name} {value!r:.80}: must be a whole number, at least 1")
    return number


def _dataset_settings(dataset: Dataset, settings: dict[str, Any]) -> dict[str, Any]:
    """Return the settings that describe the data set in the config of a run.

    Args:
      dataset: a data set made by the user's program.
      settings: the settings that the user has chosen for the training; they are only checked.

    Raises:
      UsageError: see `_require_fitting_settings`.
    """
    _require_fitting_settings(dataset, settings)
    name_identifies_images = dataset.is_from_catalog
    return {
        "dataset": dataset.name,
        "data_sha256": None if name_identifies_images else dataset.sha256,
        "image_size": dataset.image_size,
        **dataset.split_settings,
    }


def _require_fitting_settings(dataset: Dataset, settings: dict[str, Any]) -> None:
    """Check that the user's settings can be used with a data set that the user's program has made.

    Raises:
      UsageError: the settings would split or resize the images again, or the data set has the name
        of a built-in one but other images.
    """
    if dataset.name in CATALOG and not dataset.is_from_catalog:
        raise UsageError(
            f"the name {dataset.name!r} is that of a built-in data set, but the images are others; "
            "give these images another name with dataclasses.replace(dataset, name=..., title=...)"
        )
    for name in ("val_fraction", "fold", "train_examples"):
        if name in settings:
            raise UsageError(
                f"{name}: these images are split already; give {name} to Dataset.from_arrays or to "
                "the config for load_dataset instead"
            )
    image_size = dataset.image_size
    if settings.get("image_size", image_size) != image_size:
        raise UsageError(
            f"image_size {settings['image_size']}: the images have {image_size}x{image_size} "
            "pixels already; give image_size to Dataset.from_arrays instead"
        )
