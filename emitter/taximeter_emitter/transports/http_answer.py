"""An answer of HTTP/1.1, read by the parser of the standard library from the bytes that have come so far. Pure."""

import re
from collections.abc import Mapping
from http.client import HTTPException, HTTPResponse, IncompleteRead
from io import BytesIO
from typing import Any, Final, NamedTuple

import orjson

HTTP_ANSWER_BYTES_MAX: Final = 256 * 1024
"""No answer of a gateway is as large."""

_HEAD_ENDS: Final = b"\r\n\r\n"
_INTERIM: Final = re.compile(rb"HTTP/1\.[0-9] 1[0-9][0-9][ \r]")


class HttpAnswer(NamedTuple):
    """`headers` have lower-case names. `closes`: the connection takes no more requests."""

    status: int
    headers: Mapping[str, str]
    body: bytes
    closes: bool

    @property
    def document(self) -> dict[str, Any]:
        """The body, if it is a JSON object; otherwise an empty one."""
        try:
            found = orjson.loads(self.body)
        except orjson.JSONDecodeError:
            return {}
        return found if isinstance(found, dict) else {}


class BadAnswer(ValueError):
    """The bytes are no answer of HTTP/1.1, or too many."""


def read_answer(received: bytes, *, is_over: bool) -> HttpAnswer | None:
    """The answer, or None if it is not complete. `is_over`: no more will come. Raises BadAnswer."""
    if len(received) > HTTP_ANSWER_BYTES_MAX:
        raise BadAnswer(f"an answer of more than {HTTP_ANSWER_BYTES_MAX} bytes")
    if received and not b"HTTP/".startswith(received[:5]) and not received.startswith(b"HTTP/"):
        raise BadAnswer("what answers does not speak HTTP")
    while _INTERIM.match(received) and _HEAD_ENDS in received:
        received = received.split(_HEAD_ENDS, 1)[1]
    if _HEAD_ENDS not in received:
        return None
    response = HTTPResponse(_Received(received))  # type: ignore[arg-type]  # all that it asks of a socket is to be read as a file
    try:
        response.begin()
        until_closed = response.length is None and not response.chunked
        body = response.read()
    except IncompleteRead:
        return None
    except (HTTPException, ValueError) as error:
        raise BadAnswer(f"not an answer of HTTP: {type(error).__name__}") from None
    # The parser does without the last line of chunks, which would then be taken for the next answer.
    if (until_closed and not is_over) or (response.chunked and not received.endswith(_HEAD_ENDS)):
        return None
    return HttpAnswer(response.status, {name.lower(): value for name, value in response.getheaders()}, body, response.will_close)


class _Received:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def makefile(self, _mode: str) -> BytesIO:
        """What HTTPResponse reads from."""
        return BytesIO(self._data)
