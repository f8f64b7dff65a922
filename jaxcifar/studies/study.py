"""A study: a table whose rows are variations of one config."""

import dataclasses
import json
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import UNSET

from jaxcifar.config.effective import reason_without_effect, settings_with_effect
from jaxcifar.config.experiment import Config
from jaxcifar.config.fields import NAMES_OF_RUNS
from jaxcifar.config.folds import run_folder_name
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.saved_config import config_of_begun_run
from jaxcifar.config.setting_types import current_name
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError, without_advice
from jaxcifar.machine.reading import MEGABYTE, Remedy, convert_checked, read_json, read_toml
from jaxcifar.studies.code_files import find_in_study_folder
from jaxcifar.studies.study_file import StudyFile
from jaxcifar.studies.study_row import StudyRow, checked_settings, parse_row

_MAX_FILE_BYTES = 16 * MEGABYTE
_LIKE_THE_EXAMPLE = Remedy("write it like experiments/studies/ablation.toml", UsageError)


@dataclasses.dataclass(frozen=True)
class Study:
    """A list of variations of one training run; each variation is a row.

    Attributes:
      title: the study's title in reports.
      config: fields of `Config` that all rows share. Some rows may ignore a field.
      rows: the variations, in the order in which they are trained and reported.
      reference: the section `[reference]` of the file. A report groups rows by the settings in the
        list `sets`, and says which group comes nearest to its published accuracies.
      author: the name below the title of reports; may be empty.
      folder: the folder of the study's runs, if it is known. The config of a run that was begun
        there stands in for files of other runs that are gone; see `Config.for_run`.
      forced_rows: names of the rows that are trained again from the start, so the configs in their
        folders do not matter.
    """

    title: str
    config: dict[str, Any]
    rows: tuple[StudyRow, ...]
    reference: dict[str, Any]
    author: str = ""
    folder: Path | None = None
    forced_rows: tuple[str, ...] = ()

    @classmethod
    def read(cls, path: Path, remedy: Remedy = _LIKE_THE_EXAMPLE) -> Self:
        """Read a study from a TOML file, or from a JSON file with the text that `to_json` returns.

        User code that a TOML file names is first looked for in the folder of the file, then in the
        current folder.

        Args:
          path: the file.
          remedy: what a user should do about an unreadable file, and the type of the error.

        Raises:
          RunError, UsageError: the file can't be read, or is not a valid study.
        """
        is_record = path.suffix == ".json"  # not written by a user
        if is_record:
            content = read_json(path, dict[str, Any], remedy, _MAX_FILE_BYTES, follow_links=True)
        else:
            content = read_toml(path, dict[str, Any], remedy)
        try:
            study = cls.from_dict(content)
        except UsageError as error:
            problem = without_advice(error) if is_record else str(error)
            raise remedy.error(f"{path}: {problem}; {remedy.advice}") from None
        if is_record:
            return study
        return study.with_settings(partial(find_in_study_folder, path.parent))

    @classmethod
    def from_dict(cls, content: Mapping[str, Any]) -> Self:
        """Return the study that the parsed content of a study file describes.

        Raises:
          UsageError: the content has an unknown key, or a value of the wrong type.
        """
        try:
            file = convert_checked(dict(content), StudyFile)
            rows = tuple(parse_row(name, table) for name, table in file.rows.items())
        except ValueError as error:
            raise UsageError(str(error)) from None
        config = checked_settings("[config]", file.config)
        reference = msgspec.to_builtins(file.reference)
        if "sets" in reference:
            reference["sets"] = [current_name(setting) for setting in reference["sets"]]
        author = "" if file.author is UNSET else file.author
        return cls(file.title, config, rows, reference, author)

    def check(self, seed: int = 0, fold: str = "") -> None:
        """Check that all settings are in range and have an effect.

        Args:
          seed: one of the seeds that are to be trained.
          fold: one of the folds that are to be trained, or "" without folds. A fold replaces
            `val_fraction`, which is therefore allowed to have no effect.

        Raises:
          UsageError: a setting is out of range, is unknown, or has no effect.
        """
        effective_settings = [self._checked_row_settings(row, seed, fold) for row in self.rows]
        names_with_effect = {name for settings in effective_settings for name in settings}
        setting_replaced_by_folds = "val_fraction"
        if fold:
            names_with_effect.add(setting_replaced_by_folds)
        for name in self.config:
            if name not in names_with_effect:
                raise UsageError(
                    f"{name}, which all rows share, has no effect on any row; remove it"
                )
        known_settings = {field.name for field in dataclasses.fields(Config)}
        for settings in effective_settings:
            known_settings.update(settings.get("arch_args", {}))
        for name in self.reference.get("sets", []):
            if name not in known_settings:
                raise UsageError(
                    f"[reference] sets: no row has a setting {name}; remove it from the list"
                )

    def _checked_row_settings(self, row: StudyRow, seed: int, fold: str) -> dict[str, Any]:
        """Return the settings of one run of a row that have an effect, after checking all settings.

        Raises:
          UsageError: a setting is out of range, or the row sets one that has no effect.
        """
        settings = self._settings_of(row, seed, fold)
        earlier_config = self._earlier_config(row, seed, fold)
        effective_settings = settings_with_effect(settings, Config, earlier_config)
        _make_config(row, effective_settings, earlier_config)
        for name in row.changes:
            if name not in effective_settings:
                reason = reason_without_effect(name, settings, Config, earlier_config)
                raise UsageError(f"row {row.name}: {name} {reason}")
        return effective_settings

    def with_settings(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Self:
        """Return a copy with `change` applied to the shared settings and to those of each row."""
        rows = [dataclasses.replace(row, changes=change(row.changes)) for row in self.rows]
        return dataclasses.replace(self, config=change(self.config), rows=tuple(rows))

    def to_json(self) -> str:
        """Return the study as JSON text, which `from_dict` can read."""
        rows = {}
        for row in self.rows:
            rows[row.name] = dict(row.changes)
            if row.reference:
                rows[row.name]["reference"] = list(row.reference)
        content = {**dataclasses.asdict(self), "rows": rows}
        del content["folder"], content["forced_rows"]
        if not self.author:
            del content["author"]  # older versions refuse unknown keys
        return json.dumps(content, indent=2) + "\n"

    def config_of(self, row: StudyRow, seed: int, fold: str = "") -> Config:
        """Return the config of one run of a row.

        Args:
          row: the row.
          seed: seed of the run.
          fold: fold of the run, which replaces the study's `val_fraction`; "" without folds.

        Raises:
          UsageError: a value is out of range.
        """
        settings = self._settings_of(row, seed, fold)
        earlier_config = self._earlier_config(row, seed, fold)
        effective_settings = settings_with_effect(settings, Config, earlier_config)
        return _make_config(row, effective_settings, earlier_config)

    def _earlier_config(self, row: StudyRow, seed: int, fold: str) -> Config | None:
        """Return the config of a run in the study's folder, if an earlier command began it.

        Return None if the row is trained again from the start, or if no setting names another run,
        because nothing needs the earlier config then (see `Config.for_run`).
        """
        names_other_run = NAMES_OF_RUNS & {*self.config, *row.changes}
        if self.folder is None or row.name in self.forced_rows or not names_other_run:
            return None
        return config_of_begun_run(self.folder / row.name / run_folder_name(seed, fold), Config)

    def _settings_of(self, row: StudyRow, seed: int, fold: str) -> dict[str, Any]:
        """Return the settings of one run of a row, by name, also those without an effect."""
        settings = {**merge_settings(self.config, row.changes), "seed": seed}
        if fold:
            settings["fold"] = fold
        return settings

    def select(self, names: list[str] | None) -> tuple[StudyRow, ...]:
        """Return the rows with these names, in the study's order; None means all rows.

        Raises:
          UsageError: there is no such row.
        """
        self.require_rows(names)
        return tuple(row for row in self.rows if names is None or row.name in names)

    def require_rows(self, names: list[str] | None) -> None:
        """Check that the study has a row with each of these names; None means no names.

        Raises:
          UsageError: the study has no such row.
        """
        row_names = [row.name for row in self.rows]
        for name in names or []:
            if name not in row_names:
                suggestion = did_you_mean(name, row_names)
                raise UsageError(
                    f"there is no row {name}; {suggestion}choose from {', '.join(row_names)}"
                )


def _make_config(
    row: StudyRow, effective_settings: Mapping[str, Any], earlier_config: Config | None
) -> Config:
    """Return the config of a run of a row; an error names the row. See `Config.for_run`."""
    try:
        return Config.for_run(effective_settings, earlier_config)
    except UsageError as error:
        raise UsageError(f"row {row.name}: {error}") from None
