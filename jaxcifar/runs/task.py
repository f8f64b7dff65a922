"""The description of a run, and checks of its folder. This module imports no JAX."""

import dataclasses
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from jaxcifar.config.continued_folder import continued_folder
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.config.weights_file import WEIGHTS, init_file
from jaxcifar.errors import UsageError
from jaxcifar.machine.command_line import shell_command
from jaxcifar.machine.paths import is_same_path
from jaxcifar.machine.terminal import PrintLine
from jaxcifar.runs.observers import NamedObserver, ObservedRun

if TYPE_CHECKING:  # they would import NumPy and JAX, which takes a moment
    from jaxcifar.build.user_metrics import UserMetric
    from jaxcifar.runs.file_formats import Result, Row

PYTORCH_SUFFIXES = (".pth", ".pt")
_WEIGHTS_SUFFIX = Path(WEIGHTS).suffix
_RUN_FILES = ("config.json", "result.json", WEIGHTS)


@dataclasses.dataclass(frozen=True)
class Task:
    """A run that is to be trained.

    Attributes:
      config: settings of the run.
      path: folder of the run.
      name: name of the run in lines on the screen; "" if there is only one run.
      overwrite: True to delete an earlier run in the folder.
      keep_best: True to delete the checkpoints of the finished run, and keep only its weights.
      keep_every: 10 also keeps the checkpoints of epochs 10, 20 and so on; None keeps none extra.
      is_study_forced: True if the study's command has `--force`, perhaps for other rows only.
      observers: observers of the run, besides the one that prints a line per epoch.
      scratch_path: folder to which this process writes, not to `path`; None in the first process.
      user_metrics: metrics that the user defined, measured in addition to the built-in metrics.
    """

    config: Config
    path: Path
    name: str = ""
    overwrite: bool = False
    keep_best: bool = False
    observers: tuple[NamedObserver, ...] = dataclasses.field(default=(), compare=False)
    scratch_path: Path | None = None
    user_metrics: "tuple[UserMetric, ...]" = ()
    keep_every: int | None = None
    is_study_forced: bool = False

    def __post_init__(self) -> None:
        """Check the fields.

        Raises:
          UsageError: `keep_every` is not a number of epochs, or is combined with `keep_best`; or
            the run would be written into the folder of the run that it continues or starts from.
        """
        if self.keep_every is not None:
            if type(self.keep_every) is not int or self.keep_every < 1:
                reject("keep_every", self.keep_every, "must be a whole number, at least 1")
            if self.keep_best:
                reject("keep_every", self.keep_every, "has no effect with --keep best; remove it")
        config = self.config
        if config.init and is_same_path(str(init_file(config.init).parent), str(self.path)):
            raise UsageError(
                f"{self.path}: --init takes its weights from this folder, so a new run can't be "
                "written there; choose another --run-dir"
            )
        if not config.continue_from:
            return
        continued_path = continued_folder(config.continue_from, config.seed, config.fold)
        if is_same_path(str(continued_path), str(self.path)):
            raise UsageError(f"{self.path}: is the run to continue; choose another --run-dir")

    @property
    def resuming_command(self) -> str:
        """Words for the command that resumes this run after a stop, such as "the same command"."""
        option = "--force" if self.name else "--overwrite"
        return resuming_command(option, self.overwrite or self.is_study_forced)

    @property
    def deletion_note(self) -> str:
        """A line that says that an earlier run was deleted, and how to resume the new run."""
        return f"deleted the earlier run; {self.resuming_command} resumes this one."

    def named_line_printer(self, print_line: PrintLine) -> PrintLine:
        """Return a function that prints a line with the run's name before it, if it has a name."""
        if not self.name:
            return print_line
        return lambda line: print_line(f"{self.name}: {line}")

    def describe(
        self, config: Config, dataset: str, history: "Sequence[Row]", already_over: bool = False
    ) -> ObservedRun:
        """Return the run's description for its observers.

        Args:
          config: settings of the run, as stored in its folder.
          dataset: title of the data set.
          history: rows of `metrics.jsonl`, one per finished epoch.
          already_over: True if the run ended before this command.
        """
        return ObservedRun(self.name, self.path, config, dataset, tuple(history), already_over)


def resuming_command(option: str, is_given: bool) -> str:
    """Return the words for the command that goes on with runs, for a message.

    Args:
      option: the option that starts runs anew, "--overwrite" or "--force".
      is_given: True if this command has the option. Then the same command would delete the runs.
    """
    return f"the same command without {option}" if is_given else "the same command"


