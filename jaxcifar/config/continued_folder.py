"""The folder of the run that `--continue` names: find and read it.

Only small files of the folder are read here: the config, the result and the metadata of the last
checkpoint. `runs.continuation` loads the training state.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, TypedDict

from msgspec import Meta

from jaxcifar.config.code_in_run import require_no_user_code_in_run_folder
from jaxcifar.config.continued_run import ContinuedRun
from jaxcifar.config.fields import Fields
from jaxcifar.config.folds import run_folder_name
from jaxcifar.config.option_names import reject
from jaxcifar.config.saved_config import read_config
from jaxcifar.errors import UsageError
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.reading import MEGABYTE, Count, Remedy, read_json, report_errors

_CHOOSE_ANOTHER_RUN = Remedy("choose another run to continue", UsageError)
_MAX_METADATA_BYTES = 16 * MEGABYTE


class _LastEpoch(TypedDict):
    epoch: Count


class _Result(TypedDict):
    """The part of a `result.json` that is read here."""

    last_epoch: _LastEpoch


class _Metadata(TypedDict):
    """The part of a checkpoint's metadata that is read here."""

    history: list[dict[str, Any]]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


def continued_folder(continue_from: str, seed: int, fold: str = "") -> Path:
    """Return the folder of the run to continue.

    Args:
      continue_from: folder of the run; or folder of several runs that differ only in seed and fold,
        such as a study makes for each row of its table.
      seed: seed of the run to find among several runs.
      fold: fold of cross-validation of the run, such as "1/5"; "" for a run without folds.
    """
    path = Path(continue_from)
    wanted_run = path / run_folder_name(seed, fold)
    is_run = (path / "config.json").exists()
    is_folder_of_runs = not is_run and wanted_run.is_dir()
    return wanted_run if is_folder_of_runs else path


def _finished_run_folder(continue_from: str, seed: int, fold: str = "") -> Path:
    """Check that the run to continue is finished, and return its folder.

    The arguments are those of `continued_folder`.

    Raises:
      UsageError: there is no run, or the run is not finished.
    """
    try:
        folder = continued_folder(continue_from, seed, fold)
        is_run = (folder / "config.json").exists()
        is_finished = (folder / "result.json").exists()
        runs_inside = [] if is_run else _names_of_runs_inside(folder)
    except OSError as error:  # a name that is too long, or a folder that can't be read
        rule = f"can't be read ({error.strerror}); give the folder of a finished run"
        reject("continue_from", continue_from, rule)
    if runs_inside:
        wanted_run = run_folder_name(seed, fold)
        rule = f"has no run {wanted_run}, only {join_names(runs_inside)}; name a run"
        reject("continue_from", continue_from, rule)
    if not is_run:
        reject("continue_from", continue_from, "there is no run here; give a finished run's folder")
    if not is_finished:
        rule = "is not a finished run; repeat its own command to finish it"
        reject("continue_from", continue_from, rule)
    return folder


def _names_of_runs_inside(folder: Path) -> list[str]:
    """Return the names of the runs' folders inside a folder; [] if there is no such folder."""
    if not folder.is_dir():
        return []
    return sorted(path.name for path in folder.iterdir() if (path / "config.json").exists())


def _last_checkpoint_folder(folder: Path, continue_from: str) -> Path:
    """Return the folder of a run's last checkpoint.

    Args:
      folder: the folder of the run.
      continue_from: the value of `--continue` that names this run, for the message.

    Raises:
      UsageError: the run has no checkpoints, or they can't be read.
    """
    checkpoints = folder / "checkpoints"
    with report_errors(checkpoints, _CHOOSE_ANOTHER_RUN):
        paths_inside = checkpoints.iterdir() if checkpoints.is_dir() else ()
        names_inside = [path.name for path in paths_inside]
    # The folder of a checkpoint is named after its step.
    steps = [int(name) for name in names_inside if name.isascii() and name.isdecimal()]
    if not steps:
        reason = "has no checkpoints (they were deleted, as by --keep best)"
        reject("continue_from", continue_from, f"{reason}; start from its weights with --init")
    return checkpoints / str(max(steps))


def find_continued_run(
    user_settings: Mapping[str, Any], config_class: Any, earlier_config: Fields | None = None
) -> ContinuedRun | None:
    """Find the run that the setting `continue_from` names; None if the setting is not given.

    Args:
      user_settings: the settings that the user gives. `continue_from` is the folder of the run, or
        of several runs of a study; then `seed` and `fold` name the run (see `continued_folder`).
      config_class: the class `Config`.
      earlier_config: config of the new run if an earlier command has begun it, else None.

    Raises:
      UsageError: there is no finished run with its last checkpoint, a file is damaged, or the
        run's config names user code in the run's folder.
    """
    continue_from = user_settings.get("continue_from")
    if not continue_from:
        return None
    try:
        return _read_continued_run(user_settings, config_class)
    except UsageError:
        # The new run has its own copy of the training state, so it can go on if the folder is gone.
        run_known_without_folder = _continued_run_recorded_in(earlier_config, continue_from)
        if run_known_without_folder is None:
            raise
        return run_known_without_folder


def _continued_run_recorded_in(
    earlier_config: Fields | None, continue_from: str
) -> ContinuedRun | None:
    """Return what the config of a new run records about the run that it continues.

    Args:
      earlier_config: config of the new run; None if no earlier command has begun it.
      continue_from: folder of the run to continue.

    Returns:
      the run to continue; None if there is no `earlier_config` or it names another run.

    Raises:
      UsageError: the config names user code in the folder of the run to continue.
    """
    if earlier_config is None or earlier_config.continue_from != continue_from:
        return None
    epochs = earlier_config.continue_epochs
    sha256 = earlier_config.continue_sha256
    if epochs is None or sha256 is None:
        return None
    require_no_user_code_in_run_folder(Path(continue_from), earlier_config)
    return ContinuedRun(Path(continue_from), earlier_config, epochs, sha256)


def _read_continued_run(user_settings: Mapping[str, Any], config_class: Any) -> ContinuedRun:
    """Read the run that the setting `continue_from` names; see `find_continued_run`."""
    continue_from = user_settings["continue_from"]
    seed = user_settings.get("seed", 0)
    fold = user_settings.get("fold", "")
    folder = _finished_run_folder(continue_from, seed, fold)
    config = read_config(folder / "config.json", config_class, _CHOOSE_ANOTHER_RUN)
    require_no_user_code_in_run_folder(folder, config)
    metadata_file = _last_checkpoint_folder(folder, continue_from) / "notes" / "metadata"
    result = read_json(folder / "result.json", _Result, _CHOOSE_ANOTHER_RUN)
    metadata = read_json(metadata_file, _Metadata, _CHOOSE_ANOTHER_RUN, _MAX_METADATA_BYTES)
    trained_epochs = result["last_epoch"]["epoch"]
    epochs_at_checkpoint = len(metadata["history"])  # the history has an entry for each epoch
    if epochs_at_checkpoint != trained_epochs:
        reject("continue_from", continue_from, "its last checkpoint is missing; use --init instead")
    return ContinuedRun(folder, config, trained_epochs, metadata["sha256"])
