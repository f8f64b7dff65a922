"""A finished run read back: its network, and the weights that validation chose."""

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any, overload

import jax
import numpy as np

from jaxcifar.build.hyperparameters import make_hyperparameters
from jaxcifar.build.setup import make_program
from jaxcifar.config import user_code, user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import UsageError
from jaxcifar.machine.computing import with_our_settings
from jaxcifar.machine.environment import first_devices
from jaxcifar.machine.reading import Remedy
from jaxcifar.machine.sharing import place
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.saved import Result, class_names, read_result
from jaxcifar.runs.task import is_untested, require_trained
from jaxcifar.runs.weights import Card, fitted, read_weights
from jaxcifar.trained.classifier import Classifier, Ensemble
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

SHIPPED = Path(__file__).with_name("shipped") / "cnn.safetensors"
_AS_IT_WAS = Remedy("use the version of jaxcifar that wrote it, or get the run anew from its owner")


@overload
def load(run: str | Path = SHIPPED, /, *, data_dir: str | Path | None = None) -> Classifier: ...


@overload
def load(*runs: str | Path, data_dir: str | Path | None = None) -> Classifier | Ensemble: ...


@with_our_settings()
def load(*runs: str | Path, data_dir: str | Path | None = None) -> Classifier | Ensemble:
    """The classifier that a finished run came to.

    Somebody's own network is loaded from where its config says that its file is, if that is the
    file it was trained from; nothing that lies in the folder is executed.

    Args:
      *runs: folder of the run, or a file of weights; of several, the mean of their probabilities is
        what is predicted; of none, a CNN that comes with this package (`shipped/cnn.md` says how
        good it is, on what it was trained, and what it can't).
      data_dir: TFDS folder, looked into for a run of an older version; its own default if None.

    Raises:
      UsageError: there is no finished run, or its network's file is gone or another, or several
        don't tell the same classes apart.
      RunError: it can't be read, or its images can't, where a run is of an older version.
    """
    members = [_load(Path(run), data_dir) for run in runs or (SHIPPED,)]
    return members[0] if len(members) == 1 else Ensemble.of(members)


def just_trained(path: Path, data_dir: str | Path | None) -> Classifier:
    """Return the classifier of a run that this process has done or opened just now.

    User code is what was loaded for that, even if its files have been edited since.
    """
    return _load(path, data_dir, code_is_loaded=True)


def _load(path: Path, data_dir: str | Path | None, code_is_loaded: bool = False) -> Classifier:
    require_trained(path)
    folder = RunFolder(path)
    if not path.is_dir():
        return _of_file(Path(os.path.realpath(path)))
    if is_untested(path):
        return _of_file(folder.weights)
    result = read_result(folder.result)
    config = folder.read_config(_AS_IT_WAS)
    if not (code_is_loaded and user_code.is_loaded(config)):
        _require_same_code(path, folder.sources, config)
    if "weights_sha256" in result:
        arrays, card = folder.read_weights(result)
        return _classifier(folder.weights, config, {**card, **result}, arrays)
    return _of_older_version(folder, config, result, data_dir)


def _of_file(path: Path) -> Classifier:
    arrays, card = read_weights(path)
    config = Config.from_dict(card["config"])
    _require_same_code(path, None, config)
    return _classifier(path, config, card, arrays)


def _classifier(
    path: Path, config: Config, said: Card | Result, arrays: dict[str, np.ndarray]
) -> Classifier:
    """What is `said` of a network, and its arrays by their names, put to use."""
    statistics = SimpleNamespace(mean=said["channel_mean"], std=said["channel_std"])
    program, hp = _program(config, len(said["class_names"]), statistics)
    variables = fitted(arrays, _abstract_state(program, hp).variables, path)
    return Classifier.create(config, said, program, hp, variables)


def _of_older_version(
    folder: RunFolder, config: Config, result: Result, data_dir: str | Path | None
) -> Classifier:
    """From the chosen checkpoint: there is no file of weights yet."""
    from jaxcifar.data import load_dataset  # takes a second to import, as orbax does
    from jaxcifar.runs.checkpoint import Checkpoints

    said: dict[str, Any] = {**result, "class_names": class_names(result)}
    if "channel_mean" not in said:  # the images tell what its result does not
        dataset = load_dataset(config, Path(data_dir or default_data_dir()))
        names = list(dataset.class_names)
        said |= {"channel_mean": dataset.mean, "channel_std": dataset.std, "class_names": names}
    statistics = SimpleNamespace(mean=said["channel_mean"], std=said["channel_std"])
    program, hp = _program(
        config, len(said["class_names"]), statistics, result["examples"]["train"]
    )
    with Checkpoints(folder.checkpoints, config, program.steps_per_epoch) as checkpoints:
        step = result["selected_epoch"] * program.steps_per_epoch
        state: TrainState = checkpoints.load(step, _abstract_state(program, hp)).state
    return Classifier.create(config, said, program, hp, state.variables)


def _program(
    config: Config, classes: int, statistics: Any, train_examples: int | None = None
) -> tuple[Program, Hyperparameters]:
    examples = train_examples or config.batch_size
    program = make_program(config, classes, examples, first_devices(None)[:1])
    hp = make_hyperparameters(config, statistics, program.steps_per_epoch)
    return program, place(hp, program.replicated)


def _abstract_state(program: Program, hp: Hyperparameters) -> TrainState:
    """The shapes of a state, placed on the program's devices."""
    images = jax.ShapeDtypeStruct((1, 32, 32, 3), np.uint8)
    return jax.tree.map(
        lambda leaf: jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=program.replicated),
        program.init.eval_shape(program, hp, images),
    )


def _require_same_code(path: Path, copies: Path | None, config: Config) -> None:
    """Refuse user code that has changed since the training.

    Args:
      path: the run, or the file of weights.
      copies: the run's folder of copies of its user code; None for a file of weights.
      config: the run's config, with the names and digests of its user code.
    """
    for kind, digest in config.sources or ():
        name = getattr(config, kind)
        where = f"what is now in {copies / kind}" if copies else "another version of it"
        try:
            same = user_reference.digest(kind, name) == digest
        except UsageError as error:
            remedy = "; get that file from whoever trained it"
            if copies:
                remedy = f"; a copy is {copies / kind}: if you trust it, put that where it was"
            raise UsageError(f"{path}: {error}{remedy}") from error
        if not same and name.startswith("__main__:"):
            raise UsageError(
                f"{path}: {name} stands in the script that trained it: load it there, or train it "
                "from a file of its own"
            )
        if not same:
            raise UsageError(
                f"{path}: {name} has been edited since; the run was trained from {where}"
            )
    _require_same_imports(path, copies, config, user_code.with_imports_of(config, config))


def _require_same_imports(path: Path, copies: Path | None, config: Config, now: Config) -> None:
    """Refuse imported files that have changed since the training.

    Args:
      path: the run, or the file of weights.
      copies: the run's folder of copies of its user code; None for a file of weights.
      config: the run's config; without imports if an older version wrote it.
      now: the same config with the current digests.
    """
    if not config.imports:
        return
    for key, _ in sorted({*config.imports} ^ {*(now.imports or ())}):
        kind, _, file = key.partition(": ")
        where = f"what is now in {copies / kind}" if copies else "another version of it"
        raise UsageError(
            f"{path}: {file}, which {getattr(config, kind)} imports, is gone or has been edited "
            f"since; the run was trained from {where}"
        )
