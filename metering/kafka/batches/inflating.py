"""Decompressing the records of a batch into a bounded piece of memory, whatever the batch says of itself. Pure.

A megabyte that a broker takes may inflate to gigabytes. Kafka's own clients, aiokafka among them, ask for all of it at once.
"""

import struct
import zlib
from collections.abc import Callable, Mapping
from typing import Any, Final

import cramjam
from taximeter_emitter.wire.errors import TaximeterError

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_FIRST_BYTES: Final = 64 * 1024  # of the piece of memory that is tried first
_GUESSED_RATIO: Final = 8
_GROWTH: Final = 4
_NO_ROOM: Final = "whole buffer"  # what the library says of a piece of memory that is too small
_XERIAL: Final = struct.pack("!bccccccBii", -126, b"S", b"N", b"A", b"P", b"P", b"Y", 0, 1, 1)
_BLOCK_LENGTH: Final = struct.Struct("!i")


class NotInflated(TaximeterError):
    """The bytes are damaged, of a compression that is not known, or inflate to more than is allowed."""


class InflatesTooFar(NotInflated):
    """The bytes inflate to more than is allowed."""


class _NoRoom(Exception):
    """There is more than is allowed."""


def inflated(codec: int, data: bytes, bytes_max: int) -> bytes:
    """What these bytes inflate to. `codec` is Kafka's number of the compression. Raises NotInflated; takes little more memory than `bytes_max`."""
    decode = _DECODERS.get(codec)
    if decode is None:
        raise NotInflated(f"compression {codec} is not known")
    try:
        return decode(data, bytes_max)
    except NotInflated:
        raise
    except _NoRoom:
        raise InflatesTooFar(f"its records inflate to more than {bytes_max:,} bytes") from None
    except Exception as error:  # the libraries raise errors of their own
        raise NotInflated(f"its records cannot be decompressed: {error}") from error


def _gunzipped(data: bytes, bytes_max: int) -> bytes:
    found = bytearray()
    while data:
        member = zlib.decompressobj(_GZIP_BITS)
        found += member.decompress(data, bytes_max + 1 - len(found))
        if len(found) > bytes_max:
            raise _NoRoom
        if not member.eof:
            raise NotInflated("its records cannot be decompressed: they end too early")
        data = member.unused_data.lstrip(b"\0")  # members may be padded
    return bytes(found)


def _by(decompress_into: Callable[[bytes, bytearray], int]) -> Callable[[bytes, int], bytes]:
    """A decoder that writes into memory which it is given: little at first, because zeros cost time, then more."""

    def decoded(data: bytes, bytes_max: int) -> bytes:
        size = min(bytes_max, max(_FIRST_BYTES, _GUESSED_RATIO * len(data)))
        while True:
            found = bytearray(size)
            try:
                length = decompress_into(data, found)
            except cramjam.DecompressionError as error:
                if _NO_ROOM not in str(error):
                    raise
                if size >= bytes_max:
                    raise _NoRoom from None
                size = min(bytes_max, _GROWTH * size)
                continue
            return bytes(memoryview(found)[:length])

    return decoded


def _unsnapped(data: bytes, bytes_max: int) -> bytes:
    """In one block, or in the blocks of the Java library, which have their lengths before them."""
    if not data.startswith(_XERIAL):
        return _unsnapped_block(data, bytes_max)
    found, at = bytearray(), len(_XERIAL)
    while at < len(data):
        (length,) = _BLOCK_LENGTH.unpack_from(data, at)
        at += _BLOCK_LENGTH.size
        if not 0 < length <= len(data) - at:
            raise NotInflated(f"its records cannot be decompressed: a block of {length} bytes where {len(data) - at} are left")
        found += _unsnapped_block(data[at : at + length], bytes_max - len(found))
        at += length
    return bytes(found)


def _unsnapped_block(block: bytes, bytes_max: int) -> bytes:
    if cramjam.snappy.decompress_raw_len(block) > bytes_max:
        raise _NoRoom
    return bytes(cramjam.snappy.decompress_raw(block))


_DECODERS: Final[Mapping[int, Callable[[Any, int], bytes]]] = {
    1: _gunzipped,
    2: _unsnapped,
    3: _by(cramjam.lz4.decompress_into),
    4: _by(cramjam.zstd.decompress_into),
}
