"""Begin a run where another run ended (`--continue`).

The new run's folder gets copies of that run's last checkpoint and of that of its best epoch. So it
does not need the other folder any more once it has begun.
"""

from typing import NamedTuple

from jaxcifar.build.setup import Setup
from jaxcifar.config.continued_run import continued_folder, find_continued_run
from jaxcifar.config.experiment import Config
from jaxcifar.config.option_names import reject
from jaxcifar.errors import RunError
from jaxcifar.machine.reading import Remedy
from jaxcifar.runs.checkpoint import Checkpoint, Checkpoints
from jaxcifar.runs.epoch_selection import best_epoch
from jaxcifar.runs.folder import RunFolder
from jaxcifar.training.state import TrainState

_USE_WEIGHTS = "start from the run's weights with --init"
_CHOOSE_ANOTHER = Remedy("choose another run to continue")


class ContinuedState(NamedTuple):
    """The state in which the continued run ended.

    Attributes:
      last: checkpoint of the last epoch.
      best: checkpoint of the epoch with the best validation accuracy; None if it is the last epoch.
    """

    last: Checkpoint
    best: Checkpoint | None

    def copy_to(self, checkpoints: Checkpoints) -> None:
        """Write both checkpoints, as the only ones of the new run.

        Raises:
          RunError: a file can't be written.
        """
        checkpoints.delete_all()  # an earlier command may have been killed while it wrote them
        best_step = int((self.best or self.last).state.step)
        for checkpoint in (self.best, self.last):
            if checkpoint is not None:
                step, (state, notes) = int(checkpoint.state.step), checkpoint
                checkpoints.save(step, state, notes, keep={best_step})
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
    path = continued_folder(config.continue_from, config.seed)
    folder = RunFolder(path)
    earlier = folder.read_config(_CHOOSE_ANOTHER)
    _require_same_code_and_images(earlier, config)
    steps_per_epoch = setup.program.steps_per_epoch
    last_step = (config.continue_epochs or 0) * steps_per_epoch
    with Checkpoints(folder.checkpoints, earlier, steps_per_epoch, read_only=True) as checkpoints:
        last = checkpoints.load(last_step, state_like, _USE_WEIGHTS)
        best_step = best_epoch(last.notes.history) * steps_per_epoch
        best = None
        if best_step != last_step:
            best = checkpoints.load(best_step, state_like, _USE_WEIGHTS)
    found = find_continued_run({"continue_from": str(path)}, Config)
    if found is None or found.sha256 != config.continue_sha256:
        raise RunError(
            f"{path}: its last checkpoint has changed since it was to be continued; begin again "
            "with --overwrite (in a study: --force ROW)"
        )
    return ContinuedState(last, best)


def _require_same_code_and_images(earlier: Config, config: Config) -> None:
    """Check what was not known before the images and all user code were loaded.

    Raises:
      UsageError: images, or an import of the network or of the update rule, are not the same.
    """
    if earlier.data_sha256 != config.data_sha256:
        reason = "has other images than the run to continue; give the images it was trained on"
        reject("dataset", config.dataset, reason)
    for kind in ("arch", "optimizer"):
        before, now = (
            {key: digest for key, digest in one.imports or () if key.partition(": ")[0] == kind}
            for one in (earlier, config)
        )
        if before != now:
            reason = "imports other code than the run to continue was trained with"
            reject(kind, getattr(config, kind), f"{reason}; {_USE_WEIGHTS}")
