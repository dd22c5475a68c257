"""Undoes the Content-Encoding of a body, bounded in bytes and in ratio. Pure.

The server leaves bodies as they are sent: a library that decompresses by itself would do so before anything is bounded.
"""

import zlib
from typing import Final

from ingest.refusals import Refusal, RequestRefused

IDENTITY: Final = "identity"
GZIP: Final = "gzip"
RATIO_MAX: Final = 200
"""A body may grow to this many times the bytes that were sent, or to RATIO_FREE_BYTES."""
RATIO_FREE_BYTES: Final = 64 * 1024

_NAMES: Final = {"identity": IDENTITY, "gzip": GZIP, "x-gzip": GZIP}
_MEMBERS_MAX: Final = 64  # each copies the rest of the body
_GZIP_BITS: Final = 16 + zlib.MAX_WBITS


def encoding_of(header: str) -> str:
    """IDENTITY or GZIP. Raises RequestRefused for every other Content-Encoding."""
    encoding = _NAMES.get(header.strip().lower())
    if encoding is None:
        raise RequestRefused(Refusal.UNSUPPORTED_ENCODING, f"takes {GZIP} and {IDENTITY}, not {header[:40]!r}", field="content-encoding")
    return encoding


def decompressed(body: bytes, bytes_max: int) -> bytes:
    """The content of a gzip body, of one or several members. Raises RequestRefused if it is too large, too dense or not gzip."""
    allowed = min(bytes_max, max(RATIO_FREE_BYTES, RATIO_MAX * len(body)))
    found = bytearray()
    rest = body
    for _ in range(_MEMBERS_MAX):
        member = zlib.decompressobj(_GZIP_BITS)
        try:
            found += member.decompress(rest, allowed + 1 - len(found))
        except zlib.error:
            raise RequestRefused(Refusal.MALFORMED_ENCODING, "the body is not gzip", field="content-encoding") from None
        if len(found) > allowed:
            ratio = "" if allowed == bytes_max else f", and at most {RATIO_MAX} times what is sent"
            raise RequestRefused(Refusal.BODY_TOO_LARGE, f"a body has at most {bytes_max} bytes when it is decompressed{ratio}")
        if not member.eof:
            raise RequestRefused(Refusal.MALFORMED_ENCODING, "the gzip body ends too early", field="content-encoding")
        rest = member.unused_data
        if not rest:
            return bytes(found)
    raise RequestRefused(Refusal.MALFORMED_ENCODING, f"a gzip body has at most {_MEMBERS_MAX} members", field="content-encoding")
