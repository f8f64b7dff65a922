"""The description of cached records: classes, fingerprints, and the state of the source files."""

import dataclasses
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Literal, NotRequired, Self, TypedDict, get_args

from msgspec import Meta

from jaxcifar.data import binary_records
from jaxcifar.errors import RunError
from jaxcifar.machine.files import write_text
from jaxcifar.machine.reading import Remedy, read_json

_Format = Literal[1]  # caches with another number are prepared again
(_FORMAT,) = get_args(_Format)
_FILE_NAME = "manifest.json"
_PREPARED_AGAIN = Remedy("the data set is prepared again")
_Digest = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]


class _Fingerprints(TypedDict):
    train: _Digest
    test: _Digest
    val: NotRequired[_Digest]


class _Content(TypedDict):
    format: _Format
    class_names: Annotated[list[str], Meta(min_length=1, max_length=binary_records.MAX_CLASSES)]
    fingerprints: _Fingerprints
    source: str


@dataclasses.dataclass(frozen=True)
class Manifest:
    """The description of cached records: rows of label and pixel bytes, one for each image.

    Attributes:
      class_names: names of the classes, by label.
      fingerprints: split -> SHA-256 of its sorted records.
      source: digest of the names, sizes and times of change of the user's files that the images
        were read from; "" for a data set of the catalogue.
    """

    class_names: tuple[str, ...]
    fingerprints: Mapping[str, str]
    source: str = ""

    @classmethod
    def for_records(
        cls,
        records_of_split: Mapping[str, binary_records.Records],
        class_names: Sequence[str],
        source: str = "",
    ) -> Self:
        """Return a manifest with the class names, fingerprints and source of sorted records."""
        fingerprints = binary_records.fingerprints_of(records_of_split)
        return cls(tuple(class_names), fingerprints, source)

    def write(self, folder: Path) -> None:
        """Write the manifest of a cache atomically. Call it last: it makes the cache valid.

        Raises:
          OSError: the folder can't be written.
        """
        for leftover in folder.glob(f".{_FILE_NAME}.*"):  # of a killed process
            leftover.unlink(missing_ok=True)
        content = {"format": _FORMAT, **dataclasses.asdict(self)}
        write_text(folder / _FILE_NAME, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """Read the manifest of the cache in `folder`; None if the file is missing or damaged."""
        try:
            content = read_json(folder / _FILE_NAME, _Content, _PREPARED_AGAIN)
        except RunError:
            return None
        digests = content["fingerprints"]
        fingerprints = {"train": digests["train"], "test": digests["test"]}
        if "val" in digests:
            fingerprints["val"] = digests["val"]
        return cls(tuple(content["class_names"]), fingerprints, content["source"])
