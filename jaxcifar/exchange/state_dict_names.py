"""Match the names of a PyTorch state dict with the names that jaxcifar's PyTorch modules use."""

import difflib
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from jaxcifar.errors import printable

Shape = tuple[int, ...]

_MAX_SHOWN, _MAX_NAME = 3, 80  # array names in a message, characters of a name
_MAX_COMPARED = 500  # names among which the nearest name is searched
_IMAGENET_KERNEL = 7  # height and width of the smallest first convolution of ImageNet networks
_LOWEST_SIMILARITY = 0.5  # of names, from 0 to 1; names that differ more are not shown as nearest
# Modules that wrap another module: torch.compile, FSDP and checkpointed activations. They can
# also be inside a network.
_WRAPPERS = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Layers of torchvision's networks, by the network that has these layers under other names.
_TORCHVISION_LAYERS = {"resnet18": {"downsample": "shortcut", "fc": "linear"}}


def printable_name(name: object) -> str:
    """Return the name of an array as one printable line of at most 80 characters."""
    return printable(name, _MAX_NAME)


def remove_prefix(arrays: Mapping[str, np.ndarray]) -> tuple[dict[str, np.ndarray], str]:
    """Shorten arrays' names: remove the names of wrappers, and the prefix that all names share.

    A wrapper is a module such as `_orig_mod` of `torch.compile`. If a network is part of another
    module, such as `model` or `backbone`, PyTorch puts the module's name before each array's name.
    No network that can be converted has such a prefix itself.

    Returns:
      the arrays by the shorter names, and the prefix, such as `module.`, or an empty string.

    Raises:
      ValueError: two names differ only in the names of wrappers.
    """
    paths = []
    for name in arrays:
        paths.append([part for part in name.split(".") if part not in _WRAPPERS])
    module_paths = [path[:-1] for path in paths]
    shared_modules = []
    for modules in zip(*module_paths, strict=False):  # as deep as the shortest path
        if len(set(modules)) > 1:
            break
        shared_modules.append(modules[0])
    names = [".".join(path[len(shared_modules) :]) for path in paths]
    prefix = "".join(f"{module}." for module in shared_modules)
    if len(set(names)) < len(names):
        raise ValueError("two tensors have the same name, apart from the names of wrappers")
    return dict(zip(names, arrays.values(), strict=True)), prefix


def has_torchvision_names(arch: str, names: Iterable[str]) -> bool:
    """Return True if a name has a part, such as "downsample", that only torchvision uses.

    Args:
      arch: the network's name, such as "resnet18".
      names: names of arrays in a state dict.
    """
    torchvision_layers = _TORCHVISION_LAYERS.get(arch, {}).keys()
    return any(not torchvision_layers.isdisjoint(name.split(".")) for name in names)


def rename_torchvision_layers(
    arch: str, arrays: Mapping[str, np.ndarray], expected: Collection[str]
) -> dict[str, np.ndarray]:
    """Replace torchvision's names of layers by the names that this package uses.

    Args:
      arch: the network's name, such as "resnet18".
      arrays: arrays by the names in the state dict.
      expected: names of the arrays that the network needs. A name is replaced only if the new name
        is one of these.

    Returns:
      the arrays by their new names.
    """
    new_names = _TORCHVISION_LAYERS.get(arch, {})
    renamed = {}
    for name, array in arrays.items():
        new_name = ".".join(new_names.get(part, part) for part in name.split("."))
        is_needed = name not in expected and new_name in expected and new_name not in arrays
        renamed[new_name if is_needed else name] = array
    return renamed


def describe_differences(
    expected: Mapping[str, Shape], actual: Mapping[str, Shape], prefix: str
) -> str:
    """Describe in one line the differences between a state dict and the arrays of a network.

    Args:
      expected: shapes of the network's arrays by name, in the order in which to describe them.
      actual: shapes of the state dict's arrays by name.
      prefix: the prefix that was removed from the names in the state dict.

    Returns:
      the description, or an empty string if names and shapes are equal.
    """
    names = dict.fromkeys([*expected, *actual])
    differing_names = [name for name in names if expected.get(name) != actual.get(name)]
    missing = {name: shape for name, shape in expected.items() if name not in actual}
    unexpected = {name: shape for name, shape in actual.items() if name not in expected}
    differences = []
    for name in differing_names[:_MAX_SHOWN]:
        difference = (
            f"{printable_name(name)}: {_shape_text(actual.get(name))} in the file, "
            f"{_shape_text(expected.get(name))} expected"
        )
        similar_name = ""
        if name in missing:
            similar_name = _nearest(name, missing[name], unexpected)
        elif name in unexpected:
            similar_name = _nearest(name, unexpected[name], missing)
        if similar_name:
            place = "in the file" if name in missing else "expected"
            difference += f", nearest {place}: {similar_name}"
        differences.append(difference)
    if len(differing_names) > _MAX_SHOWN:
        differences.append(f"and {len(differing_names) - _MAX_SHOWN} more")
    if differing_names and prefix:
        differences.append(
            f"all names in the file begin with {printable_name(prefix)}, which is left out here"
        )
    return "; ".join(differences)


def describe_large_stem(expected: Mapping[str, Shape], actual: Mapping[str, Shape]) -> str:
    """Describe in one line that a state dict's first convolution is that of an ImageNet network.

    Its kernel is at least 7x7, and the network's first convolution is smaller.

    Args:
      expected: shapes of the network's arrays by name.
      actual: shapes of the state dict's arrays by name.

    Returns:
      the description, or an empty string if there is no such convolution.
    """
    known_kernels = [shape[2:] for shape in expected.values() if _is_stem(shape)]
    small_kernels = " or ".join(dict.fromkeys(f"{h}x{w}" for h, w in known_kernels)) or "3x3"
    for name, shape in actual.items():
        kernel = shape[2:]
        if not _is_stem(shape) or min(kernel) < _IMAGENET_KERNEL or kernel in known_kernels:
            continue
        return (
            f"the first convolution ({printable_name(name)}) is {kernel[0]}x{kernel[1]}, of an "
            f"ImageNet network; only networks for small images ({small_kernels}) can be imported"
        )
    return ""


def _is_stem(shape: Shape) -> bool:
    """Return True if a shape is that of a convolution of colour images."""
    return len(shape) == 4 and shape[1] == 3


def _nearest(name: str, shape: Shape, others: Mapping[str, Shape]) -> str:
    """Return the name and shape of the array in `others` with the most similar name.

    Arrays with the same shape come first. The text is empty if no name is similar.
    """
    same_shape = [other for other in others if others[other] == shape]
    nearest = _most_similar(name, same_shape) or _most_similar(name, others)
    return f"{printable_name(nearest)} {_shape_text(others[nearest])}" if nearest else ""


def _most_similar(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that is most similar to a name; None if no candidate is similar."""
    # Comparing takes time that grows with the names' lengths, and the file may be hostile.
    short_names = [candidate for candidate in candidates if len(candidate) <= _MAX_NAME]
    compared_names = short_names[:_MAX_COMPARED]
    matches = difflib.get_close_matches(
        name[:_MAX_NAME], compared_names, n=1, cutoff=_LOWEST_SIMILARITY
    )
    return matches[0] if matches else None


def _shape_text(shape: Shape | None) -> str:
    return "none" if shape is None else str(list(shape))
