"""Read CIFAR-10 and CIFAR-100 from archives: their authors', or Hugging Face's parquet files.

Archives can come from anywhere, so they are not trusted. Nothing is extracted to disk: members are
read into memory by name, with a limit on their size, and `plain_pickle` reads pickles.
"""

import dataclasses
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path, PurePosixPath

import numpy as np

from jaxcifar.data import plain_pickle, tar
from jaxcifar.data.archive_errors import ARCHIVE_ADVICE, RefusedArchiveError
from jaxcifar.data.binary_records import ONE_BYTE_CLASSES, PIXEL_BYTES, SPLITS, Records
from jaxcifar.data.parquet import read_parquet
from jaxcifar.data.parquet_files import find_parquet_files
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file

_MAX_BATCH_BYTES = 160 * 2**20  # the largest batch is CIFAR-100's training images, 155 MB


@dataclasses.dataclass(frozen=True)
class ArchiveLayout:
    """The layout of a data set's archives.

    Attributes:
      top_folders: top folder in the binary archive, and in the Python archive.
      batches_of_split: split -> names of its files, called batches. In the binary archive the names
        end in `.bin`.
      label_byte_count: number of label bytes of an image in the binary archive. The last byte is
        the label.
      label_key: key of the labels in a batch of the Python archive.
    """

    top_folders: tuple[str, str]
    batches_of_split: Mapping[str, tuple[str, ...]]
    label_byte_count: int
    label_key: str

    @property
    def split_of_batch(self) -> dict[str, str]:
        """Name of each batch (file of the archive) -> its split, "train" or "test"."""
        split_of_batch: dict[str, str] = {}
        for split, batch_names in self.batches_of_split.items():
            split_of_batch |= dict.fromkeys(batch_names, split)
        return split_of_batch


CIFAR10_LAYOUT = ArchiveLayout(
    top_folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    batches_of_split={
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    },
    label_byte_count=1,
    label_key="labels",
)

