"""The run that `--continue` names: its settings and epochs, and the changes that are allowed.

Only small files of its folder are read here: the config, the result and the metadata of the last
checkpoint. `runs.continuation` loads the training state.
"""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, NamedTuple, TypedDict

from msgspec import Meta

from jaxcifar.config import registry
from jaxcifar.config.code_in_run import require_code_outside
from jaxcifar.config.continued_folder import (
    CHOOSE_ANOTHER_RUN,
    finished_run_folder,
    last_checkpoint_folder,
)
from jaxcifar.config.fields import DEFAULTS, Fields
from jaxcifar.config.option_names import option_name, reject
from jaxcifar.config.saved_config import settings_from_file
from jaxcifar.config.settings import (
    DEFAULT_ARCH,
    DERIVED_FIELDS,
    default_settings,
    option_text,
)
from jaxcifar.errors import UsageError
from jaxcifar.machine.reading import MEGABYTE, Count, read_json, report_errors

_MAX_CONFIG_BYTES = MEGABYTE
_MAX_METADATA_BYTES = 16 * MEGABYTE
_CONSTANT_SCHEDULE = "none"  # the schedule with a constant learning rate
_SCHEDULES_ENDING_AT_ZERO = ("cosine", "linear")
# Settings that describe only the finished epochs. A run that continues has their defaults instead.
_PLAN_FIELDS = ("warmup", "step_size", "gamma", "small_size", "small_part", "init", "continue_from")
DEFAULTS_WHEN_CONTINUING = {
    **{name: DEFAULTS[name] for name in _PLAN_FIELDS},
    "schedule": _CONSTANT_SCHEDULE,
}
# Settings that a run that continues can't change: the training state and images depend on them.
FIXED_SETTINGS = (
    *("arch", "arch_args", "recipe", "dataset", "image_size", "train_examples"),
    *("val_fraction", "fold", "normalize"),
    *("batch_size", "optimizer", "seed"),
)


class _LastEpoch(TypedDict):
    epoch: Count


class _Result(TypedDict):
    """The part of a `result.json` that is read here."""

    last_epoch: _LastEpoch


class _Metadata(TypedDict):
    """The part of a checkpoint's metadata that is read here."""

    history: list[dict[str, Any]]
    sha256: Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class ContinuedRun(NamedTuple):
    """A finished run that another run continues.

    Attributes:
      folder: folder of the run.
      config: the run's config.
      epochs: number of epochs that it has trained.
      sha256: SHA-256 over its last checkpoint: training state, config and metrics of all epochs.
    """

    folder: Path
    config: Fields
    epochs: int
    sha256: str

    def starting_settings(self) -> dict[str, Any]:
        """Return the settings of a run that continues this run, before any changes by the user.

        In these settings the learning rate is constant.
        """
        return {**self.inherited_settings(), **DEFAULTS_WHEN_CONTINUING}

    def inherited_settings(self) -> dict[str, Any]:
        """Return the settings that a run which continues this run starts with.

        These are this run's settings. Left out are fields that are computed, and the learning rate
        schedule and its length, which the new run chooses.
        """
        names_left_out = {*DERIVED_FIELDS, *DEFAULTS_WHEN_CONTINUING}
        names = [field.name for field in dataclasses.fields(self.config)]
        return {name: getattr(self.config, name) for name in names if name not in names_left_out}

    def require_training_plan(self, user_settings: Mapping[str, Any], epochs: int) -> None:
        """Check that a run that continues this run has epochs to train, and a learning rate.

        Args:
          user_settings: the settings that the user gives for the new run.
          epochs: number of epochs of both runs together.

        Raises:
          UsageError: this run has `epochs` epochs already, `--init` would replace its weights, or
            its learning rate was not constant and the user gives no schedule and no learning rate.
        """
        if epochs <= self.epochs:
            problem = f"has {self.epochs} epochs already"
            if "epochs" in user_settings:
                advice = "give the number of epochs in all, a higher one"
                reject("epochs", epochs, f"{self.folder} {problem}; {advice}")
            advice = "give --epochs, the number of epochs in all"
            reject("continue_from", self.folder, f"{problem}; {advice}")
        if user_settings.get("init"):
            rule = "can't be used with --continue; leave one of them out"
            reject("init", user_settings["init"], rule)
        schedule = self.config.schedule
        user_sets_learning_rate = "schedule" in user_settings or "learning_rate" in user_settings
        if schedule == _CONSTANT_SCHEDULE or user_sets_learning_rate:
            return
        if self.epochs < self.config.epochs:
            schedule_end = (
                f"is for {self.config.epochs} epochs, but the run ended after {self.epochs}"
            )
        elif schedule in _SCHEDULES_ENDING_AT_ZERO:
            schedule_end = "ended at a learning rate of 0, where nothing more is learnt"
        else:
            schedule_end = "ended"
        advice = "give the remaining epochs a --schedule, or a --learning-rate that stays constant"
        reject("continue_from", self.folder, f"its schedule {schedule} {schedule_end}; {advice}")

    def require_same_training(self, config: Fields) -> None:
        """Check that a run that continues this one has its network, optimizer, images and seed.

        Imports of user code and images of the user are compared when they are loaded.

        Raises:
          UsageError: a setting differs; the message names the option.
        """
        for name in FIXED_SETTINGS:
            own_value, new_value = getattr(self.config, name), getattr(config, name)
            if not _values_may_be_equal(name, own_value, new_value):
                self._reject_change(name, new_value, f"has {_setting_text(name, own_value)}")
        new_sources = dict(config.sources or ())
        for kind, digest in self.config.sources or ():
            if kind in FIXED_SETTINGS and new_sources.get(kind) != digest:
                self._reject_change(kind, getattr(config, kind), "was trained with other code")
        has_average, needs_average = bool(self.config.average), bool(config.average)
        if has_average != needs_average:
            reason = f"has an average of {self.config.average:g}"
            self._reject_change("average", config.average, reason)

    def _reject_change(self, name: str, value: Any, reason: str) -> None:
        advice = "leave this setting as it was, or start from the run's weights with --init"
        message = f"the run to continue, {self.folder}, {reason}; {advice}"
        if isinstance(value, bool):  # its text is the whole option
            raise UsageError(f"{_setting_text(name, value)}: {message}")
        reject(name, _setting_text(name, value), message)


