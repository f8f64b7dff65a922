"""The CIFARs as people have them: the binary or the python archive, packed or unpacked.

An archive is untrusted input. Nothing is ever extracted to disk: members are read in memory by
name, with a limit on their size, and pickles are taken apart by `plain_pickle`.
"""

import dataclasses
import tarfile
import zlib
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path, PurePosixPath
from typing import BinaryIO

import numpy as np

from jaxcifar.data import plain_pickle
from jaxcifar.data.records import PIXEL_BYTES
from jaxcifar.errors import RunError, first_line

_MAX_BATCH_BYTES = 2**28  # the largest batch, CIFAR-100's training images, is 154 MB
_MAX_ARCHIVE_BYTES = 2**30  # all members together; the real archives hold 186 MB
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, OSError)


@dataclasses.dataclass(frozen=True)
class Form:
    """What the archives of a data set hold.

    Attributes:
      folders: what the binary and the python archive unpack to.
      batches: split -> its batches; in the binary archive their names end in `.bin`.
      label_bytes: label bytes before the pixels of a binary record, of which the last counts.
      label_key: of the list of labels in a python batch.
    """

    folders: tuple[str, str]
    batches: Mapping[str, tuple[str, ...]]
    label_bytes: int
    label_key: str

    @property
    def split_of(self) -> dict[str, str]:
        """Batch -> split, in the order in which they are read."""
        return {batch: split for split, names in self.batches.items() for batch in names}


CIFAR10_FORM = Form(
    folders=("cifar-10-batches-bin", "cifar-10-batches-py"),
    batches={
        "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
        "test": ("test_batch",),
    },
    label_bytes=1,
    label_key="labels",
)

CIFAR100_FORM = Form(
    folders=("cifar-100-binary", "cifar-100-python"),
    batches={"train": ("train",), "test": ("test",)},
    label_bytes=2,  # coarse and fine
    label_key="fine_labels",
)


def read_archive(path: Path, form: Form) -> dict[str, np.ndarray]:
    """Read the records of both splits, in the order of the archive.

    Args:
      path: a tar archive (compressed or not) or the folder that it unpacks to, holding the
        batches of the binary or of the python version.
      form: what the data set's archives hold.

    Returns:
      split name -> `[N, 3073] uint8`; only as complete as the source says it is, so check the
      content.

    Raises:
      RunError: the source can't be read, or a batch of a split is missing or damaged.
    """
    check_archive(path)
    split_of = form.split_of
    batches: dict[str, np.ndarray] = {}
    problems: dict[str, str] = {}  # batch -> what is wrong with it
    members, ending = (_folder if path.is_dir() else _tar)(path, form)
    for name, read in members:
        batch = name.removesuffix(".bin")
        try:
            parse = _parse_binary if name.endswith(".bin") else _parse_pickle
            batches[batch] = parse(read(), form)
        except _BROKEN_TAR as error:
            problems[batch] = f"{name} can't be read ({first_line(error)})"
            break  # the rest of a broken stream is lost too
        except Exception as error:  # a hostile or damaged pickle can raise anything
            problems[batch] = f"{name} is damaged ({first_line(error)})"
    for batch in split_of:
        if batch not in batches:
            problems.setdefault(batch, f"{batch} is missing{ending()}")
    if problems:
        wrong = [split for split in form.batches if any(split_of[b] == split for b in problems)]
        first = next(problems[batch] for batch in split_of if batch in problems)
        raise RunError(f"{path}: {_splits(wrong)} wrong: {first}")
    return {
        split: np.concatenate([batches[batch] for batch in names])
        for split, names in form.batches.items()
    }


def check_archive(path: Path) -> None:
    """See whether an archive is there, before anything is made for its content.

    Raises:
      RunError: it is neither a file nor a folder.
    """
    if not path.exists():
        raise RunError(f"--archive {path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise RunError(f"--archive {path}: neither a file nor a folder; give the archive itself")


def _splits(names: list[str]) -> str:
    return f"{' and '.join(names)} split{'s are' if len(names) > 1 else ' is'}"


Members = Iterator[tuple[str, Callable[[], bytes]]]


def _folder(path: Path, form: Form) -> tuple[Members, Callable[[], str]]:
    """Batches in a folder, or in the one folder inside it that the archive makes."""
    inner = [path / name for name in form.folders]
    root = next((folder for folder in inner if folder.is_dir()), path)

    def members() -> Members:
        for batch in form.split_of:
            for file in (root / f"{batch}.bin", root / batch):
                if file.is_file():
                    yield file.name, lambda file=file: _read_limited(file.open("rb"))
                    break

    return members(), lambda: ""


def _tar(path: Path, form: Form) -> tuple[Members, Callable[[], str]]:
    """Batches in a tar file, in stream order; the second result says how the stream ended."""
    ending = ""
    wanted = form.split_of

    def members() -> Members:
        nonlocal ending
        total = 0
        try:
            with tarfile.open(path, "r:*") as tar:
                for member in tar:
                    total += member.size
                    _check_member(path, member, total)
                    name = PurePosixPath(member.name).name
                    if member.isfile() and name.removesuffix(".bin") in wanted:
                        yield name, lambda member=member: _read_limited(tar.extractfile(member))
        except _BROKEN_TAR as error:
            ending = f" (the archive is truncated, damaged or no tar file: {first_line(error)})"

    return members(), lambda: ending


def _check_member(path: Path, member: tarfile.TarInfo, total: int) -> None:
    """Refuse what an honest archive never holds."""
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise RunError(f"{path}: refused: member {member.name!r} would land outside the folder")
    if not (member.isfile() or member.isdir()):
        raise RunError(f"{path}: refused: member {member.name!r} is a link or a device")
    if total > _MAX_ARCHIVE_BYTES:
        raise RunError(f"{path}: refused: it unpacks to more than 1 GiB; a CIFAR has 186 MB")


def _read_limited(file: BinaryIO | None) -> bytes:
    assert file is not None  # only regular files get here
    with file:
        content = file.read(_MAX_BATCH_BYTES + 1)
    if len(content) > _MAX_BATCH_BYTES:
        raise ValueError("far larger than a batch of a CIFAR")
    return content


def _parse_binary(content: bytes, form: Form) -> np.ndarray:
    size = form.label_bytes + PIXEL_BYTES
    if not content or len(content) % size:
        raise ValueError(f"{len(content)} bytes are no whole number of {size}-byte records")
    return np.frombuffer(content, np.uint8).reshape(-1, size)[:, form.label_bytes - 1 :]


def _parse_pickle(content: bytes, form: Form) -> np.ndarray:
    batch = plain_pickle.load(content)
    if not isinstance(batch, dict):
        raise ValueError("holds no dictionary")
    batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
    pixels, labels = batch.get("data"), batch.get(form.label_key)
    if not isinstance(pixels, plain_pickle.Array) or not isinstance(labels, list):
        raise ValueError(f"lacks the array 'data' or the list '{form.label_key}'")
    data = pixels.to_numpy()
    if data.shape != (len(labels), PIXEL_BYTES):
        raise ValueError(f"'data' has shape {data.shape} for {len(labels)} labels")
    return np.concatenate([np.asarray(labels, np.uint8)[:, None], data], axis=1)
