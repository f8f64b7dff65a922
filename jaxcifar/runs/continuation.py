"""Begin a run where another run ended (`--continue`).

The new run's folder gets copies of two checkpoints of the earlier run: of its last and its best
epoch. So the new run does not need the earlier run's folder any more once it has begun.
"""

from typing import NamedTuple

from jaxcifar.build.setup import Setup
from jaxcifar.config.continued_folder import continued_folder, find_continued_run
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.errors import RunError
from jaxcifar.machine.reading import Remedy
from jaxcifar.runs.checkpoint import Checkpoint, Checkpoints
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.runs.folder import RunFolder
from jaxcifar.training.state import TrainState

_USE_WEIGHTS_ADVICE = "start from the run's weights with --init"
_CHOOSE_ANOTHER_RUN = Remedy("choose another run to continue")


class ContinuedState(NamedTuple):
    """The checkpoints of an earlier run, from which a new run (`--continue`) goes on.

    Attributes:
      last_checkpoint: checkpoint of the last epoch.
      best_checkpoint: checkpoint of the epoch with the best validation accuracy; None if the last
        epoch is the best.
    """

    last_checkpoint: Checkpoint
    best_checkpoint: Checkpoint | None

    def replace_checkpoints(self, checkpoints: Checkpoints) -> None:
        """Delete `checkpoints` of the new run, and write those of the earlier run in their place.

        Raises:
          RunError: a file can't be written.
        """
        checkpoints.delete_all()  # an earlier command may have been killed while it wrote them
        last, best = self.last_checkpoint, self.best_checkpoint
        last_step = int(last.state.step)
        best_step = last_step if best is None else int(best.state.step)
        if best is not None:
            checkpoints.save(best_step, best.state, best.notes, keep_steps={best_step})
        checkpoints.save(last_step, last.state, last.notes, keep_steps={best_step})
        checkpoints.wait()


def load_continued_state(config: Config, setup: Setup, state_like: TrainState) -> ContinuedState:
    """Load and check the checkpoints of the run that a config continues.

    Args:
      config: config of the new run, with the SHA-256 of its images and of all user code.
      setup: program and images of the new run.
      state_like: a training state with the expected shapes and device placement.

    Raises:
      UsageError: the run was trained on other images or with other code.
      RunError: a file of the run is missing or damaged, or has changed since the new run began.
    """
    path = continued_folder(config.continue_from, config.seed, config.fold)
    folder = RunFolder(path)
    earlier_config = folder.read_config(_CHOOSE_ANOTHER_RUN)
    _require_same_code_and_images(earlier_config, config)
    steps_per_epoch = setup.program.steps_per_epoch
    last_step = config.earlier_epochs * steps_per_epoch
    with Checkpoints(
        folder.checkpoints, earlier_config, steps_per_epoch, read_only=True
    ) as checkpoints:
        last_checkpoint = checkpoints.load(last_step, state_like, _USE_WEIGHTS_ADVICE)
        best_step = best_epoch(last_checkpoint.notes.history) * steps_per_epoch
        best_checkpoint = None
        if best_step != last_step:
            best_checkpoint = checkpoints.load(best_step, state_like, _USE_WEIGHTS_ADVICE)
    # Since the new run began, another command may have trained the earlier run anew.
    run_on_disk = find_continued_run({"continue_from": str(path)}, Config)
    has_changed_on_disk = run_on_disk is None or run_on_disk.sha256 != config.continue_sha256
    if has_changed_on_disk:
        raise RunError(
            f"{path}: the last checkpoint of this run has changed since another run began to "
            "continue it; start that run again with --overwrite (in a study: --force ROW)"
        )
    return ContinuedState(last_checkpoint, best_checkpoint)


def _require_same_code_and_images(earlier_config: Config, config: Config) -> None:
    """Check that a new run has the images and the imported user code of the run it continues.

    Args:
      earlier_config: config of the run to continue.
      config: config of the new run, with the SHA-256 of its images and of all user code.

    Raises:
      UsageError: the images differ, or the network or the update rule imports other files.
    """
    if earlier_config.data_sha256 != config.data_sha256:
        reason = "has other images than the run to continue; give the images of that run"
        reject("dataset", config.dataset, reason)
    for code_kind in ("arch", "optimizer"):
        if _import_digests(earlier_config, code_kind) != _import_digests(config, code_kind):
            reason = "imports other code than the run to continue was trained with"
            reject(code_kind, getattr(config, code_kind), f"{reason}; {_USE_WEIGHTS_ADVICE}")


def _import_digests(config: Config, code_kind: str) -> dict[str, str]:
    """Return the SHA-256 of each file that the user code of a kind imports.

    `code_kind` is "arch" (the network) or "optimizer" (the update rule). A key of the dict has the
    kind and the path of the file, such as "arch: blocks.py".
    """
    prefix = f"{code_kind}: "
    return {file: digest for file, digest in config.imports or () if file.startswith(prefix)}
