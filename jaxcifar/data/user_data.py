"""Data of one's own, a folder of images by class or an `.npz`: prepared once, then cached."""

import hashlib
import os
import re
from collections.abc import Callable
from pathlib import Path
from typing import NamedTuple

from jaxcifar.data import records as rec
from jaxcifar.data.catalog import CATALOG
from jaxcifar.data.decode import read_folder
from jaxcifar.data.image_folder import ImageFolder
from jaxcifar.data.manifest import Manifest
from jaxcifar.data.user_npz import read_npz
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.paths import expand_home, require_image_path


class Prepared(NamedTuple):
    """Sorted records of both splits, and the names of their classes."""

    records: dict[str, rec.Records]
    manifest: Manifest


def own_title(path: str) -> str:
    """What plots and reports call it: the folder's or file's name, never that of another set."""
    title = _absolute(path).name or "images"
    return f"{title} (own images)" if is_taken(title.removesuffix(".npz")) else title


def own_name(path: str) -> str:
    """The title as part of a file's name."""
    title = own_title(path).removesuffix(".npz")
    return re.sub(r"[^\w.-]+", "-", title, flags=re.ASCII).strip("-.")[:60] or "images"


def is_taken(name: str) -> bool:
    """Whether a name would pass for a data set of the catalogue."""
    taken = {_letters(text) for entry in CATALOG.values() for text in (entry.name, entry.title)}
    return _letters(name) in taken


def load_own(name: str, data_dir: Path, say: Callable[[str], None] = print) -> Prepared:
    """Data of one's own, prepared first if they are not or have changed.

    Args:
      name: path of a folder (`train/CLASS/*` and `test/CLASS/*`, or `CLASS/*`) or of an `.npz`
        (`x_train y_train x_test y_test`).
      data_dir: where the records are kept.
      say: told, a line at a time, what takes a while and what is left out.

    Raises:
      UsageError: there is no such folder or file.
      RunError: something in it can't be read, or `data_dir` can't be written.
    """
    path = _absolute(name)
    _check_path(name, path, data_dir)
    folder = ImageFolder.listed(path) if path.is_dir() else None
    source = folder.digest if folder else _file_digest(path)
    cache = data_dir / "own" / f"{own_name(name)}-{_digest(os.fsencode(path))[:12]}"
    if (cached := _read_cache(cache, source)) is not None:
        return cached
    try:
        with lock_folder(cache):
            if (cached := _read_cache(cache, source)) is not None:
                return cached  # another process was faster
            say(f"Preparing {own_title(name)} in {cache}, once; large images take a while.")
            if folder:
                records, class_names = read_folder(folder, say), folder.class_names
            else:
                records, class_names = read_npz(path.resolve(), say)
            manifest = Manifest.of(records, class_names, source)
            rec.write_cache(cache, records)
            manifest.write(cache)
            return Prepared(records, manifest)
    except OSError as error:
        raise RunError(
            f"{data_dir}: can't be written ({error.strerror or error}); make room, or choose "
            "another folder with --data-dir or TFDS_DATA_DIR"
        ) from error


def _check_path(name: str, path: Path, data_dir: Path) -> None:
    require_image_path(name)
    if path.is_dir() and data_dir.resolve().is_relative_to(path.resolve()):
        raise UsageError(f"--data-dir {data_dir}: lies inside the images; choose another folder")


def _read_cache(cache: Path, source: str) -> Prepared | None:
    manifest = Manifest.read(cache)
    if manifest is None or manifest.source != source:
        return None
    records = rec.read_cache(cache, manifest.fingerprints)
    return None if records is None else Prepared(records, manifest)


def _absolute(path: str) -> Path:
    return Path(os.path.abspath(expand_home(path)))  # noqa: PTH100 (follows no links)


def _file_digest(path: Path) -> str:
    status = path.stat()
    return _digest(repr((path.name, status.st_size, status.st_mtime_ns)).encode())


def _digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _letters(text: str) -> str:
    return re.sub("[^a-z0-9]", "", text.lower())
