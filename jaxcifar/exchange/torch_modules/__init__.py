"""The built-in networks in PyTorch, one file per network with the name from the registry.

Each file needs only PyTorch and is exported to users with new values for its constants. The bench
measures it, and tests compare it with the Flax network. Its class `Network` has its layers in the
order of the Flax network's layer table. The arguments of `Network` have the names of the Flax
module's fields, and the default of each argument is a constant of that name.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcifar.config.registry import KINDS
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE
from jaxcifar.machine.extras import import_extra

_FOLDER = Path(__file__).parent
ARCHS_IN_PYTORCH = tuple(name for name in KINDS["arch"] if (_FOLDER / f"{name}.py").is_file())
_PROPERTIES_WITH_COMPUTED_VALUE = {"depths": "group_depths"}  # by the name of the argument


def require_pytorch_module(arch: str) -> None:
    """Raise a `UsageError` if a network has no PyTorch module in this package."""
    if arch not in ARCHS_IN_PYTORCH:
        raise UsageError(
            f"--arch {arch}: only {', '.join(ARCHS_IN_PYTORCH)} have a PyTorch module; the formats "
            "stablehlo and safetensors take any network"
        )


def module_source(arch: str) -> str:
    return (_FOLDER / f"{arch}.py").read_text()


def network_arguments(arch: str, model: Any) -> dict[str, Any]:
    """Return the arguments that give PyTorch's `Network` the same layers as a Flax model.

    Arguments that the Flax model has no field for, such as the mean, are left out.
    """
    constants_in_module = re.findall(r"^([A-Z]+) = ", module_source(arch), re.M)
    possible_arguments = [constant.lower() for constant in constants_in_module]
    argument_values = {}
    for argument in possible_arguments:
        is_field_of_model = hasattr(model, argument)
        if is_field_of_model:
            field_with_value = _PROPERTIES_WITH_COMPUTED_VALUE.get(argument, argument)
            argument_values[argument] = getattr(model, field_with_value)
    return argument_values


def torch_network(
    arch: str,
    model: Any,
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    image_size: int = IMAGE_SIZE,
) -> Any:
    """Return a network as a PyTorch module with random weights.

    Args:
      arch: the network's name, one of `ARCHS_IN_PYTORCH`.
      model: the Flax module, which has the network's arguments.
      mean: `[3]`, subtracted from pixels that range from 0 to 1.
      std: `[3]`, by which the difference is divided.
      image_size: height and width of the images.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    require_pytorch_module(arch)
    import_extra("torch")
    module = importlib.import_module(f"{__name__}.{arch}")
    arguments = network_arguments(arch, model)
    if hasattr(module, "IMAGE_SIZE"):  # only the CNN has a layer that depends on it
        arguments["image_size"] = image_size
    return module.Network(**arguments, classes=model.num_classes, mean=mean, std=std)
