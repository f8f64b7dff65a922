"""CIFAR-10 as people have it: the binary or the python archive, packed or unpacked.

An archive is untrusted input. Nothing is ever extracted to disk: members are read in memory by
name, with a limit on their size, and pickles are taken apart by an unpickler that knows only
containers, strings, numbers and plain byte arrays.
"""

import io
import pickle
import tarfile
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import Any, BinaryIO, ClassVar

import numpy as np

from jaxcifar.data.records import RECORD_BYTES
from jaxcifar.errors import RunError

BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "test": ("test_batch",),
}
_SPLIT_OF = {batch: split for split, batches in BATCHES.items() for batch in batches}
_MAX_BATCH_BYTES = 64 * 2**20  # a batch is 31 MB in either form
_MAX_ARCHIVE_BYTES = 2**30  # all members together; the real archives hold 186 MB
_BROKEN_TAR = (tarfile.TarError, EOFError, zlib.error, OSError)


def read_archive(path: Path) -> dict[str, np.ndarray]:
    """Read the records of both splits, in the order of the archive.

    Args:
      path: a tar archive (compressed or not) or the folder that it unpacks to, holding the
        batches of the binary or of the python version of CIFAR-10.

    Returns:
      split name -> `[N, 3073] uint8`; only as complete as the source says it is, so compare the
      fingerprint.

    Raises:
      RunError: the source can't be read, or a batch of a split is missing or damaged.
    """
    if not path.exists():
        raise RunError(f"--archive {path}: no such file or folder")
    batches: dict[str, np.ndarray] = {}
    problems: dict[str, str] = {}  # batch -> what is wrong with it
    members, ending = (_folder if path.is_dir() else _tar)(path)
    for name, read in members:
        batch = name.removesuffix(".bin")
        try:
            parse = _parse_binary if name.endswith(".bin") else _parse_pickle
            batches[batch] = parse(read())
        except _BROKEN_TAR as error:
            problems[batch] = f"{name} can't be read ({error})"
            break  # the rest of a broken stream is lost too
        except Exception as error:  # a hostile or damaged pickle can raise anything
            problems[batch] = f"{name} is damaged ({error})"
    for batch in _SPLIT_OF:
        if batch not in batches:
            problems.setdefault(batch, f"{batch} is missing{ending()}")
    if problems:
        wrong = [split for split in BATCHES if any(_SPLIT_OF[b] == split for b in problems)]
        first = next(problems[batch] for batch in _SPLIT_OF if batch in problems)
        raise RunError(f"{path}: {_splits(wrong)} wrong: {first}")
    return {split: np.concatenate([batches[b] for b in names]) for split, names in BATCHES.items()}


def _splits(names: list[str]) -> str:
    return f"{' and '.join(names)} split{'s are' if len(names) > 1 else ' is'}"


Members = Iterator[tuple[str, Callable[[], bytes]]]


def _folder(path: Path) -> tuple[Members, Callable[[], str]]:
    """Batches in a folder, or in the one folder inside it that the archive makes."""
    inner = [path / "cifar-10-batches-bin", path / "cifar-10-batches-py"]
    root = next((folder for folder in inner if folder.is_dir()), path)

    def members() -> Members:
        for batch in _SPLIT_OF:
            for file in (root / f"{batch}.bin", root / batch):
                if file.is_file():
                    yield file.name, lambda file=file: _read_limited(file.open("rb"))
                    break

    return members(), lambda: ""


def _tar(path: Path) -> tuple[Members, Callable[[], str]]:
    """Batches in a tar file, in stream order; the second result says how the stream ended."""
    ending = ""

    def members() -> Members:
        nonlocal ending
        total = 0
        try:
            with tarfile.open(path, "r:*") as tar:
                for member in tar:
                    total += member.size
                    _check_member(path, member, total)
                    name = PurePosixPath(member.name).name
                    if member.isfile() and name.removesuffix(".bin") in _SPLIT_OF:
                        yield name, lambda member=member: _read_limited(tar.extractfile(member))
        except _BROKEN_TAR as error:
            ending = f" (the archive is truncated, damaged or no tar file: {error})"

    return members(), lambda: ending


