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
KNOWN = tuple(name for name in KINDS["arch"] if (_FOLDER / f"{name}.py").is_file())
_COMPUTED_FIELDS = {"depths": "group_depths"}  # field -> the property with its computed value


def require_known(arch: str) -> None:
    """Raise a `UsageError` if a network has no PyTorch module in this package."""
    if arch not in KNOWN:
        raise UsageError(
            f"--arch {arch}: only {', '.join(KNOWN)} have a PyTorch module; the formats "
            "stablehlo and safetensors take any network"
        )


def source(arch: str) -> str:
    return (_FOLDER / f"{arch}.py").read_text()


def arguments(arch: str, model: Any) -> dict[str, Any]:
    """Return the arguments that make PyTorch's `Network` the same network as the Flax `model`."""
    constants = re.findall(r"^([A-Z]+) = ", source(arch), re.M)
    fields = [constant.lower() for constant in constants if hasattr(model, constant.lower())]
    return {field: getattr(model, _COMPUTED_FIELDS.get(field, field)) for field in fields}


def torch_network(
    arch: str,
    model: Any,
    mean: Sequence[float] = (0, 0, 0),
    std: Sequence[float] = (1, 1, 1),
    image_size: int = IMAGE_SIZE,
) -> Any:
    """Return a network as a PyTorch module with random weights.

    Args:
      arch: the network's name, one of `KNOWN`.
      model: the Flax module, which has the network's arguments.
      mean: `[3]`, subtracted from pixels that range from 0 to 1.
      std: `[3]`, by which the difference is divided.
      image_size: height and width of the images.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    require_known(arch)
    import_extra("torch")
    module = importlib.import_module(f"{__name__}.{arch}")
    settings = arguments(arch, model)
    if hasattr(module, "IMAGE_SIZE"):  # only the CNN has a layer that depends on it
        settings["image_size"] = image_size
    return module.Network(**settings, classes=model.num_classes, mean=mean, std=std)
