"""Load a finished run as a classifier, with the weights of its best epoch."""

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, overload

import jax
import numpy as np

from jaxcifar.build.hyperparameters import Statistics, make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config import user_code
from jaxcifar.config.experiment import Config
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import OneLineError, RunError, UsageError, first_line, printable
from jaxcifar.image_size import image_shape
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.machine.environment import first_devices
from jaxcifar.machine.failures import report_machine_failures
from jaxcifar.machine.reading import Remedy
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.file_formats import Result, class_names, read_result
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import has_untested_weights, require_trained
from jaxcifar.runs.weights import Card, arrange_arrays, read_weights
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.ensemble import Ensemble
from jaxcifar.trained.same_code import require_same_code
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

_MAX_REASON_LENGTH = 200
SHIPPED_WEIGHTS = Path(__file__).with_name("shipped") / "cnn.safetensors"
_REMEDY_FOR_UNREADABLE_CONFIG = Remedy(
    "use the version of jaxcifar that wrote it, or get a new copy of the run from its owner"
)


@overload
def load(
    run: str | Path = SHIPPED_WEIGHTS, /, *, data_dir: str | Path | None = None
) -> Classifier: ...


@overload
def load(*runs: str | Path, data_dir: str | Path | None = None) -> Classifier | Ensemble: ...


@with_package_settings()
def load(*runs: str | Path, data_dir: str | Path | None = None) -> Classifier | Ensemble:
    """Return the classifier of a finished run, or an ensemble of several runs.

    A user's network is loaded from the file that the run's config names, if that file has not
    changed since training. Files in the run's folder are never executed.

    Args:
      *runs: folders of runs, or files of weights. An ensemble predicts the mean of its members'
        probabilities. Without an argument, the CNN that comes with this package is loaded
        (`shipped/cnn.md` describes its training, its accuracy and its limits).
      data_dir: folder of TensorFlow Datasets, or None for its default. Only runs of older
        versions need the folder.

    Raises:
      UsageError: a run is missing or not finished, the file of its network is missing or has
        changed, or the runs have different classes.
      RunError: a run can't be read, or the images of a run by an older version can't be read.
    """
    for run in runs:
        if not isinstance(run, str | os.PathLike):
            raise UsageError(f"load: {run!r:.80} is not a path; write load(RUN) or load(RUN, RUN)")
    members = [_load_classifier(Path(run), data_dir) for run in runs or (SHIPPED_WEIGHTS,)]
    return members[0] if len(members) == 1 else Ensemble.from_members(members)


def load_just_trained(path: Path, data_dir: str | Path | None) -> Classifier:
    """Return the classifier of a run that this process has just trained or opened.

    User code that this process has loaded is used, even if its files were edited since then. `path`
    is the run's folder. `data_dir` is the folder of TensorFlow Datasets, or None for its default.
    """
    return _load_classifier(path, data_dir, trusts_loaded_code=True)


def _load_classifier(
    path: Path, data_dir: str | Path | None, trusts_loaded_code: bool = False
) -> Classifier:
    """Return the classifier of one run folder or file of weights.

    If `trusts_loaded_code`, user code that this process has loaded is not compared with its files.
    """
    require_trained(path)
    folder = RunFolder(path)
    is_weights_file = not path.is_dir()
    if is_weights_file:
        return _load_from_weights_file(Path(os.path.realpath(path)))
    if has_untested_weights(path):
        return _load_from_weights_file(folder.weights_file, run_folder=path)
    result = read_result(folder.result_file)
    config = folder.read_config(_REMEDY_FOR_UNREADABLE_CONFIG)
    uses_loaded_code = trusts_loaded_code and user_code.is_loaded(config)
    if not uses_loaded_code:
        require_same_code(path, config, folder.sources)
    has_weights_file = "weights_sha256" in result  # runs by older versions have a checkpoint
    if has_weights_file:
        arrays, card = folder.read_weights(result)
        return _make_classifier(folder.weights_file, config, {**card, **result}, arrays)
    return _load_from_checkpoint(folder, config, result, data_dir)


def _load_from_weights_file(path: Path, run_folder: Path | None = None) -> Classifier:
    arrays, card = read_weights(path)
    config = Config.from_dict(card["config"])
    require_same_code(path, config, run_folder=run_folder)
    return _make_classifier(path, config, card, arrays)


