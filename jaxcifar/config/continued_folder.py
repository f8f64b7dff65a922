"""The folder of the run that `--continue` names, and the folder of its last checkpoint."""

from pathlib import Path

from jaxcifar.config.folds import run_folder_name
from jaxcifar.config.option_names import reject
from jaxcifar.errors import UsageError
from jaxcifar.machine.name_lists import join_names
from jaxcifar.machine.reading import Remedy, report_errors

CHOOSE_ANOTHER_RUN = Remedy("choose another run to continue", UsageError)


def continued_folder(continue_from: str, seed: int, fold: str = "") -> Path:
    """Return the folder of the run to continue.

    Args:
      continue_from: folder of the run, or of a row of a study. The folder of a row holds the
        folders of its runs, which differ only in seed and fold.
      seed: seed of the run; finds the run in the folder of a row.
      fold: fold of the run, such as "1/5"; "" for a run without folds.
    """
    path = Path(continue_from)
    run_of_row = path / run_folder_name(seed, fold)
    is_row = not (path / "config.json").exists() and run_of_row.is_dir()
    return run_of_row if is_row else path


def finished_run_folder(continue_from: str, seed: int, fold: str = "") -> Path:
    """Return the folder of the run to continue, and check that this run is finished.

    Args:
      continue_from: folder of the run, or of a row of a study. The folder of a row holds the
        folders of its runs, which differ only in seed and fold.
      seed: seed of the run; finds the run in the folder of a row.
      fold: fold of the run, such as "1/5"; "" for a run without folds.

    Raises:
      UsageError: there is no run, or the run is not finished.
    """
    try:
        folder = continued_folder(continue_from, seed, fold)
        is_run = (folder / "config.json").exists()
        is_finished = (folder / "result.json").exists()
        other_runs_of_row = [] if is_run else _run_names_in_row(folder)
    except OSError as error:  # a name that is too long, or a folder that can't be read
        rule = f"can't be read ({error.strerror}); give the folder of a finished run"
        reject("continue_from", continue_from, rule)
    if other_runs_of_row:
        run_name, other_runs = run_folder_name(seed, fold), join_names(other_runs_of_row)
        rule = f"has no run {run_name}, only {other_runs}; name a run"
        reject("continue_from", continue_from, rule)
    if not is_run:
        reject("continue_from", continue_from, "there is no run here; give a finished run's folder")
    if not is_finished:
        rule = "is not a finished run; repeat its own command to finish it"
        reject("continue_from", continue_from, rule)
    return folder


def _run_names_in_row(row: Path) -> list[str]:
    """Return the names of the runs' folders in the folder `row` of a study; [] if it is missing."""
    if not row.is_dir():
        return []
    return sorted(path.name for path in row.iterdir() if (path / "config.json").exists())


def last_checkpoint_folder(folder: Path, continue_from: str) -> Path:
    """Return the folder of a run's last checkpoint.

    Args:
      folder: the folder of the run.
      continue_from: the value of `--continue` that names this run, for the message.

    Raises:
      UsageError: the run has no checkpoints, or they can't be read.
    """
    checkpoints = folder / "checkpoints"
    with report_errors(checkpoints, CHOOSE_ANOTHER_RUN):
        entries = checkpoints.iterdir() if checkpoints.is_dir() else ()
        entry_names = [path.name for path in entries]
    steps = [int(name) for name in entry_names if name.isascii() and name.isdecimal()]
    if not steps:
        reason = "has no checkpoints (they were deleted, as by --keep best)"
        reject("continue_from", continue_from, f"{reason}; start from its weights with --init")
    return checkpoints / str(max(steps))
