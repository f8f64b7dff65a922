"""Match the names of a PyTorch state dict with the names that jaxcifar's PyTorch modules use."""

import difflib
from collections.abc import Collection, Iterable, Mapping

import numpy as np

from jaxcifar.errors import printable

Shape = tuple[int, ...]

_MAX_DIFFERENCES = 3  # arrays that a message describes
_MAX_NAME_LENGTH = 80  # characters of an array's name in a message
_MAX_NAMES_COMPARED = 500  # names among which the nearest name is searched
_IMAGENET_KERNEL_SIZE = 7  # smallest height and width of ImageNet networks' first convolution
_LOWEST_SIMILARITY = 0.5  # of names, from 0 to 1; names that differ more are not shown as nearest
# Modules that wrap another module: torch.compile, FSDP and checkpointed activations. They can
# also be inside a network.
_WRAPPER_MODULES = {"_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"}
# Layers of torchvision's networks, by the network that has these layers under other names.
_TORCHVISION_LAYERS = {"resnet18": {"downsample": "shortcut", "fc": "linear"}}


def printable_name(name: object) -> str:
    """Return the name of an array as one printable line of at most 80 characters."""
    return printable(name, _MAX_NAME_LENGTH)


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
    paths = [_path_without_wrappers(name) for name in arrays]
    module_paths = [path[:-1] for path in paths]
    shared_modules = []
    for modules_at_depth in zip(*module_paths, strict=False):  # as deep as the shortest path
        if len(set(modules_at_depth)) > 1:
            break
        shared_modules.append(modules_at_depth[0])
    short_names = [".".join(path[len(shared_modules) :]) for path in paths]
    prefix = "".join(f"{module}." for module in shared_modules)
    have_equal_names = len(set(short_names)) < len(short_names)
    if have_equal_names:
        raise ValueError(
            "two tensors have the same name without wrappers, such as module. and _orig_mod."
        )
    array_of_short_name = dict(zip(short_names, arrays.values(), strict=True))
    return array_of_short_name, prefix


def _path_without_wrappers(name: str) -> list[str]:
    """Split an array's name into the names of its modules, without wrappers, and its own name."""
    return [part for part in name.split(".") if part not in _WRAPPER_MODULES]


def has_torchvision_names(arch: str, names: Iterable[str]) -> bool:
    """Return True if a name has a part, such as "downsample", that only torchvision uses.

    Args:
      arch: the network's name, such as "resnet18".
      names: names of arrays in a state dict.
    """
    torchvision_layers = _TORCHVISION_LAYERS.get(arch, {}).keys()
    return any(not torchvision_layers.isdisjoint(name.split(".")) for name in names)


def rename_torchvision_layers(
    arch: str, arrays: Mapping[str, np.ndarray], expected_names: Collection[str]
) -> dict[str, np.ndarray]:
    """Replace torchvision's names of layers by the names that this package uses.

    Args:
      arch: the network's name, such as "resnet18".
      arrays: arrays by the names in the state dict.
      expected_names: names of the arrays that the network needs. A name is replaced only if the
        new name is one of these.

    Returns:
      the arrays by their new names.
    """
    our_layer_names = _TORCHVISION_LAYERS.get(arch, {})
    renamed_arrays = {}
    for name, array in arrays.items():
        our_layers = [our_layer_names.get(layer, layer) for layer in name.split(".")]
        our_name = ".".join(our_layers)
        is_old_name_wrong = name not in expected_names
        is_our_name_missing = our_name in expected_names and our_name not in arrays
        if is_old_name_wrong and is_our_name_missing:
            renamed_arrays[our_name] = array
        else:
            renamed_arrays[name] = array
    return renamed_arrays


def describe_differences(
    expected_shapes: Mapping[str, Shape], actual_shapes: Mapping[str, Shape], prefix: str
) -> str:
    """Describe in one line the differences between a state dict and the arrays of a network.

    Args:
      expected_shapes: shapes of the network's arrays by name, in the order to describe them in.
      actual_shapes: shapes of the state dict's arrays by name.
      prefix: the prefix that was removed from the names in the state dict.

    Returns:
      the description, or an empty string if names and shapes are equal.
    """
    all_names = dict.fromkeys([*expected_shapes, *actual_shapes])
    differing_names = [
        name for name in all_names if expected_shapes.get(name) != actual_shapes.get(name)
    ]
    differences = [
        _describe_difference(name, expected_shapes, actual_shapes)
        for name in differing_names[:_MAX_DIFFERENCES]
    ]
    if len(differing_names) > _MAX_DIFFERENCES:
        differences.append(f"and {len(differing_names) - _MAX_DIFFERENCES} more")
    if differing_names and prefix:
        differences.append(
            f"all names in the file begin with {printable_name(prefix)}, which is left out here"
        )
    return "; ".join(differences)