CIFAR100_LAYOUT = ArchiveLayout(
    top_folders=("cifar-100-binary", "cifar-100-python"),
    batches_of_split={"train": ("train",), "test": ("test",)},
    label_byte_count=2,  # coarse and fine
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
    parquet_files = find_parquet_files(path)
    if parquet_files:
        return _read_parquet_files(path, parquet_files)
    records_of_batch = _read_batches(path, layout)
    return {
        split: np.concatenate([records_of_batch[batch] for batch in batch_names])
        for split, batch_names in layout.batches_of_split.items()
    }


def _read_batches(path: Path, layout: ArchiveLayout) -> dict[str, Records]:
    """Return the records of each batch (a file of the archive), by the name of the batch.

    `path` is a tar archive, or the folder of its unpacked files.

    Raises:
      RunError: the archive can't be read, or a batch is missing or damaged.
    """
    read_files = _read_batches_in_folder if path.is_dir() else _read_batches_in_tar
    records_of_batch: dict[str, Records] = {}
    try:
        for file_name, content in read_files(path, layout):
            batch = file_name.removesuffix(".bin")
            records_of_batch[batch] = _parse_batch(file_name, content, layout)
        for batch, split in layout.split_of_batch.items():
            if batch not in records_of_batch:
                raise RefusedArchiveError(f"batch {batch} of the {split} split is missing")
    except Exception as error:  # a hostile or damaged archive can raise anything
        raise RunError(f"{path}: {first_line(error)}; {ARCHIVE_ADVICE}") from error
    return records_of_batch


def _parse_batch(file_name: str, content: bytes, layout: ArchiveLayout) -> Records:
    is_binary = file_name.endswith(".bin")
    parse = _parse_binary_batch if is_binary else _parse_pickled_batch
    try:
        return parse(content, layout)
    except Exception as error:  # a hostile or damaged pickle can raise anything
        raise RefusedArchiveError(f"{file_name} is damaged: {first_line(error)}") from error


def _read_parquet_files(path: Path, files: Sequence[Path]) -> dict[str, Records]:
    records_of_split, class_names = read_parquet(path, files)
    has_both_splits = records_of_split.keys() == {*SPLITS}
    if not has_both_splits or len(class_names) > ONE_BYTE_CLASSES:
        raise RunError(
            f"{path}: the parquet files are not those of CIFAR; give the folder that has both the "
            "training and the test file"
        )
    return records_of_split


def check_archive(path: Path) -> None:
    """Check that an archive, packed or unpacked, exists.

    Raises:
      UsageError: there is no such file or folder.
      RunError: the path is neither a file nor a folder.
    """
    if not path.exists():
        raise UsageError(f"--archive {path}: no such file or folder; give a CIFAR archive")
    if not (path.is_file() or path.is_dir()):
        raise RunError(f"--archive {path}: neither a file nor a folder; give the archive itself")


def _read_batches_in_folder(path: Path, layout: ArchiveLayout) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and content of each CIFAR batch in an unpacked archive.

    The files lie in the folder itself, or in the subfolder that the archive unpacks to.
    """
    subfolders = [path / name for name in layout.top_folders]
    batch_folder = next((subfolder for subfolder in subfolders if subfolder.is_dir()), path)
    for batch in layout.split_of_batch:
        possible_files = [batch_folder / f"{batch}.bin", batch_folder / batch]
        file = next((file for file in possible_files if file.is_file()), None)
        if file is not None:
            yield file.name, _read_batch_file(file)


def _read_batch_file(path: Path) -> bytes:
    with open_regular_file(path, follow_links=True) as file:
        content = file.read(_MAX_BATCH_BYTES + 1)
    if len(content) > _MAX_BATCH_BYTES:
        raise RefusedArchiveError(f"{path.name} is larger than any CIFAR batch")
    return content


def _read_batches_in_tar(path: Path, layout: ArchiveLayout) -> Iterator[tuple[str, bytes]]:
    """Yield the file name and content of each CIFAR batch in a tar archive, in its order."""
    names_of_read_batches = set()
    with open_regular_file(path, follow_links=True) as file:
        for member in tar.read_tar_members(file):
            member_path = PurePosixPath(member.name)
            if member_path.is_absolute() or ".." in member_path.parts:
                raise RefusedArchiveError(
                    f"the archive names a file outside of its own folder: {member.name!a}"
                )
            batch = member_path.name.removesuffix(".bin")
            if batch not in layout.split_of_batch:
                continue
            if batch in names_of_read_batches:
                raise RefusedArchiveError(f"batch {batch} is in the archive twice")
            if member.byte_count > _MAX_BATCH_BYTES:
                raise RefusedArchiveError(f"batch {batch} is larger than any CIFAR batch")
            names_of_read_batches.add(batch)
            yield member_path.name, member.read()


def _parse_binary_batch(content: bytes, layout: ArchiveLayout) -> np.ndarray:
    """Return the records in a file of the binary archive: rows of one label byte and pixel bytes.

    CIFAR-100 has two label bytes for each image; only the second one, the fine class, is kept.
    """
    record_length = layout.label_byte_count + PIXEL_BYTES
    if not content or len(content) % record_length:
        raise RefusedArchiveError(
            f"its {len(content)} bytes are not a multiple of {record_length}, the size of a record"
        )
    archive_records = np.frombuffer(content, np.uint8).reshape(-1, record_length)
    last_label_byte = layout.label_byte_count - 1
    return archive_records[:, last_label_byte:]


def _parse_pickled_batch(content: bytes, layout: ArchiveLayout) -> np.ndarray:
    batch = plain_pickle.load_pickle(content)
    if not isinstance(batch, dict):
        raise RefusedArchiveError("the pickle is not a dictionary")
    batch = _decode_keys(batch)
    pickled_pixels = batch.get("data")
    labels = batch.get(layout.label_key)
    if not isinstance(pickled_pixels, plain_pickle.PickledArray):
        raise RefusedArchiveError("the array 'data' is missing")
    if not isinstance(labels, list):
        raise RefusedArchiveError(f"the list '{layout.label_key}' is missing")
    pixels = pickled_pixels.to_numpy()
    if pixels.shape != (len(labels), PIXEL_BYTES):
        raise RefusedArchiveError(
            f"the array 'data' has shape {pixels.shape}, but there are {len(labels)} labels"
        )
    if not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise RefusedArchiveError(
            f"the list '{layout.label_key}' has values that are not integers from 0 to 255"
        )
    label_column = np.array(labels, np.uint8)[:, None]
    return np.concatenate([label_column, pixels], axis=1)


def _decode_keys(batch: dict) -> dict:
    """Return a pickled dictionary with keys of type `str`; those of CIFAR's archives are bytes."""
    return {key.decode() if isinstance(key, bytes) else key: value for key, value in batch.items()}
