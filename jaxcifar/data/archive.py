"""The CIFARs as people have them: the binary or the python archive, packed or unpacked.

An archive is untrusted input. Nothing is ever extracted to disk: members are read in memory by
name, with a limit on their size, and pickles are taken apart by `plain_pickle`.
"""

import dataclasses
from collections.abc import Callable, Iterator, Mapping
from functools import partial
from pathlib import Path, PurePosixPath

import numpy as np

from jaxcifar.data import plain_pickle, tar
from jaxcifar.data.records import PIXEL_BYTES, Records
from jaxcifar.errors import RunError, UsageError, first_line
from jaxcifar.machine.reading import open_regular_file

_MAX_BATCH_BYTES = 160 * 2**20  # the largest batch, CIFAR-100's training images, has 155 MB


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


def read_archive(path: Path, form: Form) -> dict[str, Records]:
    """Read the records of both splits, in the order of the archive.

    Args:
      path: a tar archive (compressed or not) or the folder that it unpacks to, holding the
        batches of the binary or of the python version.
      form: what the data set's archives hold.

    Returns:
      split name -> its records; only as complete as the source says it is, so check the
      content.

    Raises:
      RunError: the source can't be read, or a batch of a split is missing or damaged.
    """
    check_archive(path)
    split_of = form.split_of
    batches: dict[str, Records] = {}
    problems: dict[str, str] = {}  # batch -> what is wrong with it
    broken = ""
    try:
        for name, read in (_folder if path.is_dir() else _tar)(path, form):
            batch = name.removesuffix(".bin")
            parse = _parse_binary if name.endswith(".bin") else _parse_pickle
            try:
                batches[batch] = parse(read(), form)
            except (tar.BrokenTarError, tar.RefusedTarError):
                raise
            except Exception as error:  # a hostile or damaged pickle can raise anything
                problems[batch] = f"{name} is damaged ({first_line(error)})"
    except tar.BrokenTarError as error:
        broken = f"{path}: {error}; fetch the archive again"
    except tar.RefusedTarError as error:
        raise RunError(f"{path}: refused: {error}") from None
    missing = [batch for batch in split_of if batch not in batches]
    if broken and missing:
        raise RunError(broken)
    if missing:
        first = problems.get(missing[0], f"{missing[0]} is missing")
        wrong = [split for split in form.batches if any(split_of[b] == split for b in missing)]
        raise RunError(f"{path}: {_splits(wrong)} wrong: {first}; fetch the archive again")
    return {
        split: np.concatenate([batches[batch] for batch in names])
        for split, names in form.batches.items()
    }


def check_archive(path: Path) -> None:
    """See whether an archive is there, before anything is made for its content.

    Raises:
      UsageError: there is nothing.
      RunError: it is neither a file nor a folder.
    """
    if not path.exists():
        raise UsageError(f"--archive {path}: no such file or folder")
    if not (path.is_file() or path.is_dir()):
        raise RunError(f"--archive {path}: neither a file nor a folder; give the archive itself")


def _splits(names: list[str]) -> str:
    return f"{' and '.join(names)} split{'s are' if len(names) > 1 else ' is'}"


Batches = Iterator[tuple[str, Callable[[], bytes]]]


def _folder(path: Path, form: Form) -> Batches:
    """Batches in a folder, or in the one folder inside it that the archive makes."""
    inner = [path / name for name in form.folders]
    root = next((folder for folder in inner if folder.is_dir()), path)
    for batch in form.split_of:
        for file in (root / f"{batch}.bin", root / batch):
            if file.is_file():
                yield file.name, partial(_read_file, file)
                break


def _read_file(path: Path) -> bytes:
    with open_regular_file(path, follow=True) as file:
        content = file.read(_MAX_BATCH_BYTES + 1)
    if len(content) > _MAX_BATCH_BYTES:
        raise ValueError("larger than any batch of a CIFAR")
    return content


def _tar(path: Path, form: Form) -> Batches:
    """Batches in a tar file, in its order."""
    seen = set()
    try:
        with open_regular_file(path, follow=True) as file:
            for member in tar.members(file):
                parts = PurePosixPath(member.name).parts
                if member.name.startswith("/") or ".." in parts:
                    raise tar.RefusedTarError(
                        f"member {member.name!a} would land outside the folder"
                    )
                name = parts[-1] if parts else ""
                batch = name.removesuffix(".bin")
                if member.is_folder or batch not in form.split_of:
                    continue
                if batch in seen or member.size > _MAX_BATCH_BYTES:
                    problem = "there twice" if batch in seen else "larger than any batch of a CIFAR"
                    raise tar.RefusedTarError(f"{batch} is {problem}")
                seen.add(batch)
                yield name, member.read
    except (OSError, ValueError) as error:
        raise tar.BrokenTarError(f"can't be read ({first_line(error)})") from error


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
    if not isinstance(pixels, plain_pickle.PickledArray) or not isinstance(labels, list):
        raise ValueError(f"lacks the array 'data' or the list '{form.label_key}'")
    data = pixels.to_numpy()
    if data.shape != (len(labels), PIXEL_BYTES):
        raise ValueError(f"'data' has shape {data.shape} for {len(labels)} labels")
    if not all(type(label) is int and 0 <= label <= 255 for label in labels):
        raise ValueError(f"'{form.label_key}' has something other than whole numbers below 256")
    return np.concatenate([np.array(labels, np.uint8)[:, None], data], axis=1)
