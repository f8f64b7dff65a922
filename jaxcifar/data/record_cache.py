"""Cache the records of a data set (rows of label and pixel bytes) in one file for each split."""

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from jaxcifar.data.binary_records import Records, fingerprint
from jaxcifar.machine.files import atomic_write
from jaxcifar.machine.reading import open_regular_file


def write_records(folder: Path, records_of_split: Mapping[str, Records]) -> None:
    """Write the records of each split to the file `SPLIT.npy` in `folder`, each atomically.

    The caller must hold the lock of the folder.

    Raises:
      OSError: the folder can't be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(".*.npy.*"):  # of a killed process
        leftover.unlink(missing_ok=True)
    for split, records in records_of_split.items():
        with atomic_write(folder / f"{split}.npy") as file:
            np.save(file, records)


def read_records(folder: Path, fingerprints: Mapping[str, str]) -> dict[str, Records] | None:
    """Map the cached records of every split into memory; None if a file is missing or changed.

    Args:
      folder: folder that `write_records` wrote.
      fingerprints: split -> SHA-256 (hex) that the records of this split must have.
    """
    records_of_split: dict[str, Records] = {}
    for split, expected_fingerprint in fingerprints.items():
        records = _map_records(folder / f"{split}.npy", expected_fingerprint)
        if records is None:
            return None
        records_of_split[split] = records
    return records_of_split


def _map_records(path: Path, expected_fingerprint: str) -> Records | None:
    """Map the records in a file into memory; None if the file is missing or damaged."""
    try:
        with open_regular_file(path):  # refuses a pipe, which `open_memmap` would wait for
            records = np.lib.format.open_memmap(path, mode="r")
        are_records = records.ndim == 2 and records.dtype == np.uint8
        is_intact = are_records and fingerprint(records) == expected_fingerprint
    except Exception:  # a damaged file can raise anything
        return None
    return records if is_intact else None