def _values_may_be_equal(name: str, own_value: Any, new_value: Any) -> bool:
    """Return whether two values of the setting `name` are equal, or may stand for equal files.

    Two different paths may lead to equal images. Two files of user code may define the same class
    if the class has the same name in both. The contents of the files are compared later.
    """
    if own_value == new_value:
        return True
    if name not in registry.KINDS or not isinstance(new_value, str):
        return False
    if name == "dataset":
        catalog_names = registry.KINDS[name].keys()
        return own_value not in catalog_names and new_value not in catalog_names
    if registry.is_user_code(own_value) and registry.is_user_code(new_value):
        return own_value.rpartition(":")[2] == new_value.rpartition(":")[2]
    return False


def _setting_text(name: str, value: Any) -> str:
    """Return the value of the setting `name` as text, such as "128" or "widths=4, hidden=8".

    For a setting that is True or False, return its option, such as "--no-normalize".
    """
    if isinstance(value, bool):
        return f"--{option_name(name)}" if value else f"--no-{option_name(name)}"
    if value == "":
        return "none"
    if isinstance(value, tuple):
        return (
            ", ".join(
                f"{argument_name}={option_text(argument)}" for argument_name, argument in value
            )
            or "none"
        )
    return "all" if value is None else option_text(value)


def base_settings(
    user_settings: Mapping[str, Any], continued_run: ContinuedRun | None
) -> dict[str, Any]:
    """Return the settings that a run starts from before the user's changes.

    These are the settings of the run that is continued or, without such a run, of a recipe.

    Args:
      user_settings: the settings that the user gives.
      continued_run: the run that is continued; None for a run from the beginning.
    """
    if continued_run is not None:
        return continued_run.starting_settings()
    arch = user_settings.get("arch", DEFAULT_ARCH)
    return {"arch": arch, **default_settings(arch, user_settings.get("recipe"))}


def find_continued_run(user_settings: Mapping[str, Any], config_class: type) -> ContinuedRun | None:
    """Find the run that the setting `continue_from` names; None if the setting is not given.

    Args:
      user_settings: the settings that the user gives. `continue_from` is the folder of the run, or
        of a study's row, which has a run for each seed and fold.
      config_class: the class `Config`.

    Raises:
      UsageError: the folder has no finished run with its last checkpoint, or a file can't be used.
    """
    continue_from = user_settings.get("continue_from")
    if not continue_from:
        return None
    folder = finished_run_folder(
        continue_from, user_settings.get("seed", 0), user_settings.get("fold", "")
    )
    config_file, result_file = folder / "config.json", folder / "result.json"
    content = read_json(config_file, dict[str, Any], CHOOSE_ANOTHER_RUN, _MAX_CONFIG_BYTES)
    with report_errors(config_file, CHOOSE_ANOTHER_RUN):
        try:
            earlier_config = config_class(**settings_from_file(content, config_class))
        except (TypeError, UsageError) as error:
            raise ValueError(f"is not a config of this version: {error}") from error
    require_code_outside(folder, earlier_config)
    metadata_file = last_checkpoint_folder(folder, continue_from) / "notes" / "metadata"
    result = read_json(result_file, _Result, CHOOSE_ANOTHER_RUN)
    metadata = read_json(metadata_file, _Metadata, CHOOSE_ANOTHER_RUN, _MAX_METADATA_BYTES)
    epochs = result["last_epoch"]["epoch"]
    if len(metadata["history"]) != epochs:
        reject("continue_from", continue_from, "its last checkpoint is missing; use --init instead")
    return ContinuedRun(folder, earlier_config, epochs, metadata["sha256"])
