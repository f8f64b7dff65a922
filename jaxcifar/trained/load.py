"""A finished run read back: its network, and the weights that validation chose."""

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import jax
import numpy as np

from jaxcifar import own_code
from jaxcifar.data import load_dataset
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import UsageError
from jaxcifar.runs.checkpoint import Checkpoints
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.hyperparameters import make_hyperparameters
from jaxcifar.runs.saved import class_names
from jaxcifar.runs.setup import make_program
from jaxcifar.trained.classifier import Classifier
from jaxcifar.training.state import TrainState


def load(path: str | Path, data_dir: str | Path | None = None) -> Classifier:
    """The classifier that a finished run came to.

    Somebody's own network is loaded from where its config says that its file is, if that is the
    file it was trained from; nothing that lies in the folder is executed.

    Args:
      path: folder of the run.
      data_dir: TFDS folder, looked into for a run of an older version; its own default if None.

    Raises:
      UsageError: there is no finished run, or its network's file is gone or another.
      RunError: it can't be read, or its images can't, where a run is of an older version.
    """
    folder = RunFolder(Path(path))
    if not folder.result.exists():
        raise UsageError(f"{path}: no finished run here")
    config = folder.read_config()
    result = folder.finished_result()
    for kind, digest in config.sources or ():
        _require_same_code(folder, kind, getattr(config, kind), digest)
    if "channel_mean" in result:
        names = tuple(class_names(result))
        statistics = SimpleNamespace(mean=result["channel_mean"], std=result["channel_std"])
    else:  # of an older version: the images tell what its result does not
        statistics = load_dataset(config, Path(data_dir or default_data_dir()))
        names = statistics.class_names
    train_examples, epoch = result["examples"]["train"], result["selected_epoch"]
    program = make_program(config, len(names), train_examples, jax.devices()[:1])
    hp = make_hyperparameters(config, statistics, program.steps_per_epoch)
    with Checkpoints(folder.checkpoints, config, program.steps_per_epoch) as checkpoints:
        step = epoch * program.steps_per_epoch
        state: TrainState = checkpoints.load(step, _abstract_state(program, hp)).state
    return Classifier(
        result, names, program, state.variables, jax.device_put(hp, program.replicated)
    )


def _abstract_state(program: Any, hp: Any) -> TrainState:
    """The shapes of a state, placed on the program's devices."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=program.replicated),
        program.init.eval_shape(program, hp, images),
    )


def _require_same_code(folder: RunFolder, kind: str, name: str, digest: str) -> None:
    copy = folder.sources / kind
    try:
        same = own_code.digest(kind, name) == digest
    except UsageError as error:
        raise UsageError(
            f"{folder.path}: {error}; a copy is {copy}: if you trust it, put that where it was"
        ) from error
    if not same and name.startswith("__main__:"):
        raise UsageError(
            f"{folder.path}: {name} stands in the script that trained it: load it there, or train "
            "it from a file of its own"
        )
    if not same:
        raise UsageError(
            f"{folder.path}: {name} has been edited since; the run was trained from what is now in "
            f"{copy}"
        )
