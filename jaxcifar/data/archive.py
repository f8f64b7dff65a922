"""Read CIFAR-10 and CIFAR-100 from archives: their authors', or Hugging Face's parquet files.

Archives can come from anywhere, so they are not trusted. Nothing is extracted to disk: members are
read into memory by name, with a limit on their size, and `plain_pickle` reads pickles.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath
from typing import Any

import numpy as np

from jaxcifar.data import plain_pickle, tar
from jaxcifar.data.binary_records import PIXEL_BYTES, SPLITS, Records
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import find_parquet
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file

_MAX_BATCH_BYTES = 160 * 2**20  # the largest batch is CIFAR-100's training images, 155 MB
_REMEDY = "give a CIFAR archive, or download it again"


@dataclasses.dataclass(frozen=True)
class ArchiveLayout:
    """The layout of a data set's archives.

    Attributes:
      folders: top folder in the binary archive, and in the Python archive.
      batches: split -> names of its files, called batches. In the binary archive the names end in
        `.bin`.
      label_bytes: number of label bytes of an image in the binary archive. The last byte is the
        label.
      label_key: key of the labels in a batch of the Python archive.
    """

    folders: tuple[str, str]
    batches: Mapping[str, tuple[str, ...]]
    label_bytes: int
    label_key: str

    @property
    def splits(self) -> dict[str, str]:
        """Name of each batch (file of the archive) -> its split, "train" or "test"."""
        split_of_batch: dict[str, str] = {}
        for split, batches in self.batches.items():
            split_of_batch |= dict.fromkeys(batches, split)
        return split_of_batch


CIFAR10_LAYOUT = ArchiveLayout(
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    batches={
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    },
    label_bytes=1,
    label_key="labels",
)

CIFAR100_LAYOUT = ArchiveLayout(
    folders=("cifar-100-binary", "cifar-100-python"),
    batches={"train": ("train",), "test": ("test",)},
    label_bytes=2,  # coarse and fine
    label_key="fine_labels",
)


def read_archive(path: Path, layout: ArchiveLayout) -> dict[str, Records]:
    """Read a CIFAR archive as records: one row of label and pixel bytes for each image.

    The rows keep the order of the archive. Their number and content are not checked.

    Args:
      path: a tar archive, compressed or not, or the folder with its unpacked files. The authors'
        binary and Python versions can be read. The path can also be a folder of the parquet files
        that Hugging Face publishes.
      layout: names of the archive's files, and where the labels are in these files.

    Returns:
      the records of each split; the keys are "train" and "test".

    Raises:
      UsageError: there is no such file or folder.
      RunError: the archive can't be read, or a batch is missing or damaged.
    """
    check_archive(path)
    parquet_files = find_parquet(path)
    if parquet_files:
        return _read_parquet(path, parquet_files)
    batches = _read_batches(path, layout)
    for batch, split in layout.splits.items():
        if batch not in batches:
            raise RunError(f"{path}: batch {batch} of the {split} split is missing; {_REMEDY}")
    return {
        split: np.concatenate([batches[batch] for batch in names])
        for split, names in layout.batches.items()
    }


def _read_batches(path: Path, layout: ArchiveLayout) -> dict[str, Records]:
    """Return name of a batch (file) -> its records, for a tar archive or its unpacked folder."""
    batch_files = _batches_in_folder if path.is_dir() else _batches_in_tar
    batches: dict[str, Records] = {}
    try:
        for file_name, content in batch_files(path, layout):
            batches[file_name.removesuffix(".bin")] = _parse_batch(file_name, content, layout)
    except tar.RefusedTarError as error:
        raise RunError(f"{path}: {error}; {_REMEDY}") from None
    except Exception as error:  # a hostile or damaged archive can raise anything
        raise RunError(f"{path}: {first_line(error)}; {_REMEDY}") from error
    return batches


def _parse_batch(file_name: str, content: bytes, layout: ArchiveLayout) -> Records:
    parse = _parse_binary if file_name.endswith(".bin") else _parse_pickle
    try:
        return parse(content, layout)
    except Exception as error:  # a hostile or damaged pickle can raise anything
        raise ValueError(f"{file_name} is damaged: {first_line(error)}") from error


def _read_parquet(path: Path, files: Sequence[Path]) -> dict[str, Records]:
    splits, class_names = read_parquet(path, files)
    if splits.keys() != {*SPLITS} or len(class_names) > 256:
        raise RunError(
            f"{path}: the parquet files are not those of CIFAR; give the folder that has both the "
            "training and the test file"
        )
    return splits


def check_archive(path: Path) -> None:
    """Check that an archive, packed or unpacked, exists.

    Raises:
      UsageError: there is no such file or folder.
      RunError: the path is neither a file nor a folder.
    """
    if not path.exists():
        raise UsageError(f"--archive {path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise RunError(f"--archive {path}: neither a file nor a folder; give the archive itself")


def _batches_in_folder(path: Path, layout: ArchiveLayout) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and content of each CIFAR batch in an unpacked archive.

    The files lie in the folder itself, or in the subfolder that the archive unpacks to.
    """
    subfolders = [path / name for name in layout.folders]
    folder = next((subfolder for subfolder in subfolders if subfolder.is_dir()), path)
    for batch in layout.splits:
        files = [folder / f"{batch}.bin", folder / batch]
        file = next((file for file in files if file.is_file()), None)
        if file is not None:
            yield file.name, _read_file(file)


