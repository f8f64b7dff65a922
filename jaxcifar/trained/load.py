"""Load a finished run as a classifier, with the weights of its best epoch."""

import os
from collections.abc import Mapping
from pathlib import Path
from types import SimpleNamespace
from typing import Any, overload

import jax
import numpy as np

from jaxcifar.build.hyperparameters import Statistics, make_hyperparameters
from jaxcifar.build.make_program import make_program
from jaxcifar.config import user_code, user_reference
from jaxcifar.config.experiment import Config
from jaxcifar.data.prepare import default_data_dir
from jaxcifar.errors import UsageError
from jaxcifar.image_size import image_shape
from jaxcifar.machine.computing import with_package_settings
from jaxcifar.machine.environment import first_devices
from jaxcifar.machine.reading import Remedy
from jaxcifar.machine.sharing import place_on_devices
from jaxcifar.runs.file_formats import Result, class_names, read_result
from jaxcifar.runs.folder import RunFolder
from jaxcifar.runs.task import has_untested_weights, require_trained
from jaxcifar.runs.weights import Card, arrange_arrays, read_weights
from jaxcifar.trained.classifier import Classifier
from jaxcifar.trained.ensemble import Ensemble
from jaxcifar.training.program import Program
from jaxcifar.training.state import Hyperparameters, TrainState

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
    members = [_load_classifier(Path(run), data_dir) for run in runs or (SHIPPED_WEIGHTS,)]
    return members[0] if len(members) == 1 else Ensemble.of(members)


def load_just_trained(path: Path, data_dir: str | Path | None) -> Classifier:
    """Return the classifier of a run that this process has just trained or opened.

    User code that this process has loaded is used, even if its files were edited since then. `path`
    is the run's folder. `data_dir` is the folder of TensorFlow Datasets, or None for its default.
    """
    return _load_classifier(path, data_dir, code_is_loaded=True)


def _load_classifier(
    path: Path, data_dir: str | Path | None, code_is_loaded: bool = False
) -> Classifier:
    require_trained(path)
    folder = RunFolder(path)
    if not path.is_dir():  # a file of weights
        return _load_from_weights_file(Path(os.path.realpath(path)))
    if has_untested_weights(path):
        return _load_from_weights_file(folder.weights_file)
    result = read_result(folder.result_file)
    config = folder.read_config(_REMEDY_FOR_UNREADABLE_CONFIG)
    uses_loaded_code = code_is_loaded and user_code.is_loaded(config)
    if not uses_loaded_code:
        _require_same_code(path, config, folder.sources)
    if "weights_sha256" in result:
        arrays, card = folder.read_weights(result)
        return _make_classifier(folder.weights_file, config, {**card, **result}, arrays)
    return _load_from_checkpoint(folder, config, result, data_dir)


def _load_from_weights_file(path: Path) -> Classifier:
    arrays, card = read_weights(path)
    config = Config.from_dict(card["config"])
    _require_same_code(path, config)
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
    statistics = _image_statistics(description)
    num_classes = len(description["class_names"])
    program, hyper = _make_program(config, num_classes, statistics)
    expected_variables = _abstract_state(program, hyper).variables
    variables = arrange_arrays(arrays, expected_variables, path)
    return Classifier.create(config, description, program, hyper, variables)


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
    if "channel_mean" not in result:  # the oldest versions wrote no image statistics
        dataset = load_dataset(config, Path(data_dir or default_data_dir()))
        description["channel_mean"] = dataset.mean
        description["channel_std"] = dataset.std
        description["class_names"] = list(dataset.class_names)
    num_classes = len(description["class_names"])
    statistics = _image_statistics(description)
    train_examples = result["examples"]["train"]
    program, hyper = _make_program(config, num_classes, statistics, train_examples)
    with Checkpoints(folder.checkpoints, config, program.steps_per_epoch) as checkpoints:
        last_step = result["selected_epoch"] * program.steps_per_epoch
        checkpoint = checkpoints.load(last_step, _abstract_state(program, hyper))
        state: TrainState = checkpoint.state
    return Classifier.create(config, description, program, hyper, state.variables)


def _make_program(
    config: Config, num_classes: int, statistics: Statistics, train_examples: int | None = None
) -> tuple[Program, Hyperparameters]:
    """Return a run's program for one device, and its hyper-parameters on that device.

    `statistics` has the mean and deviation of the training images. The number of training images
    (`train_examples`) matters only if a checkpoint is read.
    """
    one_device = first_devices(None)[:1]
    program = make_program(config, num_classes, train_examples or config.batch_size, one_device)
    hyper = make_hyperparameters(config, statistics, program.steps_per_epoch)
    return program, place_on_devices(hyper, program.replicated)


def _abstract_state(program: Program, hyper: Hyperparameters) -> TrainState:
    """Return the shapes, dtypes and device placement of a program's training state."""
    images = jax.ShapeDtypeStruct((1, *image_shape(program.image_size)), np.uint8)
    state = program.init.eval_shape(program, hyper, images)

    def with_placement(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=program.replicated)

    return jax.tree.map(with_placement, state)


def _require_same_code(path: Path, config: Config, code_copies: Path | None = None) -> None:
    """Check that user code has not changed since a network was trained with it.

    Args:
      path: path of the run, or of the file of weights.
      config: the run's config, with the names and digests of its user code.
      code_copies: the run's folder of copies of its user code; None for a file of weights.

    Raises:
      UsageError: a file of the user code has changed, or is missing.
    """
    for kind, digest in config.sources or ():
        name = getattr(config, kind)
        remedy = _remedy_for_changed_code(code_copies, kind)
        try:
            is_same = user_reference.digest(kind, name) == digest
        except UsageError as error:
            raise UsageError(f"{path}: {error}; {remedy}") from error
        if not is_same and name.startswith("__main__:"):
            raise UsageError(
                f"{path}: {name} was defined in the script that trained the network; load it in "
                "that script, or move the network to a separate file and train it again"
            )
        if not is_same:
            raise UsageError(f"{path}: {name} has been edited since training; {remedy}")
    _require_same_imports(path, config, code_copies)


def _remedy_for_changed_code(code_copies: Path | None, kind: str) -> str:
    """Return advice for an error message about missing or changed user code.

    `code_copies` is the run's folder of copies of user code, or None. `kind` is the kind of user
    code, such as "arch" for a network.
    """
    if code_copies is None:
        return "get that file from the person who trained the network, or train again"
    return (
        f"the run was trained with the copy in {code_copies / kind}; restore that file if you "
        "trust it, or train again"
    )


def _require_same_imports(path: Path, config: Config, code_copies: Path | None) -> None:
    """Check that the files that user code imports have not changed since training.

    Args:
      path: path of the run, or of the file of weights.
      config: the run's config; it has no imports if an older version wrote it.
      code_copies: the run's folder of copies of its user code; None for a file of weights.

    Raises:
      UsageError: an imported file has changed, or is missing.
    """
    if not config.imports:
        return
    # The run's config is both arguments: the config to update, and the list of files to read.
    current_config = user_code.with_imports_on_disk(config, config)
    earlier_imports, current_imports = set(config.imports), set(current_config.imports or ())
    changed_imports = earlier_imports.symmetric_difference(current_imports)
    if changed_imports:
        kind_and_file, _ = min(changed_imports)
        kind, _, file = kind_and_file.partition(": ")
        importer = getattr(config, kind)
        raise UsageError(
            f"{path}: {file}, which {importer} imports, is missing or has been edited since "
            f"training; {_remedy_for_changed_code(code_copies, kind)}"
        )
