"""Read an untrusted tar file with `tarfile`, within limits of time and memory.

`tarfile` trusts what a file says about itself. For example, it reads a member's name into memory
whatever its length. Here it reads from a stream that limits each read, and all reads together.
"""

import bz2
import gzip
import lzma
import os
import tarfile
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple

MAX_BYTES = 2**28  # packed, and also unpacked; the largest CIFAR archive unpacks to 186 MB
_MAX_MEMBERS = 1000  # a CIFAR archive has 9
_MAX_READ = 2**16  # bytes; `tarfile` reads headers and names whole, a content in pieces
_OPENERS: dict[bytes, Callable[..., Any]] = {  # first bytes of a file -> function that unpacks it
    b"\x1f\x8b": gzip.open,
    b"BZh": bz2.open,
    b"\xfd7zXZ\0": lzma.open,
    b"\x5d\0\0": lzma.open,
}


class RefusedTarError(Exception):
    """The archive holds something that a CIFAR archive never holds, such as a link."""


class TarMember(NamedTuple):
    """A file inside a tar archive.

    Attributes:
      name: path of the file inside the archive.
      size: number of bytes.
      read: returns the content; call it before the iterator moves to the next file.
    """

    name: str
    size: int
    read: Callable[[], bytes]


def files_in_tar(file: BinaryIO) -> Iterator[TarMember]:
    """Yield the files in an untrusted tar file, in their order; nothing is written to disk.

    Args:
      file: the tar file, packed by gzip, bzip2 or xz, or not packed.

    Raises:
      RefusedTarError: the archive is too large, or has links, devices or too many members.
      Exception: the archive is damaged or cut off; the exception can have any type.
    """
    if os.fstat(file.fileno()).st_size > MAX_BYTES:
        raise RefusedTarError("the archive is larger than 256 MiB")
    stream = _BoundedStream(file)
    with tarfile.open(fileobj=stream, mode="r:") as archive:  # type: ignore[call-overload]
        for number, member in enumerate(archive, start=1):
            if number > _MAX_MEMBERS:
                raise RefusedTarError(f"the archive has more than {_MAX_MEMBERS:,} members")
            if member.issparse() or not (member.isreg() or member.isdir()):
                raise RefusedTarError(f"the archive has a link or a device: {member.name!a}")
            if member.isreg():
                yield TarMember(member.name, member.size, partial(stream.read_all, member.size))


class _BoundedStream:
    """The unpacked content of a file, read forward only and up to `MAX_BYTES`."""

    def __init__(self, file: BinaryIO) -> None:
        first_bytes = file.read(max(map(len, _OPENERS)))
        file.seek(0)
        self._file = file
        for prefix, unpack in _OPENERS.items():
            if first_bytes.startswith(prefix):
                self._file = unpack(file)
        self._position = 0

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        """Read forward to a position; `tarfile` never goes back in an intact archive."""
        if position < self._position:
            raise ValueError("the archive is damaged")
        while self._position < position:
            self.read(min(_MAX_READ, position - self._position))

    def read(self, size: int) -> bytes:
        """Return exactly the next `size` bytes of the unpacked archive.

        Raises:
          RefusedTarError: `size` is larger than any header, or over `MAX_BYTES` were unpacked.
          EOFError: fewer bytes are left.
        """
        if size > _MAX_READ:
            raise RefusedTarError(f"the archive has a name of {size:,} bytes, which is too long")
        try:
            content = self._file.read(size)
        except EOFError:  # a compressed file that is cut off
            content = b""
        self._position += size
        if self._position > MAX_BYTES:
            raise RefusedTarError("the archive unpacks to more than 256 MiB")
        if len(content) < size:
            raise EOFError("the file is not a tar archive, or is cut off")
        return content

    def read_all(self, size: int) -> bytes:
        """Return the next `size` bytes of the unpacked archive, more than `read` allows at once."""
        content = bytearray()
        while len(content) < size:
            content += self.read(min(_MAX_READ, size - len(content)))
        return bytes(content)
