"""Our networks in PyTorch, one file a network, named as the registry names it.

A file is all that PyTorch needs of its network. Users get it exported, with the values of its
constants replaced; the bench measures it, and the tests compare ours with it. It defines a class
`Network` whose layers stand in the order of our layer table. Its arguments have the names of the
Flax module's fields, and the default of each is a constant of that name.
"""

import importlib
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from jaxcifar.config.registry import KINDS
from jaxcifar.errors import UsageError
from jaxcifar.machine.extras import import_extra

_FOLDER = Path(__file__).parent
# Networks with a file here.
KNOWN = tuple(name for name in KINDS["arch"] if (_FOLDER / f"{name}.py").is_file())
_RESOLVED = {"depths": "group_depths"}  # fields whose default follows from others


def require_known(arch: str) -> None:
    """Refuse a network that has no PyTorch module.

    Raises:
      UsageError: it is a user's, or one of ours that has no file here.
    """
    if arch not in KNOWN:
        raise UsageError(
            f"--arch {arch}: only {', '.join(KNOWN)} have a PyTorch module; stablehlo and "
            "safetensors take any network"
        )


def source(arch: str) -> str:
    """Return the text of a network's file."""
    return (_FOLDER / f"{arch}.py").read_text()


def arguments(arch: str, model: Any) -> dict[str, Any]:
    """Return the arguments that make `Network` the same network as a Flax module of ours."""
    constants = re.findall(r"^([A-Z]+) = ", source(arch), re.M)
    fields = [constant.lower() for constant in constants if hasattr(model, constant.lower())]
    return {field: getattr(model, _RESOLVED.get(field, field)) for field in fields}


def torch_network(
    arch: str, model: Any, mean: Sequence[float] = (0, 0, 0), std: Sequence[float] = (1, 1, 1)
) -> Any:
    """Return a network as a PyTorch module, with the first weights that PyTorch draws.

    Args:
      arch: its name, one of `KNOWN`.
      model: the Flax module, which has the network's fields.
      mean: `[3]`, what the module subtracts from pixels from 0 to 1; nothing by default.
      std: `[3]`, what it then divides them by.

    Raises:
      UsageError: it has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    require_known(arch)
    import_extra("torch")
    module = importlib.import_module(f"{__name__}.{arch}")
    classes = model.num_classes
    return module.Network(**arguments(arch, model), classes=classes, mean=mean, std=std)
