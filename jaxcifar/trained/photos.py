"""Find image files and read them."""

import os
import warnings
from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxcifar.data.arrays import MAX_IMAGES
from jaxcifar.data.decode import MAX_THREADS
from jaxcifar.data.folder_listing import IGNORED_NAMES
from jaxcifar.data.images import read_image
from jaxcifar.errors import UsageError
from jaxcifar.image_size import IMAGE_SIZE, image_shape

MAX_FILES = MAX_IMAGES
_FILES_IN_BLOCK = 64  # files that a thread reads at a time
_LEFT_OUT = "left out: "  # beginning of the remark on a file that can't be read


class Photos(NamedTuple):
    """Images that were read from files or arrays, and their names.

    Attributes:
      names: path of each image's file; the number from 0 of an image without a file.
      pixels: the images in the size that the network takes, `[N, size, size, 3] uint8`.
      remarks: one line for each file that was left out or only read in part.
      left_out: number of files that were left out because they can't be read.
    """

    names: list[str]
    pixels: np.ndarray
    remarks: list[str]
    left_out: int = 0


class _ImageFile(NamedTuple):
    """The path of an image file, and whether the file was found in a folder that the user named."""

    path: Path
    is_in_folder: bool


def read_photos(paths: Sequence[Path], size: int = IMAGE_SIZE) -> Photos:
    """Read image files, and all image files in folders; see `read_photos_in_sizes`.

    `size` is the height and width to which the images are resized.
    """
    return read_photos_in_sizes(paths, {size})[size]


def read_photos_in_sizes(paths: Sequence[Path], sizes: Collection[int]) -> dict[int, Photos]:
    """Read image files, and all image files in folders and their subfolders; return the images.

    Files that can't be read are left out. Hidden files are ignored. A symbolic link is followed if
    it is one of `paths`, but not if it lies in a folder.

    Args:
      paths: image files and folders.
      sizes: the heights and widths to which each image is resized, after it is cropped to a square.

    Returns:
      size -> the images in this size. The files are the same for all sizes.

    Raises:
      UsageError: a folder has no images, no file can be read, or there are more than `MAX_FILES`
        files.
    """
    files = _find_files(paths)
    pixels_of_size = {size: np.empty((len(files), *image_shape(size)), np.uint8) for size in sizes}
    remarks: list[str | None] = [None] * len(files)
    is_read = np.zeros(len(files), bool)

    def read_block(start: int) -> None:
        end = min(start + _FILES_IN_BLOCK, len(files))
        for number in range(start, end):
            file = files[number]
            try:
                path = _path_to_open(file)
                for size, pixels in pixels_of_size.items():
                    image = read_image(path, size)  # resizing twice would blur the image
                    pixels[number] = image.pixels
            except ValueError as error:
                remarks[number] = f"{_LEFT_OUT}{file.path}: {error}"
            else:
                is_read[number] = True
                if image.has_more_frames:
                    remarks[number] = (
                        f"{file.path}: has several frames; only the first is classified"
                    )

    thread_count = min(MAX_THREADS, os.cpu_count() or 1)
    with warnings.catch_warnings(), ThreadPoolExecutor(thread_count) as threads:
        warnings.simplefilter("ignore")  # Pillow warns about oddities in files that it can read
        list(threads.map(read_block, range(0, len(files), _FILES_IN_BLOCK)))
    read_files = [file.path for file, was_read in zip(files, is_read, strict=True) if was_read]
    actual_remarks = [remark for remark in remarks if remark is not None]
    _require_images(paths, read_files, actual_remarks)
    names = [str(file) for file in read_files]
    left_out = len(files) - len(read_files)
    return {
        size: Photos(names, pixels[is_read] if left_out > 0 else pixels, actual_remarks, left_out)
        for size, pixels in pixels_of_size.items()
    }


def _path_to_open(file: _ImageFile) -> str | Path:
    """Return the path to open: a symbolic link is followed only if the user named it.

    `read_image` follows no links, so links in a folder can't lead out of the folder.
    """
    return file.path if file.is_in_folder else os.path.realpath(file.path)


def _find_files(paths: Sequence[Path]) -> list[_ImageFile]:
    """Return the files among `paths`, and the files in the folders among `paths`.

    Raises:
      UsageError: a folder has no files, or there are more than `MAX_FILES` files.
    """
    files: list[_ImageFile] = []
    for path in paths:
        if path.is_dir():
            files_in_folder = _list_files(path)
            if not files_in_folder:
                raise _no_images_error(path)
            files += [_ImageFile(file, is_in_folder=True) for file in files_in_folder]
        else:
            files.append(_ImageFile(path, is_in_folder=False))
        if len(files) > MAX_FILES:
            raise UsageError(f"{path}: more than {MAX_FILES:,} files are given; give fewer")
    return files


def _require_images(
    paths: Sequence[Path], readable_files: Sequence[Path], messages: Sequence[str]
) -> None:
    """Check that at least one file was read, and at least one in each folder among `paths`.

    Args:
      paths: the files and folders that the user named.
      readable_files: the files that could be read.
      messages: a line for each file that was left out, with the reason.

    Raises:
      UsageError: a folder has no readable image, or no file can be read.
    """
    folders_with_images = {folder for file in readable_files for folder in file.parents}
    for path in paths:
        is_folder_without_image = path.is_dir() and path not in folders_with_images
        if is_folder_without_image:
            raise _no_images_error(path)
    if not readable_files:
        reason_for_first_file = messages[0].removeprefix(_LEFT_OUT)
        raise UsageError(reason_for_first_file)


def _no_images_error(folder: Path) -> UsageError:
    return UsageError(f"{folder}: contains no images; give image files or folders of images")


def _list_files(folder: Path) -> list[Path]:
    """Return the files in a folder and its subfolders, sorted by name, without hidden files.

    Files and folders that training ignores, such as Windows' Thumbs.db, are left out too.
    """
    files: list[Path] = []
    for parent, folders, names in os.walk(folder):  # follows no links
        visible_folders = sorted(folder_name for folder_name in folders if _is_visible(folder_name))
        folders[:] = visible_folders  # `os.walk` then visits only these
        visible_names = sorted(name for name in names if _is_visible(name))
        files += [Path(parent, name) for name in visible_names]
        if len(files) > MAX_FILES:
            raise UsageError(f"{folder}: has more than {MAX_FILES:,} files; give a smaller folder")
    return files


def _is_visible(name: str) -> bool:
    return not name.startswith(".") and name not in IGNORED_NAMES
