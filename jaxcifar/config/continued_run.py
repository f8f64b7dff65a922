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
from jaxcifar.config.continued_folder import CHOOSE_ANOTHER, finished_run, last_checkpoint
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
_CONSTANT = "none"  # the schedule with a constant learning rate
# Settings that describe only the finished epochs. A run that continues has these defaults instead:
PLAN_OF_FURTHER_RUN = {
    **{name: DEFAULTS[name] for name in ("warmup", "step_size", "gamma", "small_size")},
    **{name: DEFAULTS[name] for name in ("small_part", "init", "continue_from")},
    "schedule": _CONSTANT,
}
_ENDS_AT_ZERO = ("cosine", "linear")  # schedules
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

    def settings(self) -> dict[str, Any]:
        """Return the settings of a run that continues this run, before any changes by the user.

        In these settings the learning rate is constant.
        """
        return {**self.taken_over(), **PLAN_OF_FURTHER_RUN}

    def taken_over(self) -> dict[str, Any]:
        """Return the settings that a run which continues this run starts with.

        These are this run's settings. Left out are fields that are computed, and the learning rate
        schedule and its length, which the new run chooses.
        """
        left_out = {*DERIVED_FIELDS, *PLAN_OF_FURTHER_RUN}
        names = [field.name for field in dataclasses.fields(self.config)]
        return {name: getattr(self.config, name) for name in names if name not in left_out}

    def require_plan(self, given: Mapping[str, Any], epochs: int) -> None:
        """Check that a run that continues this run has epochs to train, and a learning rate.

        Args:
          given: the settings that the user gives for the new run.
          epochs: number of epochs of both runs together.

        Raises:
          UsageError: this run has at least `epochs` epochs already, or `--init` would replace its
            weights. Or this run's learning rate was not constant, and the user gives no schedule
            and no learning rate for the new run.
        """
        has = f"has {self.epochs} epochs already"
        if epochs <= self.epochs and "epochs" in given:
            advice = "give the number of epochs in all, a higher one"
            reject("epochs", epochs, f"{self.folder} {has}; {advice}")
        if epochs <= self.epochs:
            advice = "give --epochs, the number of epochs in all"
            reject("continue_from", self.folder, f"{has}; {advice}")
        if given.get("init"):
            reject("init", given["init"], "can't be used with --continue; leave one of them out")
        schedule = self.config.schedule
        if schedule == _CONSTANT or not {"schedule", "learning_rate"}.isdisjoint(given):
            return
        if self.epochs < self.config.epochs:
            end = f"is for {self.config.epochs} epochs, but the run ended after {self.epochs}"
        elif schedule in _ENDS_AT_ZERO:
            end = "ended at a learning rate of 0, where nothing more is learnt"
        else:
            end = "ended"
        advice = "give the epochs that are left a --schedule, or a --learning-rate that stays"
        reject("continue_from", self.folder, f"its schedule {schedule} {end}; {advice} constant")

    def require_same_training(self, config: Fields) -> None:
        """Check that a run that continues this one has its network, optimizer, images and seed.

        Imports of user code and images of the user are compared when they are loaded.

        Raises:
          UsageError: a setting differs; the message names the option.
        """
        for name in FIXED_SETTINGS:
            earlier, value = getattr(self.config, name), getattr(config, name)
            if not _may_be_same(name, earlier, value):
                self._reject_change(name, value, f"has {_value_text(name, earlier)}")
        for kind, digest in self.config.sources or ():
            if kind in FIXED_SETTINGS and dict(config.sources or ()).get(kind) != digest:
                self._reject_change(kind, getattr(config, kind), "was trained with other code")
        if bool(self.config.average) != bool(config.average):
            has = f"has an average of {self.config.average:g}"
            self._reject_change("average", config.average, has)

    def _reject_change(self, name: str, value: Any, reason: str) -> None:
        advice = "leave this setting as it was, or start from the run's weights with --init"
        message = f"the run to continue, {self.folder}, {reason}; {advice}"
        if isinstance(value, bool):  # its text is the whole option
            raise UsageError(f"{_value_text(name, value)}: {message}")
        reject(name, _value_text(name, value), message)


def _may_be_same(name: str, earlier: Any, value: Any) -> bool:
    """Return whether two values of the setting `name` are equal, or may stand for equal files.

    Two different paths may lead to equal images. Two files of user code may define the same class
    if the class has the same name in both. The contents of the files are compared later.
    """
    if name in registry.KINDS and isinstance(value, str):
        if name == "dataset":
            return earlier == value or not registry.KINDS[name].keys() & {earlier, value}
        if registry.is_user_code(earlier) and registry.is_user_code(value):
            return earlier.rpartition(":")[2] == value.rpartition(":")[2]
    return earlier == value


def _value_text(name: str, value: Any) -> str:
    """Return the value of the setting `name` as text, such as "128" or "widths=4, hidden=8".

    For a setting that is True or False, return its option, such as "--no-normalize".
    """
    if isinstance(value, bool):
        return f"--{option_name(name)}" if value else f"--no-{option_name(name)}"
    if value == "":
        return "none"
    if isinstance(value, tuple):
        return ", ".join(f"{field}={option_text(item)}" for field, item in value) or "none"
    return "all" if value is None else option_text(value)


def base_settings(given: Mapping[str, Any], continued: ContinuedRun | None) -> dict[str, Any]:
    """Return the settings that a run starts from before the user's changes.

    These are the settings of the run that is continued or, without such a run, of a recipe.

    Args:
      given: the settings that the user gives.
      continued: the run that is continued; None for a run from the beginning.
    """
    if continued is not None:
        return continued.settings()
    arch = given.get("arch", DEFAULT_ARCH)
    return {"arch": arch, **default_settings(arch, given.get("recipe"))}


def find_continued_run(given: Mapping[str, Any], config: type) -> ContinuedRun | None:
    """Find the run that the setting `continue_from` names; None if the setting is not given.

    Args:
      given: the settings that the user gives. `continue_from` is the folder of the run, or of a
        study's row, which has a run for each seed and fold.
      config: the class `Config`.

    Raises:
      UsageError: the folder has no finished run with its last checkpoint, or a file is damaged.
    """
    continue_from = given.get("continue_from")
    if not continue_from:
        return None
    folder = finished_run(continue_from, given.get("seed", 0), given.get("fold", ""))
    config_file, result_file = folder / "config.json", folder / "result.json"
    content = read_json(config_file, dict[str, Any], CHOOSE_ANOTHER, _MAX_CONFIG_BYTES)
    with report_errors(config_file, CHOOSE_ANOTHER):
        try:
            earlier = config(**settings_from_file(content, config))
        except (TypeError, UsageError) as error:
            raise ValueError(f"is not a config of this version: {error}") from error
    metadata_file = last_checkpoint(folder, continue_from) / "notes" / "metadata"
    result = read_json(result_file, _Result, CHOOSE_ANOTHER)
    metadata = read_json(metadata_file, _Metadata, CHOOSE_ANOTHER, _MAX_METADATA_BYTES)
    epochs = result["last_epoch"]["epoch"]
    if len(metadata["history"]) != epochs:
        reject("continue_from", continue_from, "its last checkpoint is missing; use --init instead")
    return ContinuedRun(folder, earlier, epochs, metadata["sha256"])
