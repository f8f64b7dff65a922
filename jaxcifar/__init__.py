"""CIFAR-10 experiments in pure-functional JAX.

For scripts and notebooks; each name is imported when it is first used:

- `Config`, `Config.create(arch, **settings)`: all settings of one experiment.
- `Dataset`, `Dataset.from_arrays(...)`, `load_dataset(config, data_dir)`: images to train on.
- `train(network, dataset, **settings)`: trains a network and returns a classifier.
- `LiveCurves`: an observer for `train` that draws the curves in a notebook after each epoch.
- `Metric(name, title, unit, higher_is_better, per_image=f)`: a further metric for `train`.
- `load(run_dir)`: the classifier of a finished run; `predict(images)` returns probabilities and
  labels. `load()`: the classifier that comes with the package.
- `summarize(network)`: the layers, parameters and FLOPs of a network; `table()` returns text.
- `UsageError`, `RunError`: the exceptions of these functions, with one line that says what to do.
- `Interrupted`: the exception of `train` after Ctrl-C; the run is saved.
"""

import importlib
from typing import Any

from jaxcifar.machine.onednn import turn_on_onednn

turn_on_onednn()  # before the user's program starts JAX

__version__ = "0.1.0"
_MODULE_OF_NAME = {
    "Config": "jaxcifar.config.experiment",
    "Dataset": "jaxcifar.data",
    "Interrupted": "jaxcifar.machine.interrupt",
    "LiveCurves": "jaxcifar.runs.live_curves",
    "Metric": "jaxcifar.training.metrics",
    "RunError": "jaxcifar.errors",
    "UsageError": "jaxcifar.errors",
    "load": "jaxcifar.trained.load",
    "load_dataset": "jaxcifar.data",
    "summarize": "jaxcifar.api",
    "train": "jaxcifar.api",
}
__all__ = ["__version__", *_MODULE_OF_NAME]


def __getattr__(name: str) -> Any:
    if name not in _MODULE_OF_NAME:
        raise AttributeError(f"module 'jaxcifar' has no attribute {name!r}")
    return getattr(importlib.import_module(_MODULE_OF_NAME[name]), name)


def __dir__() -> list[str]:
    return __all__
