"""Ids of requests: the client's own, or a new one. They are in answers and in log lines, and are never looked up."""

import re
from itertools import count
from secrets import token_hex
from typing import Final

HEADER: Final = "X-Request-Id"

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class RequestIds:
    """Makes ids that no other process makes; a random one for each request would cost a microsecond."""

    def __init__(self) -> None:
        self._process = token_hex(8)
        self._numbers = count(1)

    def of(self, header: str | None) -> str:
        """The id in a request's header if it is well-formed, else a new one."""
        if header is not None and _WELL_FORMED.fullmatch(header):
            return header
        return f"{self._process}-{next(self._numbers):x}"
