"""Convert a PyTorch state dict to a run folder, and evaluate it on the test images."""

import dataclasses
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from types import SimpleNamespace

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.build.model import create_model
from jaxcifar.build.setup import network_summary
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.data import CATALOG, Dataset
from jaxcifar.errors import RunError
from jaxcifar.exchange.earlier_conversion import (
    finished_conversion,
    require_no_other_untested_weights,
)
from jaxcifar.exchange.state_dict import StateDict, from_state_dict, read_state_dict
from jaxcifar.exchange.state_dict_names import has_torchvision_names
from jaxcifar.exchange.torch_modules import require_pytorch_module
from jaxcifar.machine import environment
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.runs.file_formats import Measured, Result, Source
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.mistakes import Mistakes
from jaxcifar.runs.result import measure_weights
from jaxcifar.runs.result_pictures import write_network
from jaxcifar.runs.weights import Card, arrange_arrays, write_weights
from jaxcifar.training import network
from jaxcifar.training.metrics import shortest_decimal
from jaxcifar.training.program import Program

_TORCHVISION_NOTE = (
    "The layers have torchvision's names. Weights do not show strides and pools: this conversion "
    "is right if conv1 has stride 1 and maxpool is nn.Identity()."
)


@dataclasses.dataclass(frozen=True)
class Conversion:
    """The arguments for converting a PyTorch state dict to a run folder.

    Attributes:
      weights: file of the state dict (see `read_state_dict`).
      config: config that names the network and the data set; its other settings are not used.
      path: the run folder to make.
      mean, std: `[3]`, mean and standard deviation that normalise pixels from 0 to 1. None means
        those of the data set.
      overwrite: True to delete an earlier run in the folder.
    """

    weights: Path
    config: Config
    path: Path
    mean: Sequence[float] | None = None
    std: Sequence[float] | None = None
    overwrite: bool = False


def convert(
    conversion: Conversion, load_dataset: Callable[[], Dataset], print_line: PrintLine
) -> Result | None:
    """Make a run folder from a PyTorch state dict, and evaluate the network on the test images.

    Args:
      conversion: the state dict, the network and the run folder.
      load_dataset: returns the data set, or raises a `RunError` if the data set is not available.
      print_line: prints a line about the progress.

    Returns:
      the content of `result.json`. If the data set is not available, return None; the folder then
      contains the weights but no result.

    Raises:
      UsageError: the network has no PyTorch module, or the folder belongs to another run.
      RunError: the state dict can't be read or is of another network, or a file can't be written.
        The same error is raised if `mean` or `std` is None and the data set is not available.
    """
    start_time = time.monotonic()
    require_pytorch_module(conversion.config.arch)
    import_extra("torch")
    state_dict = read_state_dict(conversion.weights)
    source: Source = {"file": conversion.weights.name, "sha256": state_dict.sha256}
    dataset = _load_dataset_if_available(conversion, load_dataset, print_line)
    config = user_code.with_imports(conversion.config)
    if dataset is not None and not dataset.is_from_catalog:
        config = dataclasses.replace(config, data_sha256=dataset.sha256)
    card = _make_weights_card(conversion, config, dataset)
    class_count = len(card["class_names"])
    variables = _convert_to_variables(config, class_count, state_dict, conversion.weights)
    if has_torchvision_names(config.arch, state_dict.arrays):
        print_line(_TORCHVISION_NOTE)
    with RunFolder(conversion.path, conversion.overwrite).locked(config) as folder:
        earlier_result = finished_conversion(folder, source, card)
        if earlier_result is not None:
            print_line("This file is converted already; use --overwrite to convert it again.")
            return earlier_result
        require_no_other_untested_weights(folder, variables, card)
        one_device = environment.first_devices(None)[:1]
        program = make_program(config, class_count, config.batch_size, one_device)
        with folder.report_write_errors():
            folder.begin(config)
            title = f"{config.network_title} on {card['dataset']}"
            write_network(folder, title, network_summary(program), print_line)
            if dataset is None:
                write_weights(folder.weights_file, variables, card)
                return None
        print_line(f"testing on {len(dataset.test.labels):,} images")
        measurements, mistakes = _measure_on_test_images(config, program, variables, card, dataset)
        result: Result = {
            **measurements,
            **card,
            "converted": source,
            "wall_seconds": time.monotonic() - start_time,
            "git_commit": environment.git_commit(),
        }
        with folder.report_write_errors():
            folder.finish(result, mistakes, variables)
    return result


def _measure_on_test_images(
    config: Config, program: Program, variables: network.Variables, card: Card, dataset: Dataset
) -> tuple[Measured, Mistakes]:
    """Evaluate a converted network on the test images, normalised with the mean and std of `card`.

    Return the measurements and the mistakes, as `measure_weights` does.
    """
    pixel_statistics = SimpleNamespace(mean=card["channel_mean"], std=card["channel_std"])
    hyper = make_hyperparameters(config, pixel_statistics, program.steps_per_epoch)
    placed_variables, placed_hyper = place_on_devices((variables, hyper), program.replicated)
    return measure_weights(config, program, placed_variables, placed_hyper, dataset)


def _convert_to_variables(
    config: Config, class_count: int, state_dict: StateDict, path: Path
) -> network.Variables:
    """Convert the state dict from the file `path` to the variables of a config's network.

    The network has `class_count` outputs, one for each class.
    """
    model = create_model(config, class_count)
    abstract_variables = network.variable_shapes(model, config.image_size)
    abstract_arrays = named_arrays(abstract_variables)
    arrays = from_state_dict(config, class_count, abstract_arrays, state_dict, path)
    return arrange_arrays(arrays, abstract_variables, path)


def _load_dataset_if_available(
    conversion: Conversion, load_dataset: Callable[[], Dataset], print_line: PrintLine
) -> Dataset | None:
    """Return the data set by calling `load_dataset`; None if it is not available and not needed.

    The data set is not needed if `conversion` has the mean and standard deviation of the pixels.
    """
    try:
        return load_dataset()
    except RunError as error:
        are_class_names_known = conversion.config.dataset in CATALOG
        if not are_class_names_known:
            raise
        if conversion.mean is None or conversion.std is None:
            raise RunError(
                f"{error}; or give --mean and --std: then the weights are converted, but not tested"
            ) from error
        print_line(f"the weights are not tested: {error}")
        return None


def _make_weights_card(conversion: Conversion, config: Config, dataset: Dataset | None) -> Card:
    """Return the card (description) of converted weights: config, class names and normalisation.

    `dataset` is the data set, or None if it is not available.
    """
    described_dataset = CATALOG[config.dataset] if dataset is None else dataset
    mean, std = conversion.mean, conversion.std
    if mean is None and dataset is not None:
        mean = dataset.mean.tolist()
    if std is None and dataset is not None:
        std = dataset.std.tolist()
    # `_load_dataset_if_available` requires both without a data set.
    assert mean is not None
    assert std is not None
    return {
        "config": config.to_dict(),
        "class_names": list(described_dataset.class_names),
        "channel_mean": [shortest_decimal(value) for value in mean],
        "channel_std": [shortest_decimal(value) for value in std],
        "dataset": described_dataset.title,
    }