def _describe_difference(
    name: str, expected_shapes: Mapping[str, Shape], actual_shapes: Mapping[str, Shape]
) -> str:
    """Describe in one line how an array's shape in the file differs from its shape in the network.

    If the array is missing in the file or in the network, the line also names the most similar
    array there.
    """
    actual, expected = actual_shapes.get(name), expected_shapes.get(name)
    difference = (
        f"{printable_name(name)}: {_describe_shape(actual)} in the file, "
        f"{_describe_shape(expected)} expected"
    )
    if actual is None and expected is not None:
        place_of_nearest = "in the file"
        unexpected_shapes = _shapes_only_in(actual_shapes, expected_shapes)
        nearest_array = _describe_most_similar(name, expected, unexpected_shapes)
    elif expected is None and actual is not None:
        place_of_nearest = "expected"
        missing_shapes = _shapes_only_in(expected_shapes, actual_shapes)
        nearest_array = _describe_most_similar(name, actual, missing_shapes)
    else:
        return difference
    if not nearest_array:
        return difference
    return f"{difference}, nearest {place_of_nearest}: {nearest_array}"


def _shapes_only_in(
    shapes: Mapping[str, Shape], other_shapes: Mapping[str, Shape]
) -> dict[str, Shape]:
    """Return the names and shapes in `shapes` whose names `other_shapes` does not have."""
    return {name: shape for name, shape in shapes.items() if name not in other_shapes}


def describe_large_stem(
    expected_shapes: Mapping[str, Shape], actual_shapes: Mapping[str, Shape]
) -> str:
    """Describe in one line that a state dict is of a network for ImageNet, with larger images.

    Such a network begins with a convolution whose kernel is at least 7x7, and has another size than
    the kernels that are expected.

    Args:
      expected_shapes: shapes of the network's arrays by name.
      actual_shapes: shapes of the state dict's arrays by name.

    Returns:
      the description, or an empty string if the state dict has no such convolution.
    """
    expected_sizes = []  # (height, width) of each kernel
    for shape in expected_shapes.values():
        if _is_kernel_for_color_images(shape):
            _, _, height, width = shape
            expected_sizes.append((height, width))
    different_sizes = dict.fromkeys(f"{height}x{width}" for height, width in expected_sizes)
    possible_sizes = " or ".join(different_sizes) if different_sizes else "3x3"
    for name, shape in actual_shapes.items():
        if not _is_kernel_for_color_images(shape):
            continue
        _, _, height, width = shape
        is_large = min(height, width) >= _IMAGENET_KERNEL_SIZE
        if is_large and (height, width) not in expected_sizes:
            return (
                f"the first convolution ({printable_name(name)}) is {height}x{width}, of an "
                f"ImageNet network; only networks for small images ({possible_sizes}) can be "
                "imported"
            )
    return ""


def _is_kernel_for_color_images(shape: Shape) -> bool:
    """Return True if a shape is that of a PyTorch convolution kernel with 3 input channels."""
    if len(shape) != 4:
        return False
    _, input_channels, _, _ = shape
    return input_channels == 3


def _describe_most_similar(name: str, shape: Shape, other_shapes: Mapping[str, Shape]) -> str:
    """Return a text with the name and shape of the array in `other_shapes` most similar to `name`.

    If arrays of the same shape have similar names, the array is one of these. The text is empty if
    no name is similar.
    """
    names_of_same_shape = [other for other in other_shapes if other_shapes[other] == shape]
    nearest_name = _most_similar(name, names_of_same_shape)
    if nearest_name is None:
        nearest_name = _most_similar(name, other_shapes)
    if nearest_name is None:
        return ""
    return f"{printable_name(nearest_name)} {_describe_shape(other_shapes[nearest_name])}"


def _most_similar(name: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that is most similar to a name; None if no candidate is similar."""
    # Comparing takes time that grows with the names' lengths, and the file may be hostile.
    short_names = [candidate for candidate in candidates if len(candidate) <= _MAX_NAME_LENGTH]
    compared_names = short_names[:_MAX_NAMES_COMPARED]
    matches = difflib.get_close_matches(
        name[:_MAX_NAME_LENGTH], compared_names, n=1, cutoff=_LOWEST_SIMILARITY
    )
    return matches[0] if matches else None


def _describe_shape(shape: Shape | None) -> str:
    return "none" if shape is None else str(list(shape))
