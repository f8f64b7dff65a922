"""Weights of a PyTorch network become a run's folder, with its accuracy on the test images."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.model import create_model
from jaxcifar.build.setup import make_program
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset
from jaxcifar.diagram.network_summary import summarize
from jaxcifar.errors import RunError, UsageError
from jaxcifar.exchange.state_dict import read_state_dict, to_ours
from jaxcifar.exchange.torch_modules import require_known
from jaxcifar.machine import environment
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.finish import tested_alone
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.result import describe_network
from jaxcifar.runs.saved import Result, Source
from jaxcifar.runs.weights import Card, fitted, named, write_weights
from jaxcifar.training import network
from jaxcifar.training.metrics import decimal


@dataclasses.dataclass(frozen=True)
class Conversion:
    """What is to become a run.

    Attributes:
      weights: file of a state dict (`read_state_dict`).
      config: names the network and the images; its other settings mean nothing.
      path: folder of the run.
      mean, std: `[3]`, what pixels in [0, 1] are normalised by; the data set's own if None.
      overwrite: delete what an earlier run left in the folder.
    """

    weights: Path
    config: Config
    path: Path
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    overwrite: bool = False


def convert(
    conversion: Conversion, load: Callable[[], Dataset], say: Callable[[str], None]
) -> Result | None:
    """Make a run's folder of a state dict, and evaluate it once on the test images.

    Args:
      conversion: see there.
      load: gives the images.
      say: told what takes a while.

    Returns:
      the content of `result.json`; None if the images can't be had: then there is a file of
      weights, but no result.

    Raises:
      UsageError: the network is none of ours, or the folder belongs to something else.
      RunError: the state dict can't be read or is another network's, something can't be written, or
        the images can't be had and the config or their mean and deviation are not known either.
    """
    began = time.monotonic()
    require_known(conversion.config.arch)
    import_extra("torch")  # whose layers' names are asked for later
    state = read_state_dict(conversion.weights)
    source: Source = {"file": conversion.weights.name, "sha256": state.sha256}
    dataset = _images(conversion, load, say)
    config, card = _described(conversion, dataset)
    classes = len(card["class_names"])
    like = network.shapes(create_model(config, classes))
    variables = to_ours(config, classes, named(like), state, conversion.weights)
    variables = fitted(variables, like, conversion.weights)
    with RunFolder.opened(conversion.path, config, conversion.overwrite) as folder:
        if result := _finished(folder, source):
            say("This is converted already; --overwrite does it anew.")
            return result
        program = make_program(
            config, classes, config.batch_size, environment.first_devices(None)[:1]
        )
        with folder.writing():
            folder.begin(config)
            title = f"{config.network_title} on {card['dataset']}"
            describe_network(folder, title, summarize(program.model), say)
        if dataset is None:
            with folder.writing():
                write_weights(folder.weights, variables, card)
            return None
        say(f"testing on {len(dataset.test.labels):,} images")
        statistics = SimpleNamespace(mean=card["channel_mean"], std=card["channel_std"])
        hp = make_hyperparameters(config, statistics, program.steps_per_epoch)
        placed, hp = place_on_devices((variables, hp), program.replicated)
        measured, mistakes = tested_alone(config, program, placed, hp, dataset)
        result = {
            **measured,
            **card,
            "converted": source,
            "wall_seconds": time.monotonic() - began,
            "git_commit": environment.git_commit(),
        }
        with folder.writing():
            folder.finish(result, mistakes, variables)
    return result


def _images(
    conversion: Conversion, load: Callable[[], Dataset], say: Callable[[str], None]
) -> Dataset | None:
    """The images, or None where they can't be had and all that they would say is known."""
    try:
        return load()
    except RunError as error:
        if conversion.config.dataset not in CATALOG:
            raise
        if conversion.mean is None or conversion.std is None:
            raise RunError(f"{error}; or give --mean and --std, and it is not tested") from error
        say(f"not tested: {error}")
        return None


def _described(conversion: Conversion, dataset: Dataset | None) -> tuple[Config, Card]:
    """The config, with the images that it is about, and what predicting takes."""
    config = user_code.with_imports(conversion.config)
    if dataset is not None and not dataset.is_known:
        config = dataclasses.replace(config, data_sha256=dataset.sha256)
    about = CATALOG[config.dataset] if dataset is None else dataset
    given = {"mean": conversion.mean, "std": conversion.std}
    values = {k: getattr(about, k) if v is None else v for k, v in given.items()}
    return config, {
        "config": config.to_dict(),
        "class_names": list(about.class_names),
        "channel_mean": [decimal(value) for value in values["mean"]],
        "channel_std": [decimal(value) for value in values["std"]],
        "dataset": about.title,
    }


def _finished(folder: RunFolder, source: Source) -> Result | None:
    """The result of the same conversion, if the folder has it.

    Raises:
      UsageError: the folder is a training's, or of other weights.
    """
    result = folder.finished_result()
    if result and result.get("converted") == source:
        return result
    if result or (folder.begun and folder.metrics.exists()):
        raise UsageError(
            f"{folder.path}: holds another run; choose another folder, or start anew with "
            "--overwrite"
        )
    return None
