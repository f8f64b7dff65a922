"""Read an untrusted tar file with `tarfile`, within limits of time and memory.

`tarfile` trusts the sizes that a file states. For example, it reads a member's name into memory
however long the name is. Here it reads from a stream that limits each read, and all reads together.
"""

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple

from jaxcifar.data.archive_errors import RefusedArchiveError

MAX_ARCHIVE_BYTES = 2**28  # packed, and also unpacked; the largest CIFAR archive unpacks to 186 MB
_MAX_MEMBERS = 1000  # a CIFAR archive has 9
# `tarfile` reads the header and the name of a member in one read each, so they are limited by this.
_MAX_BYTES_PER_READ = 2**16
# First bytes of a packed file -> function that unpacks it.
_OPENER_OF_PREFIX: dict[bytes, Callable[..., Any]] = {
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}


class TarMember(NamedTuple):
    """A file inside a tar archive.

    Attributes:
      name: path of the file inside the archive.
      byte_count: number of bytes.
      read: a function that returns the content. Call it before you ask for the next member.
    """

    name: str
    byte_count: int
    read: Callable[[], bytes]


def read_tar_members(file: BinaryIO) -> Iterator[TarMember]:
    """Yield the files in an untrusted tar file, in the archive's order, without writing to disk.

    Args:
      file: the tar file, packed by gzip, bzip2 or xz, or not packed.

    Raises:
      RefusedArchiveError: the archive is too large, or has links, devices or too many members.
      Exception: the archive is damaged or cut off; the exception can have any type.
    """
    if os.fstat(file.fileno()).st_size > MAX_ARCHIVE_BYTES:
        raise RefusedArchiveError("the archive is larger than 256 MiB")
    stream = _BoundedStream(file)
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive, start=1):
            if number > _MAX_MEMBERS:
                raise RefusedArchiveError(f"the archive has more than {_MAX_MEMBERS:,} members")
            is_file_or_folder = member.isreg() or member.isdir()
            if member.issparse() or not is_file_or_folder:
                raise RefusedArchiveError(f"the archive has a link or a device: {member.name!a}")
            if member.isreg():
                yield TarMember(
                    member.name, member.size, partial(stream.read_in_pieces, member.size)
                )


class _BoundedStream:
    """The unpacked content of a file, read forward only and up to `MAX_ARCHIVE_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        longest_prefix = max(map(len, _OPENER_OF_PREFIX))
        first_bytes = file.read(longest_prefix)
        file.seek(0)
        self._file = file
        for prefix, open_unpacked in _OPENER_OF_PREFIX.items():
            if first_bytes.startswith(prefix):
                self._file = open_unpacked(file)
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Read forward to a position; `tarfile` never goes back in an intact archive."""
        if position < self._position:
            raise ValueError("the archive is damaged")
        while self._position < position:
            self.read(min(_MAX_BYTES_PER_READ, position - self._position))

    def read(self, byte_count: int) -> bytes:
        """Return exactly the next `byte_count` bytes of the unpacked archive.

        Raises:
          RefusedArchiveError: `byte_count` is over 64 KiB, more than any member's name needs; or
            more than `MAX_ARCHIVE_BYTES` were unpacked.
          EOFError: fewer bytes are left.
        """
        if byte_count > _MAX_BYTES_PER_READ:
            raise RefusedArchiveError(
                f"the archive has a file name of {byte_count:,} bytes, more than the "
                f"{_MAX_BYTES_PER_READ:,} that are allowed"
            )
        try:
            content = self._file.read(byte_count)
        except EOFError:  # a compressed file that is cut off
            content = b""
        self._position += byte_count
        if self._position > MAX_ARCHIVE_BYTES:
            raise RefusedArchiveError("the archive unpacks to more than 256 MiB")
        if len(content) < byte_count:
            raise EOFError("the file is not a tar archive, or is cut off")
        return content

    def read_in_pieces(self, byte_count: int) -> bytes:
        """Return the next `byte_count` bytes, which may be more than `read` allows at once."""
        content = bytearray()
        while len(content) < byte_count:
            missing_bytes = byte_count - len(content)
            content += self.read(min(_MAX_BYTES_PER_READ, missing_bytes))
        return bytes(content)
