"""From wherever the data is to records in memory: prepare once, then read a validated cache."""

import contextlib
import io
import os
import shutil
import sys
import threading
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np

from jaxcifar.data import records as rec
from jaxcifar.data.archive import check_archive
from jaxcifar.data.catalog import WAYS_OUT, KnownDataset, cache_folder, check_content
from jaxcifar.data.manifest import Manifest
from jaxcifar.errors import RunError, UsageError
from jaxcifar.machine.files import lock_folder
from jaxcifar.machine.paths import expand_home
from jaxcifar.machine.plain_path import plain_path

_AT_ONCE = 1000  # examples asked of TFDS together take half the time that they take one by one
_NETWORK_SECONDS = 8.0  # TFDS itself would retry for minutes before it gives up
Say = Callable[[str], None]


def default_data_dir() -> Path:
    """Return the folder of data sets by TFDS's own rule: `TFDS_DATA_DIR`, else one in the home.

    Raises:
      UsageError: there is no such home folder.
    """
    path = os.environ.get("TFDS_DATA_DIR") or "~/tensorflow_datasets"
    folder = expand_home(path)
    if folder.parts[:1] and folder.parts[0].startswith("~"):
        raise UsageError(
            f"{folder}: the system knows no such home folder; say where data sets are with "
            "--data-dir or TFDS_DATA_DIR"
        )
    return folder


def load_records(
    entry: KnownDataset, data_dir: Path, archive: Path | None = None, say: Say = print
) -> dict[str, rec.Records]:
    """The sorted records of both splits, prepared first if need be.

    Args:
      entry: which data set, and the fingerprints it must have.
      data_dir: TFDS's data folder; a data set that stock TFDS prepared there is used as it is.
      archive: where to take the images from if they are not prepared yet; without one they are
        downloaded (or, the embedded set, drawn).
      say: told, a line at a time, what takes a while.

    Raises:
      RunError: no network, a source that is not there or not this data set, a prepared data set
        that is damaged or in a format that can't be read here, or a folder that can't be written.
    """
    if archive is not None:
        check_archive(archive)
    cache = cache_folder(entry, data_dir)
    if (cached := _read_cache(cache, entry)) is not None:
        if archive is not None:
            say(f"{entry.title} was prepared before; {archive} is not read.")
        return cached
    if archive is None:
        _require_source(entry, data_dir)  # before any folder is made
    try:
        with lock_folder(data_dir / entry.name):
            if (cached := _read_cache(cache, entry)) is not None:
                return cached  # another process was faster
            with plain_path(data_dir) as plain:  # TFDS takes names in UTF-8 alone
                builder = _builder(entry, plain, archive)
                records = _through_tfds(builder, entry, data_dir, archive, say)
            try:
                rec.write_cache(cache, records)
                if entry.fingerprints is None:
                    Manifest.of(records, entry.class_names).write(cache)
            except OSError as error:
                reason = error.strerror or error
                say(f"{cache}: no cache written ({reason}); the next start decodes again.")
            return records
    except OSError as error:
        raise RunError(
            f"{data_dir}: can't be written ({error.strerror or error}); make room, or choose "
            "another folder with --data-dir or TFDS_DATA_DIR"
        ) from error


def _read_cache(cache: Path, entry: KnownDataset) -> dict[str, rec.Records] | None:
    """The records as they are known to be, or, that not being known, as they were prepared."""
    fingerprints = entry.fingerprints
    if fingerprints is None:
        manifest = Manifest.read(cache)
        if manifest is None or manifest.class_names != entry.class_names:
            return None
        fingerprints = manifest.fingerprints
    return rec.read_cache(cache, fingerprints)


def _builder(entry: KnownDataset, data_dir: Path, archive: Path | None) -> Any:
    from jaxcifar.data.builders import create_builder  # TFDS takes a second to import

    return create_builder(entry, data_dir, archive)


def _through_tfds(
    builder: Any,
    entry: KnownDataset,
    data_dir: Path,
    archive: Path | None,
    say: Say,
) -> dict[str, rec.Records]:
    """Prepare the data set if it is not, and decode it."""
    import tensorflow_datasets as tfds

    if not sys.stderr.isatty():
        tfds.disable_progress_bar()  # in a log file it is a heap of half lines
    if not builder.is_prepared():
        for leftover in (data_dir / entry.name).glob("incomplete.*"):  # of a killed process
            shutil.rmtree(leftover, ignore_errors=True)
        if archive is None and entry.form is not None:
            url = builder.download_url
            say(
                f"Downloading {entry.title} ({builder.url_infos[url].size / 1e6:.0f} MB) from {url}"
            )
        say(f"Preparing {entry.title} in {data_dir}, once; this takes about half a minute.")
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS's account of a download, or of none
            builder.download_and_prepare(file_format="parquet")
    say(f"Decoding {entry.title}, once.")
    return _decode(builder, entry)


def _decode(builder: Any, entry: KnownDataset) -> dict[str, rec.Records]:
    """Read a prepared data set through `tfds.data_source`."""
    written_as = builder.info.file_format.value
    if written_as == "array_record" and not find_spec("array_record"):
        raise RunError(
            f"{builder.data_dir}: prepared as array_record, which takes the package array-record "
            "to read; install it, or choose another folder with --data-dir"
        )
    try:
        sources = builder.as_data_source()
    except NotImplementedError:
        raise RunError(
            f"{builder.data_dir}: prepared as {written_as}, which only TensorFlow reads; choose "
            "another folder with --data-dir, or remove this one"
        ) from None
    records = {}
    for split in rec.SPLITS:
        images = np.empty((len(sources[split]), 32, 32, 3), np.uint8)
        labels = np.empty(len(images), np.uint8)
        for first in range(0, len(images), _AT_ONCE):
            numbers = range(first, min(first + _AT_ONCE, len(images)))
            for i, example in zip(numbers, sources[split].__getitems__(numbers), strict=True):
                images[i], labels[i] = example["image"], example["label"]
        records[split] = rec.sort(rec.pack(images, labels))
    check_content(records, entry, source=builder.data_dir)
    return records


def _require_source(entry: KnownDataset, data_dir: Path) -> None:
    """See that the data set is prepared, drawn, or within reach.

    Raises:
      RunError: there is no network.
    """
    if entry.form is None:
        return
    with plain_path(data_dir) as plain:
        builder = _builder(entry, plain, None)
        if not builder.is_prepared():
            _require_network(builder.download_url)


def _require_network(url: str) -> None:
    """Ask the server for the headers of `url`, with a firm limit on the time that may take.

    Raises:
      RunError: it does not answer; the message names the ways out.
    """
    import requests

    problem: list[str] = ["no answer"]

    def ask() -> None:
        try:
            requests.head(url, timeout=_NETWORK_SECONDS, allow_redirects=True).raise_for_status()
            problem.clear()
        except requests.RequestException as error:
            problem[:] = [type(error).__name__]

    # A thread, because the time that a name look-up takes can't be limited otherwise.
    asking = threading.Thread(target=ask, daemon=True)
    asking.start()
    asking.join(_NETWORK_SECONDS)
    if problem:
        raise RunError(f"no network: {url} can't be reached ({problem[0]}); {WAYS_OUT}")
