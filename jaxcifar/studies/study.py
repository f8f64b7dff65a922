"""A study: a table whose rows are variations of one config."""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jaxcifar.config.experiment import Config
from jaxcifar.config.registry import did_you_mean
from jaxcifar.config.settings import DERIVED, applicable, flag, typed
from jaxcifar.errors import UsageError
from jaxcifar.machine.reading import (
    MEGABYTE,
    Count,
    Fraction,
    Line,
    Remedy,
    checked,
    read_json,
    read_toml,
)
from jaxcifar.studies.code_files import find_beside

_ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]{,199}")
_OF_A_RUN = {"seed", *DERIVED}  # no setting of a study
_MOST_BYTES = 16 * MEGABYTE
_MOST_ROWS = 1000
_WRITTEN = Remedy("write it like experiments/studies/ablation.toml", UsageError)


class Reference(msgspec.Struct, forbid_unknown_fields=True):
    """`[reference]`: what the rows' reference figures were measured with."""

    name: Line | UnsetType = UNSET
    arch: Line | UnsetType = UNSET
    dataset: Line | UnsetType = UNSET
    epochs: Count | UnsetType = UNSET
    sets: list[Line] | UnsetType = UNSET


class Said(msgspec.Struct, forbid_unknown_fields=True):
    """What a study file holds; settings are held against `Config`, which declares them."""

    rows: Annotated[dict[str, Any], Meta(min_length=1, max_length=_MOST_ROWS)]
    title: Line = "Study"
    config: dict[str, Any] = {}
    reference: Reference = msgspec.field(default_factory=Reference)


@dataclasses.dataclass(frozen=True)
class StudyRow:
    """One variation.

    Attributes:
      name: also that of its folder.
      changes: fields of `Config` that it sets.
      reference: test accuracies (fractions) that someone else reached with it, if known.
    """

    name: str
    changes: dict[str, Any]
    reference: tuple[float, ...] = ()


@dataclasses.dataclass(frozen=True)
class Study:
    """What a study file says.

    Attributes:
      title: what is studied.
      config: fields of `Config` that every row shares, each where it applies.
      rows: the variations, in the order in which they are run and told.
      reference: what the rows' reference figures were measured with, the fields of `Reference`
        that are set; `sets` are fields whose values are to be compared by how near rows that agree
        in them come to their references together.
    """

    title: str
    config: dict[str, Any]
    rows: tuple[StudyRow, ...]
    reference: dict[str, Any]

    @classmethod
    def read(cls, path: Path, remedy: Remedy = _WRITTEN) -> Self:
        """Read a TOML file like those in `experiments/studies`, or the JSON that `to_json` gives.

        A TOML file names user code from its own folder, or from the current one (`code_files`).

        Raises:
          RunError, UsageError: as `remedy` says, if the file can't be read, or says something that
            no study has.
        """
        if path.suffix == ".json":
            said = read_json(path, dict[str, Any], remedy, _MOST_BYTES, follow=True)
        else:
            said = read_toml(path, dict[str, Any], remedy)
        try:
            study = cls.from_dict(said)
        except UsageError as error:
            raise remedy.error(f"{path}: {error}; {remedy.advice}") from None
        if path.suffix == ".json":
            return study
        return study.with_settings(partial(find_beside, path.parent))

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """The study of a file's content.

        Raises:
          UsageError: an unknown key, or a value of the wrong type.
        """
        try:
            study = checked(dict(said), Said)
            rows = tuple(_row(name, values) for name, values in study.rows.items())
        except ValueError as error:
            raise UsageError(str(error)) from None
        config = _settings("[config]", study.config)
        return cls(study.title, config, rows, msgspec.to_builtins(study.reference))

    def check(self) -> None:
        """Refuse settings out of range, and those that whoever wrote them takes to have an effect.

        Raises:
          UsageError: see `config_of`; a row sets what means nothing to it, or all share what means
            nothing to any; the reference's sets are of what is no setting.
        """
        for row in self.rows:
            self.config_of(row, seed=0)
        meaning = {row.name: applicable(self._settings_of(row)) for row in self.rows}
        for row in self.rows:
            for name in row.changes.keys() - meaning[row.name].keys():
                raise UsageError(f"row {row.name}: {name} means nothing to what it trains")
        for name in self.config:
            if not any(name in settings for settings in meaning.values()):
                raise UsageError(f"--{flag(name)}: means nothing to any row of this study")
        known = {name for settings in meaning.values() for name in settings.get("arch_args", {})}
        known |= {field.name for field in dataclasses.fields(Config)}
        for name in self.reference.get("sets", []):
            if name not in known:
                raise UsageError(f"[reference] sets: {name} is no setting of any row")

    def with_settings(self, change: Callable[[dict[str, Any]], dict[str, Any]]) -> Self:
        """Return the study with `change` applied to the shared settings and to each row's."""
        rows = [dataclasses.replace(row, changes=change(row.changes)) for row in self.rows]
        return dataclasses.replace(self, config=change(self.config), rows=tuple(rows))

    def to_json(self) -> str:
        """The study as JSON text, `from_dict`'s structure."""
        rows = {
            row.name: row.changes | ({"reference": list(row.reference)} if row.reference else {})
            for row in self.rows
        }
        return json.dumps({**dataclasses.asdict(self), "rows": rows}, indent=2) + "\n"

    def config_of(self, row: StudyRow, seed: int) -> Config:
        """What a row trains.

        Raises:
          UsageError: a value is out of range.
        """
        try:
            return Config.create(**applicable(self._settings_of(row)), seed=seed)
        except UsageError as error:
            raise UsageError(f"row {row.name}: {error}") from None

    def _settings_of(self, row: StudyRow) -> dict[str, Any]:
        """What is shared and what the row changes; a network's arguments one by one."""
        settings = {**self.config, **row.changes}
        if "arch_args" in settings:
            same = row.changes.get("arch", self.config.get("arch")) == self.config.get("arch")
            shared = self.config.get("arch_args", {}) if same else {}
            settings["arch_args"] = {**shared, **row.changes.get("arch_args", {})}
        return settings

    def select(self, names: list[str] | None) -> tuple[StudyRow, ...]:
        """Return the rows of these names, in the study's order; all of them for None.

        Raises:
          UsageError: there is no such row.
        """
        self.require_rows(names)
        return tuple(row for row in self.rows if names is None or row.name in names)

    def require_rows(self, names: list[str] | None) -> None:
        """Check that the study has a row of each of these names; None names no row.

        Raises:
          UsageError: there is no such row.
        """
        known = [row.name for row in self.rows]
        for name in names or []:
            if name not in known:
                meant = did_you_mean(name, known)
                raise UsageError(f"no row {name} here; {meant}the rows are {', '.join(known)}")


def _row(name: str, values: Any) -> StudyRow:
    if not _ROW_NAME.fullmatch(name):
        raise UsageError(f"row {name!r}: a name has letters, digits and . _ + - only")
    if not isinstance(values, dict):
        raise UsageError(f"row {name}: write {name} = {{ learning_rate = 0.1 }} or the like")
    reference = checked(values.get("reference", []), list[Fraction], f"row {name}, reference")
    changes = {key: value for key, value in values.items() if key != "reference"}
    return StudyRow(name, _settings(f"row {name}", changes), tuple(reference))


def _settings(where: str, values: Any) -> dict[str, Any]:
    if not isinstance(values, Mapping):
        raise UsageError(f"{where}: must be settings such as learning_rate = 0.1")
    for name in _OF_A_RUN & values.keys():
        raise UsageError(f"{where}: {name} is no setting of a study")
    return typed(where, values, Config)