def _make_classifier(
    path: Path, config: Config, description: Card | Result, arrays: dict[str, np.ndarray]
) -> Classifier:
    """Return the classifier for a network's arrays.

    Args:
      path: path of the file of weights, for messages.
      config: settings of the run that trained the network.
      description: the content of the run's `result.json`, or the card in the file of weights. It
        has class names and image statistics.
      arrays: the network's arrays, by name.
    """
    num_classes = len(description["class_names"])
    statistics = _image_statistics(description)
    with _report_impossible_network(path):
        program, hyperparameters = _make_program(config, num_classes, statistics)
        expected_variables = _state_without_values(program, hyperparameters).variables
    variables = arrange_arrays(arrays, expected_variables, path)
    return Classifier.create(config, description, program, hyperparameters, variables)


@contextlib.contextmanager
def _report_impossible_network(path: Path) -> Iterator[None]:
    """Turn exceptions of a network that can't be made into one line: its config may be damaged.

    `path` is the path of the run or of the file of weights, for the message.
    """
    try:
        with report_machine_failures():
            yield
    except OneLineError:
        raise
    except Exception as error:  # layers may raise anything
        reason = printable(f"{type(error).__name__}: {first_line(error)}", _MAX_REASON_LENGTH)
        raise RunError(
            f"{path}: the network of its config can't be made ({reason}); choose another run or "
            "file of weights"
        ) from error


def _image_statistics(description: Mapping[str, Any]) -> Statistics:
    """Return the mean and deviation of each channel, from a run's result or its weights' card."""
    return SimpleNamespace(mean=description["channel_mean"], std=description["channel_std"])


def _load_from_checkpoint(
    folder: RunFolder, config: Config, result: Result, data_dir: str | Path | None
) -> Classifier:
    """Return the classifier of a run by an older version, whose weights are in a checkpoint.

    `data_dir` is the folder of TensorFlow Datasets, or None for its default.
    """
    from jaxcifar.data import load_dataset  # takes a second to import, as orbax does
    from jaxcifar.runs.checkpoint import Checkpoints

    description: dict[str, Any] = {**result, "class_names": class_names(result)}
    is_old_run_without_statistics = "channel_mean" not in result
    if is_old_run_without_statistics:
        dataset = load_dataset(config, Path(data_dir or default_data_dir()))
        description["channel_mean"] = dataset.mean
        description["channel_std"] = dataset.std
        description["class_names"] = list(dataset.class_names)
    num_classes = len(description["class_names"])
    statistics = _image_statistics(description)
    train_examples = result["examples"]["train"]
    with _report_impossible_network(folder.path):
        program, hyperparameters = _make_program(config, num_classes, statistics, train_examples)
        expected_state = _state_without_values(program, hyperparameters)
    with Checkpoints(folder.checkpoints, config, program.steps_per_epoch) as checkpoints:
        last_step_of_selected_epoch = result["selected_epoch"] * program.steps_per_epoch
        checkpoint = checkpoints.load(last_step_of_selected_epoch, expected_state)
        state: TrainState = checkpoint.state
    return Classifier.create(config, description, program, hyperparameters, state.variables)


def _make_program(
    config: Config, num_classes: int, statistics: Statistics, train_examples: int | None = None
) -> tuple[Program, Hyperparameters]:
    """Return a run's compiled program for one device, and its hyper-parameters on that device.

    Args:
      config: settings of the run.
      num_classes: number of classes.
      statistics: mean and deviation of the training images.
      train_examples: number of training images, which only a checkpoint needs; else None.
    """
    one_device = first_devices(None)[:1]
    program = make_program(config, num_classes, train_examples or config.batch_size, one_device)
    hyperparameters = make_hyperparameters(config, statistics, program.steps_per_epoch)
    return program, place_on_devices(hyperparameters, program.replicated)


def _state_without_values(program: Program, hyperparameters: Hyperparameters) -> TrainState:
    """Return the shapes, dtypes and device placement of a program's training state."""
    images = jax.ShapeDtypeStruct((1, *image_shape(program.image_size)), np.uint8)
    state = program.init.eval_shape(program, hyperparameters, images)

    def with_placement(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=program.replicated)

    return jax.tree.map(with_placement, state)
