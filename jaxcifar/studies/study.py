"""A study: a table whose rows are variations of one config."""

import dataclasses
import json
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self, get_args

from jaxcifar.config import Config
from jaxcifar.errors import UsageError

_ROW_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._+-]*")
_FIELDS = {field.name: field.type for field in dataclasses.fields(Config) if field.name != "seed"}


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
      config: fields of `Config` that every row shares.
      rows: the variations, in the order in which they are run and told.
      reference: what the rows' reference figures were measured with: `name`, `arch`, `dataset`,
        `epochs`; and `sets`, fields whose values are to be compared by how near rows that agree
        in them come to their references together.
    """

    title: str
    config: dict[str, Any]
    rows: tuple[StudyRow, ...]
    reference: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> Self:
        """Read a TOML file like those in `experiments/studies`, or the JSON that `to_json` gives.

        Raises:
          UsageError: the file can't be read, or says something that no study has.
        """
        try:
            parse = json.loads if path.suffix == ".json" else tomllib.loads
            return cls.from_dict(parse(path.read_text()))
        except (OSError, ValueError) as error:  # both parsers' errors are ValueErrors
            raise UsageError(f"--study {path}: {error}") from error
        except UsageError as error:
            raise UsageError(f"--study {path}: {error}") from None

    @classmethod
    def from_dict(cls, said: Mapping[str, Any]) -> Self:
        """The study of a file's content.

        Raises:
          UsageError: an unknown key, a value of the wrong type or out of range.
        """
        unknown = said.keys() - {"title", "config", "rows", "reference"}
        if unknown or not said.get("rows"):
            raise UsageError(f"[{min(unknown)}] is unknown" if unknown else "[rows] is missing")
        study = cls(
            title=said.get("title", "Study"),
            config=_config_fields("[config]", said.get("config", {})),
            rows=tuple(_row(name, values) for name, values in said["rows"].items()),
            reference=dict(said.get("reference", {})),
        )
        for row in study.rows:
            study.config_of(row, seed=0)
        return study

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
            return Config.create(**{**self.config, **row.changes, "seed": seed})
        except UsageError as error:
            raise UsageError(f"row {row.name}: {error}") from None

    def select(self, names: list[str] | None) -> tuple[StudyRow, ...]:
        """The rows of these names, in the study's order; all of them for None.

        Raises:
          UsageError: there is no such row.
        """
        known = [row.name for row in self.rows]
        for name in names or []:
            if name not in known:
                raise UsageError(f"no row {name} in this study; its rows are {', '.join(known)}")
        return tuple(row for row in self.rows if names is None or row.name in names)


def _row(name: str, values: Any) -> StudyRow:
    if not _ROW_NAME.fullmatch(name):
        raise UsageError(f"row {name!r}: a name has letters, digits and . _ + - only")
    if not isinstance(values, dict):
        raise UsageError(f"row {name}: write {name} = {{ learning_rate = 0.1 }} or the like")
    reference = values.get("reference", [])
    if not isinstance(reference, list) or not all(
        isinstance(value, float) and 0 <= value <= 1 for value in reference
    ):
        raise UsageError(f"row {name}: reference is a list of fractions such as [0.92]")
    changes = {key: value for key, value in values.items() if key != "reference"}
    return StudyRow(name, _config_fields(f"row {name}", changes), tuple(reference))


def _config_fields(where: str, values: Mapping[str, Any]) -> dict[str, Any]:
    fields = {}
    for name, value in values.items():
        if name not in _FIELDS:
            raise UsageError(f"{where}: {name} is no setting; they are {', '.join(_FIELDS)}")
        kinds = get_args(_FIELDS[name]) or (_FIELDS[name],)
        if float in kinds and type(value) is int:
            value = float(value)
        if type(value) not in kinds:
            raise UsageError(f"{where}: {name} = {value!r} is not of type {kinds[0].__name__}")
        fields[name] = value
    return fields
