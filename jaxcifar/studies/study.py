"""A study: a table whose rows are variations of one config."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any, Self

import msgspec
from msgspec import UNSET

from jaxcifar.config.effective import reason_without_effect, settings_with_effect
from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.setting_types import check_types
from jaxcifar.config.settings import DERIVED_FIELDS
from jaxcifar.config.table_pairs import merge_settings
from jaxcifar.errors import UsageError, without_advice
from jaxcifar.machine.reading import (
    MEGABYTE,
    Fraction,
    Remedy,
    convert_checked,
    read_json,
    read_toml,
)
from jaxcifar.studies.code_files import find_in_study_folder
from jaxcifar.studies.study_file import StudyFile

_ROW_NAME_PATTERN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{,199}")
_SETTINGS_OF_SINGLE_RUNS = {
    "seed",
    *DERIVED_FIELDS,
}  # settings of a single run, which no study file may have
_MAX_FILE_BYTES = 16 * MEGABYTE
_LIKE_THE_EXAMPLE = Remedy("write it like experiments/studies/ablation.toml", UsageError)


@dataclasses.dataclass(frozen=True)
class StudyRow:
    """One row of a study: changes to the settings that all rows share.

    Attributes:
      name: name of the row and of its folder.
      changes: the fields of `Config` that this row sets, by name.
      reference: published test accuracies of this variation, from 0 to 1; may be empty.
    """

    name: str
    changes: dict[str, Any]
    reference: tuple[float, ...] = ()


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
    """

    title: str
    config: dict[str, Any]
    rows: tuple[StudyRow, ...]
    reference: dict[str, Any]
    author: str = ""

    @classmethod
    def read(cls, path: Path, remedy: Remedy = _LIKE_THE_EXAMPLE) -> Self:
        """Read a study from a TOML file, or from a JSON file with the text that `to_json` returns.

        User code that a TOML file names is first looked for in the folder of the file, then in the
        current folder.

        Args:
          path: the file.
          remedy: the advice in an error message, and the type of the error.

        Raises:
          RunError, UsageError: the file can't be read, or is not a valid study.
        """
        is_written_by_users = path.suffix != ".json"
        if not is_written_by_users:
            content = read_json(path, dict[str, Any], remedy, _MAX_FILE_BYTES, follow_links=True)
        else:
            content = read_toml(path, dict[str, Any], remedy)
        try:
            study = cls.from_dict(content)
        except UsageError as error:
            problem = str(error) if is_written_by_users else without_advice(error)
            raise remedy.error(f"{path}: {problem}; {remedy.advice}") from None
        if not is_written_by_users:
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
            rows = tuple(_parse_row(name, table) for name, table in file.rows.items())
        except ValueError as error:
            raise UsageError(str(error)) from None
        config = _checked_settings("[config]", file.config)
        author = "" if file.author is UNSET else file.author
        return cls(file.title, config, rows, msgspec.to_builtins(file.reference), author)

    def check(self, seed: int = 0, fold: str = "") -> None:
        """Check that all settings are in range and have an effect.

        Args:
          seed: one of the seeds that are to be trained.
          fold: one of the folds that are to be trained, or "" without folds. With a fold, a shared
            `val_fraction` may be without effect.

        Raises:
          UsageError: a setting is out of range, is unknown, or has no effect.
        """
        for row in self.rows:
            self.config_of(row, seed, fold)
        effective = {row.name: self._effective_settings_of(row, seed, fold) for row in self.rows}
        for row in self.rows:
            for name in row.changes.keys() - effective[row.name].keys():
                reason = reason_without_effect(name, self._settings_of(row, seed, fold), Config)
                raise UsageError(f"row {row.name}: {name} {reason}")
        settings_replaced_by_fold = {"val_fraction"} if fold else set()
        for name in self.config.keys() - settings_replaced_by_fold:
            if not any(name in row_settings for row_settings in effective.values()):
                raise UsageError(
                    f"{name}, which all rows share, has no effect on any row; remove it"
                )
        known_settings = {field.name for field in dataclasses.fields(Config)}
        for row_settings in effective.values():
            known_settings.update(row_settings.get("arch_args", {}))
        for name in self.reference.get("sets", []):
            if name not in known_settings:
                raise UsageError(f"[reference] sets: {name} is not a setting of any row; remove it")

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
        try:
            return Config.create(**self._effective_settings_of(row, seed, fold))
        except UsageError as error:
            raise UsageError(f"row {row.name}: {error}") from None

    def _effective_settings_of(self, row: StudyRow, seed: int, fold: str = "") -> dict[str, Any]:
        """Return the settings of one run of a row that have an effect, by name."""
        return settings_with_effect(self._settings_of(row, seed, fold), Config)

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


def _parse_row(row_name: str, table: Any) -> StudyRow:
    """Return a row of a study, after checking its name and its `table` from the study's file."""
    if not _ROW_NAME_PATTERN.fullmatch(row_name):
        raise UsageError(f"row {row_name!r}: use only letters, digits and . _ + - in a row's name")
    if not isinstance(table, dict):
        raise UsageError(
            f"row {row_name}: must be a table of settings, such as {{ learning_rate = 0.1 }}"
        )
    published_accuracies = convert_checked(
        table.get("reference", []), list[Fraction], f"row {row_name}, reference"
    )
    changes = {key: value for key, value in table.items() if key != "reference"}
    checked_changes = _checked_settings(f"row {row_name}", changes)
    return StudyRow(row_name, checked_changes, tuple(published_accuracies))


def _checked_settings(place_in_file: str, settings: Any) -> dict[str, Any]:
    """Return settings from a study's file after checks."""
    if not isinstance(settings, Mapping):
        raise UsageError(
            f"{place_in_file}: must be a table of settings, such as learning_rate = 0.1"
        )
    for name in _SETTINGS_OF_SINGLE_RUNS & settings.keys():
        raise UsageError(f"{place_in_file}: a study can't set {name}; remove it")
    return check_types(place_in_file, settings, Config)
