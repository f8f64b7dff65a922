"""The members of a tar file that is not trusted, in the order in which they come.

`tarfile` and `gzip` believe what a file says of itself: a long name is read whole, whatever its
length, and empty members and empty compressed streams are passed over without end. Here the file
is unpacked a piece at a time, and what it may hold is bounded before any of it is believed.
"""

import bz2
import lzma
import tarfile
import zlib
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any, BinaryIO, NamedTuple

MAX_BYTES = 2**28  # unpacked, names included; the CIFARs have 186 MB
_MAX_MEMBERS = 1000  # they have 9
_MAX_STREAMS = 10_000  # compressed one after the other: 18 kB each is less than any tool packs
_MAX_NAME = 2**16  # of a long name, or of attributes, which are passed over
_PIECE = 2**18
_BLOCK = tarfile.BLOCKSIZE
_FILES = (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.CONTTYPE)
_EXTRA = (
    tarfile.GNUTYPE_LONGNAME,
    tarfile.GNUTYPE_LONGLINK,
    tarfile.XHDTYPE,
    tarfile.XGLTYPE,
    tarfile.SOLARIS_XHDTYPE,
)


class TarMember(NamedTuple):
    """A file or a folder in a tar file.

    Attributes:
      name: as its header has it.
      is_folder: whether it is one.
      size: bytes of its content.
      read: gives the content, once, and before the next member is asked for.
    """

    name: str
    is_folder: bool
    size: int
    read: Callable[[], bytes]


class BrokenTarError(Exception):
    """The file is no tar file, cut off or damaged; the message goes on from its name."""


class RefusedTarError(Exception):
    """The file holds what no honest archive does; the message goes on from its name."""


def members(file: BinaryIO) -> Iterator[TarMember]:
    """Walk through a tar file, packed by gzip, bzip2, xz or not at all.

    Long names are passed over, so a member that has one goes by its first hundred characters.

    Raises:
      BrokenTarError: what comes next can't be read.
      RefusedTarError: it is larger than a CIFAR, or has links, devices or far too many members.
    """
    stream = _Unpacked(file)
    for number in range(_MAX_MEMBERS):
        info = _header(stream, first=number == 0)
        if info is None:
            return
        if not 0 <= info.size <= MAX_BYTES - stream.position:
            raise RefusedTarError("it unpacks to more than 256 MiB; a CIFAR has 186 MB")
        end = stream.position + -(-info.size // _BLOCK) * _BLOCK
        if info.type in _EXTRA:
            if info.size > _MAX_NAME:
                raise RefusedTarError(f"a member's name has {info.size:,} bytes")
        elif info.type in _FILES or info.isdir():
            yield TarMember(info.name, info.isdir(), info.size, partial(stream.read, info.size))
        else:
            raise RefusedTarError(f"member {info.name!a} is a link or a device")
        stream.skip(end - stream.position)
    raise RefusedTarError(f"it has more than {_MAX_MEMBERS:,} members; a CIFAR has 9")


def _header(stream: "_Unpacked", first: bool) -> tarfile.TarInfo | None:
    """The next header; None at the end."""
    try:
        block = stream.read(_BLOCK)
    except BrokenTarError:
        if first and stream.is_plain:
            raise BrokenTarError("is no tar file, or cut off where it begins") from None
        raise
    if not any(block):
        return None
    try:
        return tarfile.TarInfo.frombuf(block, "utf-8", "surrogateescape")
    except tarfile.HeaderError as error:
        raise BrokenTarError("is no tar file" if first else f"is damaged ({error})") from None


class _Unpacked:
    """What a file unpacks to.

    Attributes:
      is_plain: whether the file is not packed at all.
      position: how many bytes of it were read.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self._packed = file.read(_PIECE)
        self._new_codec = _codec_of(self._packed)
        self._codec = self._new_codec()
        self._streams = 1
        self.is_plain = self._new_codec is _Plain
        self.position = 0

    def read(self, size: int) -> bytes:
        """The next `size` bytes.

        Raises:
          BrokenTarError: there are fewer, or they can't be unpacked.
          RefusedTarError: they are packed in far too many streams.
        """
        content = bytearray()
        while len(content) < size:
            content += self._piece(min(size - len(content), _PIECE))
        self.position += size
        return bytes(content)

    def skip(self, size: int) -> None:
        """Go on by `size` bytes; raises what `read` does."""
        for done in range(0, size, _PIECE):
            self.read(min(size - done, _PIECE))

    def _piece(self, most: int) -> bytes:
        """From 0 to `most` bytes; none at all only on the way to more, or to an error."""
        packed, wanted = self._packed, self._codec.eof or getattr(self._codec, "needs_input", True)
        try:
            if wanted and not packed:
                packed = self._file.read(_PIECE)
            if self._codec.eof and packed:
                self._next_stream()
            piece = b"" if self._codec.eof else self._codec.decompress(packed, most)
        except (zlib.error, lzma.LZMAError, EOFError, ValueError, OSError) as error:
            raise BrokenTarError(f"is damaged ({error})") from error
        if wanted and not packed and not piece:
            raise BrokenTarError("is cut off: it ends too soon")
        rest = "unused_data" if self._codec.eof else "unconsumed_tail"
        self._packed = getattr(self._codec, rest, b"")
        return piece

    def _next_stream(self) -> None:
        self._streams += 1
        if self._streams > _MAX_STREAMS:
            raise RefusedTarError(f"it is packed in more than {_MAX_STREAMS:,} streams")
        self._codec = self._new_codec()


class _Plain:
    """In place of a decompressor, for what is not packed."""

    eof = False
    unconsumed_tail = b""

    def decompress(self, content: bytes, most: int) -> bytes:
        self.unconsumed_tail = content[most:]
        return content[:most]


def _codec_of(content: bytes) -> Callable[[], Any]:
    """What makes the decompressor of a file that begins with `content`."""
    if content.startswith(b"\x1f\x8b"):
        return lambda: zlib.decompressobj(31)  # 31: with gzip's header and checksum
    if content.startswith(b"BZh"):
        return bz2.BZ2Decompressor
    if content.startswith((b"\xfd7zXZ\0", b"\x5d\0\0")):
        return lambda: lzma.LZMADecompressor(memlimit=2**27)  # xz -9 takes 65 MiB
    return _Plain
