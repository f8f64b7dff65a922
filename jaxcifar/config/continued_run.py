"""The run that `--continue` names: its settings and epochs, and the changes that are allowed."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from jaxcifar.config import registry
from jaxcifar.config.fields import DEFAULTS, Fields
from jaxcifar.config.option_names import option_name, reject
from jaxcifar.config.settings import (
    DEFAULT_ARCH,
    DERIVED_FIELDS,
    default_settings,
    option_text,
)
from jaxcifar.errors import UsageError

_CONSTANT_SCHEDULE = "none"  # the schedule with a constant learning rate
_SCHEDULES_ENDING_AT_ZERO = ("cosine", "linear")
# Settings that describe only the finished epochs. A run that continues has their defaults instead.
_PLAN_FIELDS = (
    "warmup",
    "step_size",
    "gamma",
    "small_size",
    "small_fraction",
    "init",
    "continue_from",
)
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
        """Return the settings of this run that stay the same in a run that continues it.

        Computed fields are left out. The schedule of the learning rate and its length are also left
        out, because the new run chooses them.
        """
        names_left_out = {*DERIVED_FIELDS, *DEFAULTS_WHEN_CONTINUING}
        names = [field.name for field in dataclasses.fields(self.config)]
        return {name: getattr(self.config, name) for name in names if name not in names_left_out}

    def require_epochs_and_learning_rate(
        self, user_settings: Mapping[str, Any], epochs: int
    ) -> None:
        """Check that a run that continues this run has epochs to train, and a learning rate.

        Args:
          user_settings: the settings that the user gives for the new run.
          epochs: number of epochs of both runs together.

        Raises:
          UsageError: this run has at least `epochs` epochs already, or `--init` would replace its
            weights. Or the user must give a schedule or a learning rate for the new run, because
            this run's learning rate was not constant.
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
        advice = "give the remaining epochs a --schedule, or a --learning-rate that stays constant"
        rule = f"its schedule {schedule} {self._schedule_end_text()}; {advice}"
        reject("continue_from", self.folder, rule)

    def _schedule_end_text(self) -> str:
        """Return why this run's schedule can't go on: the end of a sentence, such as "ended"."""
        if self.epochs < self.config.epochs:
            return f"is for {self.config.epochs} epochs, but the run ended after {self.epochs}"
        if self.config.schedule in _SCHEDULES_ENDING_AT_ZERO:
            return "ended at a learning rate of 0, where nothing more is learnt"
        return "ended"

    def require_same_training(self, config: Fields) -> None:
        """Check that a run that continues this one has its network, optimizer, images and seed.

        Imports of user code and images of the user are compared when they are loaded.

        Raises:
          UsageError: a setting differs; the message names the option.
        """
        for name in FIXED_SETTINGS:
            old_value = getattr(self.config, name)
            new_value = getattr(config, name)
            if not _may_be_equal(name, old_value, new_value):
                self._reject_change(name, new_value, f"has {_setting_text(name, old_value)}")
        old_code_digests = dict(self.config.sources or ())
        new_code_digests = dict(config.sources or ())
        for field, old_digest in old_code_digests.items():
            if field in FIXED_SETTINGS and new_code_digests.get(field) != old_digest:
                self._reject_change(field, getattr(config, field), "was trained with other code")
        old_run_keeps_average = self.config.average > 0
        new_run_keeps_average = config.average > 0
        if old_run_keeps_average != new_run_keeps_average:
            reason = f"has an average of {self.config.average:g}"
            self._reject_change("average", config.average, reason)

    def _reject_change(self, name: str, value: Any, reason: str) -> None:
        advice = "leave this setting as it was, or start from the run's weights with --init"
        message = f"the run to continue, {self.folder}, {reason}; {advice}"
        if isinstance(value, bool):  # its text is the whole option
            raise UsageError(f"{_setting_text(name, value)}: {message}")
        reject(name, _setting_text(name, value), message)


def _may_be_equal(name: str, old_value: Any, new_value: Any) -> bool:
    """Return True if two values of a setting are equal, or name files whose contents may be equal.

    Two paths of images may have the same images. Two files of user code may define the same class,
    if the class has the same name in both files. The contents of the files are compared later.

    Args:
      name: name of the setting.
      old_value: its value in the run to continue.
      new_value: its value in the new run.
    """
    if old_value == new_value:
        return True
    if name == "dataset":
        built_in_names = registry.KINDS["dataset"].keys()
        are_both_paths = built_in_names.isdisjoint({old_value, new_value})
        return are_both_paths
    can_be_user_code = name in registry.KINDS
    if not can_be_user_code:
        return False
    are_both_user_code = registry.is_user_code(old_value) and registry.is_user_code(new_value)
    old_class_name = old_value.rpartition(":")[2]
    new_class_name = new_value.rpartition(":")[2]
    return are_both_user_code and old_class_name == new_class_name


def _setting_text(name: str, value: Any) -> str:
    """Return the value of the setting `name` as text, such as "128" or "widths=4, hidden=8".

    For a setting that is True or False, return its option, such as "--no-normalize".
    """
    if isinstance(value, bool):
        return f"--{option_name(name)}" if value else f"--no-{option_name(name)}"
    if name == "fold" and value == "":
        return "none"
    if name == "train_examples" and value is None:
        return "all"
    if name == "arch_args":
        arguments = [f"{argument}={option_text(item)}" for argument, item in value]
        return ", ".join(arguments) or "none"
    return option_text(value)


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
