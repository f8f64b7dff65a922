"""Training from a script or a notebook: a network, images, settings."""

import contextlib
import dataclasses
from collections.abc import Callable
from pathlib import Path
from typing import Any

from flax import linen as nn
from rich.console import Console

from jaxcifar.config import Config
from jaxcifar.data import Dataset, load_dataset
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.machine import environment
from jaxcifar.machine.terminal import teller
from jaxcifar.models import check_model, create_model
from jaxcifar.models.summary import Summary
from jaxcifar.models.summary import summarize as summarize_model
from jaxcifar.runs.fit import fit
from jaxcifar.runs.task import Task
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.load import load

Network = str | nn.Module | type[nn.Module] | Callable[..., nn.Module]


def train(
    network: Network,
    dataset: Dataset | str = "cifar10",
    *,
    run_dir: str | Path | None = None,
    overwrite: bool = False,
    data_dir: str | Path | None = None,
    **settings: Any,
) -> Classifier:
    """Train a network, or take up a run of the same settings where it was.

    Args:
      network: a name such as "cnn" or "net.py:Net"; or a Flax module, its class, or a function
        that returns one, defined at the top of a file or in a notebook's cell.
      dataset: images, or the name or path that `--dataset` takes.
      run_dir: folder of the run; by default a readable name under `checkpoints/`.
      overwrite: delete what an earlier run left there.
      data_dir: TFDS folder; its own default if None.
      **settings: fields of `Config`, such as `epochs=5`.

    Returns:
      the network with the weights of the epoch that did best on validation images.

    Raises:
      UsageError: a setting, the network or the folder does not fit; in one line.
      RunError: something can't be read or written, or the loss is not finite.
      Interrupted: after SIGINT, with everything saved.
    """
    arch, own = named(network)
    settings["arch_args"] = {**own, **settings.get("arch_args", {})}
    if isinstance(dataset, Dataset):
        settings["dataset"] = dataset.name
        settings["data_sha256"] = None if dataset.is_known else dataset.sha256
    else:
        settings["dataset"] = dataset
    config = Config.create(arch, **settings)
    with contextlib.suppress(RuntimeError):  # JAX is at work already: then with what it has
        environment.use_cpu_cores(config.batch_size)
    environment.use_compilation_cache()
    path = Path(run_dir or Path("checkpoints", config.run_name()))
    console = Console(highlight=False)

    def images() -> Dataset:
        if isinstance(dataset, Dataset):
            return dataset
        return load_dataset(config, Path(data_dir or default_data_dir()), teller(console))

    fit(Task(config, path, overwrite=overwrite), images, console)
    return load(path)


def summarize(network: Network, num_classes: int = 10, **arch_args: Any) -> Summary:
    """What a network is made of: layers, parameters, FLOPs; `table()` is text.

    Args:
      network: as for `train`.
      num_classes: of the images.
      **arch_args: the network's own fields.

    Raises:
      UsageError: it can't be made or called.
    """
    arch, own = named(network)
    config = Config.create(arch, arch_args={**own, **arch_args})
    model = create_model(config, num_classes)
    check_model(config, model, num_classes)
    return summarize_model(model)


def named(network: Network) -> tuple[str, dict[str, Any]]:
    """The name by which a config names a network, and the arguments that it was made with."""
    if isinstance(network, str):
        return network, {}
    own: dict[str, Any] = {}
    if isinstance(network, nn.Module):
        for field in dataclasses.fields(network):
            value = getattr(network, field.name)
            if field.init and field.name not in ("parent", "name") and value != field.default:
                own[field.name] = value
        network = type(network)
    return f"{network.__module__}:{network.__qualname__}", own