def _check_member(path: Path, member: tarfile.TarInfo, total: int) -> None:
    """Refuse what an honest CIFAR-10 archive never holds."""
    parts = PurePosixPath(member.name).parts
    if member.name.startswith("/") or ".." in parts:
        raise RunError(f"{path}: refused: member {member.name!r} would land outside the folder")
    if not (member.isfile() or member.isdir()):
        raise RunError(f"{path}: refused: member {member.name!r} is a link or a device")
    if total > _MAX_ARCHIVE_BYTES:
        raise RunError(f"{path}: refused: it unpacks to more than 1 GiB; CIFAR-10 has 186 MB")


def _read_limited(file: BinaryIO | None) -> bytes:
    assert file is not None  # only regular files get here
    with file:
        content = file.read(_MAX_BATCH_BYTES + 1)
    if len(content) > _MAX_BATCH_BYTES:
        raise ValueError("far larger than a batch of CIFAR-10")
    return content


def _parse_binary(content: bytes) -> np.ndarray:
    if not content or len(content) % RECORD_BYTES:
        raise ValueError(f"{len(content)} bytes are no whole number of {RECORD_BYTES}-byte records")
    return np.frombuffer(content, np.uint8).reshape(-1, RECORD_BYTES)


def _parse_pickle(content: bytes) -> np.ndarray:
    batch = _PlainUnpickler(io.BytesIO(content), encoding="bytes").load()
    if not isinstance(batch, dict):
        raise ValueError("holds no dictionary")
    batch = {k.decode() if isinstance(k, bytes) else k: v for k, v in batch.items()}
    pixels, labels = batch.get("data"), batch.get("labels")
    if not isinstance(pixels, _Array) or not isinstance(labels, list):
        raise ValueError("lacks the array 'data' or the list 'labels'")
    data = pixels.to_numpy()
    if data.shape != (len(labels), RECORD_BYTES - 1):
        raise ValueError(f"'data' has shape {data.shape} for {len(labels)} labels")
    return np.concatenate([np.asarray(labels, np.uint8)[:, None], data], axis=1)


class _Dtype:
    """Stands in for `numpy.dtype` in a pickle: remembers the type's code."""

    def __init__(self, code: Any, *_: Any) -> None:
        self.code = code.decode() if isinstance(code, bytes) else code

    def __setstate__(self, state: Any) -> None:
        """Byte order and flags: of no meaning for single bytes."""


class _Array:
    """Stands in for `numpy.ndarray` in a pickle: keeps the state, runs none of NumPy's code."""

    state: Any = None

    def __setstate__(self, state: Any) -> None:
        self.state = state

    def to_numpy(self) -> np.ndarray:
        """The array, if it is one of plain bytes."""
        _version, shape, dtype, fortran_order, content = self.state
        if not isinstance(dtype, _Dtype) or dtype.code != "u1" or not isinstance(content, bytes):
            raise ValueError("'data' is no array of bytes")
        return np.frombuffer(content, np.uint8).reshape(shape, order="F" if fortran_order else "C")


def _latin1_bytes(text: str, encoding: str) -> bytes:
    """What protocol 2 of Python 3 writes for bytes."""
    if encoding != "latin1":
        raise pickle.UnpicklingError(f"encoding {encoding!r} is not admitted")
    return text.encode("latin1")


class _PlainUnpickler(pickle.Unpickler):
    """Admits arrays, lists, dictionaries, strings and numbers; every other name is refused."""

    _ADMITTED: ClassVar[dict[tuple[str, str], Any]] = {
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("numpy.core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("numpy._core.multiarray", "_reconstruct"): lambda *_: _Array(),
        ("_codecs", "encode"): _latin1_bytes,
    }

    def find_class(self, module: str, name: str) -> Any:
        try:
            return self._ADMITTED[module, name]
        except KeyError:
            raise pickle.UnpicklingError(f"{module}.{name} is not admitted") from None
