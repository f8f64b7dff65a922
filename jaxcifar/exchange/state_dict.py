"""Read PyTorch state dicts from files that are not trusted."""

import hashlib
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.config.experiment import Config
from jaxcifar.errors import RunError
from jaxcifar.exchange.mirrored_weights import config_without_mirroring, is_mirrored, with_mirroring
from jaxcifar.exchange.pytorch_names import (
    BATCH_COUNTER,
    ArrayMapping,
    array_mappings,
    names_of_unit_scales,
)
from jaxcifar.exchange.safetensors_arrays import check_safetensors_header, read_safetensors
from jaxcifar.exchange.state_dict_names import (
    Shape,
    describe_differences,
    describe_large_stem,
    printable_name,
    remove_prefix,
    rename_torchvision_layers,
)
from jaxcifar.exchange.torch_file import check_torch_archive, read_torch_file
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.reading import Remedy, open_regular_file, report_errors
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.training import network

_GIVE_STATE_DICT = Remedy("give a state dict, as torch.save(network.state_dict(), FILE) writes it")
_MAX_FILE_BYTES = 2**32


class StateDict(NamedTuple):
    """A state dict from a file.

    Attributes:
      arrays: float32 arrays by their PyTorch names, without `prefix`.
      sha256: the SHA-256 of the file.
      prefix: the prefix that all names in the file share, such as `module.`.
    """

    arrays: dict[str, np.ndarray]
    sha256: str
    prefix: str = ""


def read_state_dict(path: Path) -> StateDict:
    """Read a state dict from a file written by `torch.save`, or from a `.safetensors` file.

    In a checkpoint, the state dict may be the entry `net`, `state_dict`, `model_state_dict` or
    `model`, or the only entry with tensors. Counters such as `n_averaged` are left out. The prefix
    that all names share, such as `module.`, is removed.

    Raises:
      RunError: the file can't be read, or PyTorch is not installed.
    """
    is_safetensors = path.suffix == ".safetensors"
    if not is_safetensors:
        import_extra("torch")
    with report_errors(path, _GIVE_STATE_DICT), open_regular_file(path) as file:
        if os.fstat(file.fileno()).st_size > _MAX_FILE_BYTES:
            raise ValueError(f"the file is larger than the limit of {_MAX_FILE_BYTES:,} bytes")
        # Before the whole file is read, so that other files are refused at once.
        check_format = check_safetensors_header if is_safetensors else check_torch_archive
        check_format(file)
        file.seek(0)
        digest = hashlib.file_digest(file, "sha256").hexdigest()
        file.seek(0)
        tensors = read_safetensors(file) if is_safetensors else read_torch_file(file)
        arrays = {name: array for name, array in tensors.items() if not _is_counter(name, array)}
        if not arrays:
            raise ValueError("the file has no tensors")
        arrays, prefix = remove_prefix(arrays)
        float32_arrays = {name: _to_float32(name, array) for name, array in arrays.items()}
        return StateDict(float32_arrays, digest, prefix)


def _to_float32(name: str, array: np.ndarray) -> np.ndarray:
    """Convert a tensor of floating-point numbers to float32; `name` is the tensor's name.

    Raises:
      ValueError: the numbers are integers, or a number is not finite in float32.
    """
    with np.errstate(over="ignore"):  # a float64 too large for float32 becomes infinite
        float32_array = array.astype(np.float32)
    if array.dtype.kind != "f" or not np.isfinite(float32_array).all():
        raise ValueError(
            f"the tensor {printable_name(name)} has values that are not finite numbers"
        )
    return float32_array


def _is_counter(name: str, array: np.ndarray) -> bool:
    """Return whether a tensor counts steps or epochs; such a tensor is no weight of the network."""
    is_single_integer = array.ndim == 0 and array.dtype.kind in "iub"
    return is_single_integer or name.rpartition(".")[2] == BATCH_COUNTER


def from_state_dict(
    config: Config,
    class_count: int,
    abstract_arrays: Mapping[str, Any],
    state_dict: StateDict,
    path: Path,
) -> dict[str, np.ndarray]:
    """Convert the arrays of a state dict to jaxcifar's names and layouts.

    Args:
      config: the config that names the network.
      class_count: number of classes.
      abstract_arrays: the network's arrays by jaxcifar's names; only their shapes are used.
      state_dict: the state dict.
      path: the state dict's file, for error messages.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: the state dict is of another network, or PyTorch is not installed.
    """
    if is_mirrored(config):
        return _mirrored_arrays_from_state_dict(config, class_count, state_dict, path)
    mappings = array_mappings(config, class_count, abstract_arrays)
    # Weights first: their shapes say more about the network than the shapes of statistics.
    weights_before_statistics = sorted(mappings, key=_is_statistic)
    expected_shapes = {
        mapping.pytorch_name: mapping.pytorch_shape for mapping in weights_before_statistics
    }
    arrays = rename_torchvision_layers(config.arch, state_dict.arrays, expected_shapes)
    unit_scale_names = names_of_unit_scales(mappings)
    for name in unit_scale_names & arrays.keys():
        if not (arrays[name] == 1).all():
            raise RunError(
                f"{path}: the scale {name} must be all ones, because the normalisation layers of "
                f"{config.network_title} have no scale; convert a network without scales"
            )
    actual_shapes = {
        name: array.shape for name, array in arrays.items() if name not in unit_scale_names
    }
    problem_and_advice = _describe_wrong_shapes(
        config, class_count, expected_shapes, actual_shapes, state_dict.prefix
    )
    if problem_and_advice:
        raise RunError(f"{path}: {problem_and_advice}")
    return {
        mapping.jaxcifar_name: mapping.to_jaxcifar_layout(arrays[mapping.pytorch_name])
        for mapping in mappings
    }


def _is_statistic(mapping: ArrayMapping) -> bool:
    """Return True if an array is the running mean or variance of a BatchNorm."""
    return "running_" in mapping.pytorch_name


def _mirrored_arrays_from_state_dict(
    config: Config, class_count: int, state_dict: StateDict, path: Path
) -> dict[str, np.ndarray]:
    """Convert a state dict for a mirrored FastNet, whose PyTorch module has no mirroring."""
    config = config_without_mirroring(config)
    model = create_model(config, class_count)
    abstract_arrays = named_arrays(network.variable_shapes(model, config.image_size))
    with report_errors(path, Remedy("give --arch-args without mirrored=true")):
        arrays = from_state_dict(config, class_count, abstract_arrays, state_dict, path)
        return with_mirroring(arrays)


def _describe_wrong_shapes(
    config: Config,
    class_count: int,
    expected_shapes: Mapping[str, Shape],
    actual_shapes: Mapping[str, Shape],
    prefix: str,
) -> str:
    """Describe in one line why arrays do not fit a config's network; "" if they fit.

    `prefix` is the prefix that was removed from the names in the state dict.
    """
    large_stem_problem = describe_large_stem(expected_shapes, actual_shapes)
    if large_stem_problem:
        return large_stem_problem
    differences = describe_differences(expected_shapes, actual_shapes, prefix)
    if not differences:
        return ""
    return (
        f"its tensors are not those of {config.network_title} for {class_count} classes "
        f"({differences}); choose its --arch, --arch-args and --dataset"
    )
