"""A trained network for PyTorch: a state dict, and beside it a module that needs nothing else."""

import re
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.build.model import create_model
from jaxcifar.errors import UsageError
from jaxcifar.exchange.pytorch_names import to_pytorch
from jaxcifar.exchange.torch_modules import arguments, require_known, source
from jaxcifar.machine.extras import import_extra
from jaxcifar.machine.files import atomic_write, write_text
from jaxcifar.runs.result import decimal
from jaxcifar.runs.weights import named
from jaxcifar.trained.classifier import Classifier


def state_dict(classifier: Classifier) -> dict[str, np.ndarray]:
    """The weights of a network in PyTorch's names and layouts.

    Raises:
      UsageError: it is none of ours.
    """
    arrays = {name: np.asarray(array) for name, array in named(classifier.variables).items()}
    return to_pytorch(classifier.config, len(classifier.class_names), arrays)


def write_pytorch(classifier: Classifier, path: Path) -> Path:
    """Write a state dict, and a module of the same name that defines the network and loads it.

    Args:
      classifier: what to write.
      path: of the state dict, `NAME.pth`; the module is `NAME.py` beside it.

    Returns:
      the path of the module.

    Raises:
      UsageError: it is none of our networks, or a file that is no such module is in its place.
      RunError: PyTorch is not installed.
      OSError: something can't be written.
    """
    require_known(classifier.config.arch)
    torch = import_extra("torch")
    module = path.with_suffix(".py")
    text = module_text(classifier)
    _require_ours(module, text)
    state = {name: torch.from_numpy(array) for name, array in state_dict(classifier).items()}
    with atomic_write(path) as file:
        torch.save(state, file)
    write_text(module, text)
    return module


def module_text(classifier: Classifier) -> str:
    """A module that defines the network, with this one's classes and normalisation.

    Raises:
      UsageError: it is none of ours.
    """
    arch = classifier.config.arch
    require_known(arch)
    model = create_model(classifier.config, len(classifier.class_names))
    fields = arguments(arch, model)
    values: dict[str, Any] = {name.upper(): value for name, value in fields.items()}
    values["CLASS_NAMES"] = tuple(map(str, classifier.class_names))
    values["MEAN"] = tuple(map(decimal, classifier.mean))
    values["STD"] = tuple(map(decimal, classifier.std))
    text = source(arch)
    for name, value in values.items():
        text = _with_value(text, name, value)
    return text


def _with_value(text: str, name: str, value: Any) -> str:
    """Return a module's text in which a constant has another value."""
    line = f"{name} = {value!r}"
    return re.sub(rf"^{name} = .*$", lambda _: line, text, count=1, flags=re.M)


def _require_ours(module: Path, text: str) -> None:
    """Refuse to write over a file that is not such a module."""
    try:
        with module.open("rb") as file:
            begins = file.readline(1000)
    except FileNotFoundError:
        return
    if begins != text.encode().splitlines(keepends=True)[0]:
        raise UsageError(
            f"{module}: is there and is something else, and the module would be written there; "
            "choose another name"
        )
