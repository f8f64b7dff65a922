"""The structure of a study file, as its content is checked after parsing."""

from typing import Annotated, Any

import msgspec
from msgspec import UNSET, Meta, UnsetType

from jaxcifar.machine.reading import Count, Line

MAX_ROWS = 1000


class Reference(msgspec.Struct, forbid_unknown_fields=True):
    """The section `[reference]` of a study file: how the published accuracies were measured.

    `name` is their source. `sets` lists settings: a report groups the rows by these settings.
    """

    name: Line | UnsetType = UNSET
    arch: Line | UnsetType = UNSET
    dataset: Line | UnsetType = UNSET
    epochs: Count | UnsetType = UNSET
    sets: list[Line] | UnsetType = UNSET


class StudyFile(msgspec.Struct, forbid_unknown_fields=True):
    """The content of a study file. Its settings are not checked yet (see `Study.from_dict`)."""

    rows: Annotated[dict[str, Any], Meta(min_length=1, max_length=MAX_ROWS)]
    title: Line = "Study"
    author: Line | UnsetType = UNSET
    config: dict[str, Any] = {}
    reference: Reference = msgspec.field(default_factory=Reference)