def _read_file(path: Path) -> bytes:
    with open_regular_file(path, follow_links=True) as file:
        content = file.read(_MAX_BATCH_BYTES + 1)
    if len(content) > _MAX_BATCH_BYTES:
        raise ValueError(f"{path.name} is larger than any CIFAR batch")
    return content


def _batches_in_tar(path: Path, layout: ArchiveLayout) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and content of each CIFAR batch in a tar archive, in its order."""
    batches_read = set()
    with open_regular_file(path, follow_links=True) as file:
        for member in tar.files_in_tar(file):
            member_path = PurePosixPath(member.name)
            if member_path.is_absolute() or ".." in member_path.parts:
                raise tar.RefusedTarError(f"the archive has a path that leaves it: {member.name!a}")
            batch = member_path.name.removesuffix(".bin")
            if batch not in layout.splits:
                continue
            if batch in batches_read:
                raise tar.RefusedTarError(f"batch {batch} is in the archive twice")
            if member.size > _MAX_BATCH_BYTES:
                raise tar.RefusedTarError(f"batch {batch} is larger than any CIFAR batch")
            batches_read.add(batch)
            yield member_path.name, member.read()


def _parse_binary(content: bytes, layout: ArchiveLayout) -> np.ndarray:
    """Return the records in a file of the binary archive; each keeps only its last label byte."""
    record_length = layout.label_bytes + PIXEL_BYTES
    if not content or len(content) % record_length:
        raise ValueError(
            f"{len(content)} bytes are not a multiple of {record_length}, the size of a record"
        )
    archive_records = np.frombuffer(content, np.uint8).reshape(-1, record_length)
    last_label_byte = layout.label_bytes - 1
    return archive_records[:, last_label_byte:]


def _parse_pickle(content: bytes, layout: ArchiveLayout) -> np.ndarray:
    batch = plain_pickle.load(content)
    if not isinstance(batch, dict):
        raise ValueError("the pickle is not a dictionary")
    values: dict[Any, Any] = {}
    for key, value in batch.items():
        text_key = key.decode() if isinstance(key, bytes) else key
        values[text_key] = value
    pickled_pixels = values.get("data")
    labels = values.get(layout.label_key)
    if not isinstance(pickled_pixels, plain_pickle.PickledArray) or not isinstance(labels, list):
        raise ValueError(f"the array 'data' or the list '{layout.label_key}' is missing")
    pixels = pickled_pixels.to_numpy()
    if pixels.shape != (len(labels), PIXEL_BYTES):
        raise ValueError(f"'data' has shape {pixels.shape}, but there are {len(labels)} labels")
    if not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise ValueError(f"'{layout.label_key}' has values that are not integers from 0 to 255")
    label_bytes = np.array(labels, np.uint8)[:, None]
    return np.concatenate([label_bytes, pixels], axis=1)
