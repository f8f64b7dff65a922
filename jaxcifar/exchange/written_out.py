"""A mirrored FastNet as one that is not: what partners share is written out for both.

It computes the same but for its pools, whose windows are wider where a column would be dropped.
"""

import dataclasses
from collections.abc import Mapping

import jax.numpy as jnp
import numpy as np

from jaxcifar.config.experiment import Config
from jaxcifar.networks.mirrored import with_partners

Arrays = dict[str, np.ndarray]

_MARK = "Mirrored"  # before a layer's name


def is_mirrored(config: Config) -> bool:
    """Whether a config's network is mirrored."""
    return bool(dict(config.arch_args).get("mirrored"))


def plain(config: Config) -> Config:
    """The config of the same network not mirrored."""
    own = tuple(pair for pair in config.arch_args if pair[0] != "mirrored")
    return dataclasses.replace(config, arch_args=own)


def written_out(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The arrays of the network that is not mirrored, by its names, from the mirrored one's."""
    unpaired = len(arrays["params/Whitening_0/bias"]) * 2 // 3
    return {name.replace(_MARK, ""): _whole(name, arrays[name], unpaired) for name in arrays}


def folded(arrays: Mapping[str, np.ndarray]) -> Arrays:
    """The inverse of `written_out`.

    Raises:
      ValueError: partners do not share what they should.
    """
    halves = {}
    for name, array in arrays.items():
        if name == "params/Whitening_0/bias":
            halves[name] = array[: len(array) * 3 // 4]
        elif name.endswith("Dense_0/kernel"):
            halves[name] = array[: len(array) // 2]
        elif "ConvGroup" in name:
            half = array[..., : array.shape[-1] // 2]
            halves[name.replace("/Conv_", f"/{_MARK}Conv_")] = half
        else:
            halves[name] = array
    for name, array in written_out(halves).items():
        if not np.array_equal(array, arrays[name]):
            raise ValueError(f"{name}: what mirrored partners share differs")
    return halves


def _whole(name: str, array: np.ndarray, unpaired: int) -> np.ndarray:
    *_, layer, leaf = name.split("/")
    if (layer, leaf) == ("Whitening_0", "bias"):
        return np.concatenate([array, array[unpaired:]])
    if layer == "Whitening_0":
        return array
    if layer.startswith(_MARK):
        first = name.endswith("ConvGroup_0/MirroredConv_0/kernel")
        return np.asarray(with_partners(jnp.asarray(array), unpaired if first else 0))
    return np.concatenate([array, array])  # a normalisation's, and the rows of the head
