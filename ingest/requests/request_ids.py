"""Ids of requests, and the traces that they belong to. Both are in answers and in log lines, and are never looked up."""

import re
from collections.abc import Mapping
from itertools import count
from secrets import token_hex
from typing import Final, NamedTuple

from metering.tracing.trace_context import TRACEPARENT, TraceContext, parse_traceparent

HEADER: Final = "X-Request-Id"
CE_TRACEPARENT: Final = f"ce-{TRACEPARENT}"  # the event's own, of a CloudEvent in binary mode

_WELL_FORMED: Final = re.compile(r"[A-Za-z0-9._~:/+=@-]{1,128}")


class RequestId(NamedTuple):
    """The id of a request, and what its header `traceparent` says, or that of its CloudEvent in binary mode; or None."""

    text: str
    trace: TraceContext | None = None

    def fields(self) -> dict[str, str]:
        """For log lines."""
        found = {"request_id": self.text}
        return found if self.trace is None else found | {"trace_id": self.trace.trace_id}


NO_REQUEST: Final = RequestId("")


class RequestIds:
    """Makes ids that no other process makes; a random one for each request would cost a microsecond."""

    def __init__(self) -> None:
        self._process = token_hex(8)
        self._numbers = count(1)

    def of(self, headers: Mapping[str, str]) -> RequestId:
        """The id in a request's headers if it is well-formed, else a new one; and its trace."""
        given, trace = headers.get(HEADER), headers.get(TRACEPARENT)
        if trace is None:
            trace = headers.get(CE_TRACEPARENT)
        text = given if given is not None and _WELL_FORMED.fullmatch(given) else f"{self._process}-{next(self._numbers):x}"
        return RequestId(text, None if trace is None else parse_traceparent(trace))
