"""What lies beside cached records: classes, fingerprints, and what the source looked like."""

import contextlib
import dataclasses
import json
import re
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Self

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.machine.files import write_text

_FORMAT = 1  # another number has everything prepared anew
_NAME = "manifest.json"
_MAX_BYTES = 2**26  # room for the names of all classes that there may be


@dataclasses.dataclass(frozen=True)
class Manifest:
    """What a cache was prepared as.

    Attributes:
      class_names: by label.
      fingerprints: split -> SHA-256 of its sorted records.
      source: digest of what the source looked like (names, sizes, times of change), if it may
        change.
    """

    class_names: tuple[str, ...]
    fingerprints: Mapping[str, str]
    source: str = ""

    @classmethod
    def of(
        cls, records: Mapping[str, np.ndarray], class_names: Sequence[str], source: str = ""
    ) -> Self:
        """That of sorted records."""
        fingerprints = {split: rec.fingerprint(array) for split, array in records.items()}
        return cls(tuple(class_names), fingerprints, source)

    def write(self, folder: Path) -> None:
        """Write it, whole or not at all; last, because it says that the cache is there.

        Raises:
          OSError: the folder can't be written.
        """
        for leftover in folder.glob(f".{_NAME}.*"):  # of a killed process
            leftover.unlink(missing_ok=True)
        content = {"format": _FORMAT, **dataclasses.asdict(self)}
        write_text(folder / _NAME, json.dumps(content, indent=1) + "\n")

    @classmethod
    def read(cls, folder: Path) -> Self | None:
        """The one in a folder, or None if there is none or it is not as it was written."""
        with contextlib.suppress(OSError, ValueError, RecursionError):
            with (folder / _NAME).open("rb") as file:
                text = file.read(_MAX_BYTES + 1)
            if len(text) <= _MAX_BYTES and _is_manifest(content := json.loads(text)):
                names = tuple(content["class_names"])
                return cls(names, content["fingerprints"], content["source"])
        return None


def _is_manifest(content: Any) -> bool:
    if not isinstance(content, dict) or content.get("format") != _FORMAT:
        return False
    names, fingerprints = content.get("class_names"), content.get("fingerprints")
    return (
        isinstance(names, list)
        and 0 < len(names) <= rec.MAX_CLASSES
        and all(isinstance(name, str) for name in names)
        and isinstance(fingerprints, dict)
        and fingerprints.keys() == set(rec.SPLITS)
        and all(_is_digest(digest) for digest in fingerprints.values())
        and isinstance(content.get("source"), str)
    )


def _is_digest(value: Any) -> bool:
    return isinstance(value, str) and re.fullmatch("[0-9a-f]{64}", value) is not None
