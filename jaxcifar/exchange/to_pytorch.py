"""Export a trained network to PyTorch: a state dict, and a Python module that defines it."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.errors import UsageError
from jaxcifar.exchange.pytorch_names import to_pytorch
from jaxcifar.exchange.torch_modules import module_source, network_arguments, require_pytorch_module
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write, write_text
from jaxcifar.runs.array_trees import named_arrays
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training.metrics import shortest_decimal

_MAX_FIRST_LINE = 1000  # bytes


def pytorch_state_dict(classifier: Classifier) -> dict[str, np.ndarray]:
    """Return a trained network's arrays with PyTorch's names and layouts.

    Raises:
      UsageError: the network has no PyTorch module.
      RunError: PyTorch is not installed.
    """
    arrays = {name: np.asarray(array) for name, array in named_arrays(classifier.variables).items()}
    return to_pytorch(classifier.config, len(classifier.class_names), arrays)


def write_pytorch(classifier: Classifier, path: Path) -> Path:
    """Write a state dict `NAME.pth`, and a Python module `NAME.py` that defines the network.

    Args:
      classifier: the trained network.
      path: the file to write the state dict to.

    Returns:
      the path of the Python module.

    Raises:
      UsageError: the network has no PyTorch module, or another file has the module's name.
      RunError: PyTorch is not installed.
      OSError: a file can't be written.
    """
    require_pytorch_module(classifier.config.arch)
    torch = import_extra("torch")
    module_path = path.with_suffix(".py")
    module_code = module_text(classifier)
    _refuse_to_replace_user_file(module_path, module_code)
    arrays = pytorch_state_dict(classifier)
    tensors = {name: torch.from_numpy(array) for name, array in arrays.items()}
    with atomic_write(path) as file:
        torch.save(tensors, file)
    write_text(module_path, module_code)
    return module_path


def module_text(classifier: Classifier) -> str:
    """Return the code of a Python module that defines a trained network in PyTorch.

    The network's arguments, class names and normalisation are constants in the code.

    Raises:
      UsageError: the network has no PyTorch module.
    """
    arch = classifier.config.arch
    require_pytorch_module(arch)
    model = create_model(classifier.config, len(classifier.class_names))
    constants = {name.upper(): value for name, value in network_arguments(arch, model).items()}
    constants["CLASS_NAMES"] = tuple(map(str, classifier.class_names))
    constants["MEAN"] = tuple(map(shortest_decimal, classifier.mean))
    constants["STD"] = tuple(map(shortest_decimal, classifier.std))
    constants["IMAGE_SIZE"] = classifier.config.image_size
    module_code = module_source(arch)
    for name, value in constants.items():
        module_code = _replace_constant(module_code, name, value)
    return module_code


def _replace_constant(code: str, name: str, value: Any) -> str:
    new_line = f"{name} = {value!r}"
    return re.sub(rf"^{name} = .*$", lambda _: new_line, code, count=1, flags=re.M)


def _refuse_to_replace_user_file(module_path: Path, module_code: str) -> None:
    """Raise a `UsageError` if a file exists that this package did not export.

    An exported module has the same first line as `module_code`.
    """
    try:
        with module_path.open("rb") as file:
            first_line_of_file = file.readline(_MAX_FIRST_LINE)
    except FileNotFoundError:
        return
    first_line_of_code, *_ = module_code.encode().splitlines(keepends=True)
    if first_line_of_file != first_line_of_code:
        raise UsageError(
            f"{module_path}: the PyTorch module would replace this file, which is not an exported "
            "module; choose another name"
        )