def stopped_message(
    tasks: Sequence[Task], waiting_tasks: Sequence[Task] = (), has_trained: bool = True
) -> str:
    """Return the message after the user has stopped runs: their folder, and how to resume them.

    Args:
      tasks: the stopped runs, at least one.
      waiting_tasks: runs of the same study that have not begun.
      has_trained: True if one of `tasks` has been trained for a step.
    """
    # In a study with `--force`, other rows may be trained already.
    would_same_command_delete_rows = any(task.is_study_forced for task in tasks)
    if not has_trained and not would_same_command_delete_rows:
        return "stopped before the first step; run the same command to start again"
    folder = os.path.commonpath([task.path for task in tasks])
    saved = f"stopped; everything is saved in {folder}"
    paths_to_force = _paths_to_force(waiting_tasks)
    if paths_to_force:
        return (
            f"{saved}: {forcing_command(paths_to_force)}, goes on (--force trains a row from its "
            "start)"
        )
    # The command of a task that overwrites is the more careful one.
    task_to_resume = next((task for task in tasks if task.overwrite), tasks[0])
    return f"{saved}: {task_to_resume.resuming_command} resumes it"


def _paths_to_force(waiting_tasks: Sequence[Task]) -> list[Path]:
    """Return the folders of runs of `--force` that have earlier runs, not deleted yet."""
    return [
        task.path
        for task in waiting_tasks
        if task.overwrite and (task.path / "config.json").exists()
    ]


def forcing_command(run_paths: Iterable[Path]) -> str:
    """Return the words "the same command, but with --force ROW ROW only", for a message.

    `run_paths` has at least one folder of a run, which is ROW/seedN in the study's folder.
    """
    rows = dict.fromkeys(path.parent.name for path in run_paths)
    return f"the same command, but with --force {' '.join(rows)} only"


class Outcome(NamedTuple):
    """The outcome of training a run: the content of its `result.json`, or an error."""

    task: Task
    result: "Result | None" = None
    error: Exception | None = None


def advice_to_give_run(path: Path) -> str:
    """Return advice, for an error message, about a folder that is not a run itself.

    The advice names a run one or two levels below the folder, if there is one.
    """
    config_files = _config_files_below(path)
    if not config_files:
        return "give the folder of a run"
    return f"{min(config_files).parent} is one"


def _config_files_below(path: Path) -> list[Path]:
    """Return the config files of runs that are one or two levels below a folder."""
    return [*path.glob("*/config.json"), *path.glob("*/*/config.json")]


def require_trained(path: Path) -> None:
    """Check by file names that a path is a finished run or a file of weights.

    Raises:
      UsageError: the path is something else.
    """
    if not path.is_dir():
        _require_weights(Path(os.path.realpath(path)))
    elif not (path / "result.json").exists() and not has_untested_weights(path):
        if (path / "config.json").exists():
            raise UsageError(
                f"{path}: is not a finished run; repeat its command, without --overwrite or "
                "--force, to finish it"
            )
        raise UsageError(f"{path}: there is no run here; {advice_to_give_run(path)}")


def looks_like_run(path: Path) -> bool:
    """Return True if a path looks like a run, a folder that contains runs, or a file of weights.

    The run may be unfinished, and the weights may be a PyTorch file.
    """
    if not path.is_dir():
        return path.suffix == _WEIGHTS_SUFFIX or path.suffix in PYTORCH_SUFFIXES
    has_run_files = any((path / name).exists() for name in _RUN_FILES)
    return has_run_files or len(_config_files_below(path)) > 0


def has_untested_weights(path: Path) -> bool:
    """Return True if a folder has weights that were converted from a file and never tested.

    Such a folder has no `result.json` and no `metrics.jsonl`.
    """
    has_result = (path / "result.json").exists()
    has_epochs = (path / "metrics.jsonl").exists()
    return (path / WEIGHTS).exists() and not has_result and not has_epochs


def _require_weights(path: Path) -> None:
    if not path.exists():
        raise UsageError(f"{path}: does not exist; give a finished run, or a file of weights")
    if path.suffix != _WEIGHTS_SUFFIX:
        advice = "give a finished run, or its file of weights"
        if path.suffix in PYTORCH_SUFFIXES:
            advice = f"convert it first with {shell_command('convert')}"
        raise UsageError(
            f"{path}: is neither a run nor a file of weights ({_WEIGHTS_SUFFIX}); {advice}"
        )
