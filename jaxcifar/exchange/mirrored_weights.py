"""Convert weights between a mirrored FastNet and the same network without mirroring.

A mirrored network gives the same logits for an image and its mirror image. For this, pairs of
filters share their weights: one filter is the mirror image of the other. In the same network
without mirroring, each filter has its own weights. Both networks compute the same, except for
pools of odd width.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.networks.mirrored import append_mirrored_partners

Arrays = dict[str, np.ndarray]

_MIRRORED_PREFIX = "Mirrored"  # of a mirrored layer's name
_WHITENING_BIAS = "params/Whitening_0/bias"


def is_mirrored(config: Config) -> bool:
    return bool(dict(config.arch_args).get("mirrored"))


def config_without_mirroring(config: Config) -> Config:
    other_arguments = [(name, value) for name, value in config.arch_args if name != "mirrored"]
    return dataclasses.replace(config, arch_args=tuple(other_arguments))


def without_mirroring(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Convert the arrays of a mirrored FastNet to the arrays of a FastNet without mirroring.

    In a mirrored network, a filter and its mirror image share their weights. In the result, each
    filter has its own copy. `arrays` and the result map names to arrays.
    """
    # Two thirds of the whitening's biases belong to filters that are their own mirror images.
    symmetric_filters = len(arrays[_WHITENING_BIAS]) * 2 // 3
    arrays_of_all_filters = {}
    for name, array in arrays.items():
        name_without_prefix = name.replace(_MIRRORED_PREFIX, "")
        arrays_of_all_filters[name_without_prefix] = _array_of_all_filters(
            name, array, symmetric_filters
        )
    return arrays_of_all_filters


def _array_of_all_filters(name: str, array: np.ndarray, symmetric_filters: int) -> np.ndarray:
    """Convert one array of a mirrored FastNet to the array of the network without mirroring.

    Args:
      name: the array's name in the mirrored network.
      array: the array. It has no separate weights for a filter and for its mirror image.
      symmetric_filters: number of filters in the whitening layer, which is the first layer, that
        are their own mirror images.
    """
    layer, array_kind = name.split("/")[-2:]
    is_whitening = layer == "Whitening_0"
    is_mirrored_convolution = layer.startswith(_MIRRORED_PREFIX)
    if is_whitening and array_kind == "bias":
        biases_of_mirror_images = array[symmetric_filters:]
        return np.concatenate([array, biases_of_mirror_images])
    if is_whitening:
        kernel_of_all_filters = array  # in a mirrored network, too
        return kernel_of_all_filters
    if is_mirrored_convolution:
        follows_whitening = name.endswith("ConvGroup_0/MirroredConv_0/kernel")
        symmetric_inputs = symmetric_filters if follows_whitening else 0
        return np.asarray(append_mirrored_partners(jnp.asarray(array), symmetric_inputs))
    # A normalisation, or the kernel of the last layer: mirror images have the same values.
    values_of_mirror_images = array
    return np.concatenate([array, values_of_mirror_images])


def with_mirroring(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """Convert the arrays of a FastNet to the arrays of a mirrored FastNet.

    This is the inverse of `without_mirroring`. In a mirrored network, a filter and its mirror image
    share their weights. `arrays` and the result map names to arrays.

    Raises:
      ValueError: the two filters of a pair are not mirror images of each other.
    """
    mirrored_arrays = {}
    for name, array in arrays.items():
        if name == _WHITENING_BIAS:
            # Half of the filters are symmetric. The last quarter are mirror images of the third.
            filters_that_are_mirror_images = len(array) // 4
            learnt_filters = len(array) - filters_that_are_mirror_images
            mirrored_arrays[name] = array[:learnt_filters]
        elif name.endswith("Dense_0/kernel"):
            rows_of_learnt_filters = len(array) // 2
            mirrored_arrays[name] = array[:rows_of_learnt_filters]
        elif "ConvGroup" in name:
            learnt_filters = array.shape[-1] // 2
            mirrored_name = name.replace("/Conv_", f"/{_MIRRORED_PREFIX}Conv_")
            mirrored_arrays[mirrored_name] = array[..., :learnt_filters]
        else:
            mirrored_arrays[name] = array
    restored_arrays = without_mirroring(mirrored_arrays)
    for name, restored_array in restored_arrays.items():
        if not np.array_equal(restored_array, arrays[name]):
            raise ValueError(f"{name}: two filters of a pair are not mirror images")
    return mirrored_arrays
