"""CIFAR-10 experiments in pure-functional JAX.

For scripts and notebooks, imported when they are first used:

- `Config`, `Config.create(arch, **settings)`: one experiment, whole.
- `Dataset`, `Dataset.from_arrays(...)`, `load_dataset(config, data_dir)`: images to train on.
- `train(network, dataset, **settings)`: trains, and returns a classifier.
- `Metric(name, title, unit, higher_is_better, per_image=f)`: what `train` may measure too.
- `load(run_dir)`: the classifier that a finished run came to; its `predict(images)` gives
  probabilities and labels. `load()`: the one that comes with the package.
- `summarize(network)`: what a network is made of; its `table()` is text.
- `UsageError`, `RunError`: what all of these raise, each with one line that says what to do;
  `train` also raises `Interrupted`, with everything saved.
"""

import importlib
from typing import Any

__version__ = "0.1.0"
_WHERE = {
    "Config": "jaxcifar.config.experiment",
    "Dataset": "jaxcifar.data",
    "Interrupted": "jaxcifar.machine.interrupt",
    "Metric": "jaxcifar.training.metrics",
    "RunError": "jaxcifar.errors",
    "UsageError": "jaxcifar.errors",
    "load": "jaxcifar.trained.load",
    "load_dataset": "jaxcifar.data",
    "summarize": "jaxcifar.api",
    "train": "jaxcifar.api",
}
__all__ = ["__version__", *_WHERE]


def __getattr__(name: str) -> Any:
    if name not in _WHERE:
        raise AttributeError(f"module 'jaxcifar' has no attribute {name!r}")
    return getattr(importlib.import_module(_WHERE[name]), name)


def __dir__() -> list[str]:
    return __all__
