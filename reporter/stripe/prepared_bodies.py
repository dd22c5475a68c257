"""Requests through the official library whose bodies are encoded already.

The library encodes the parameters of every request again for its debug log, and makes an object of its own for every object in a reply; for
meter events that is a third of all work. So it is given no parameters, `raw_request_async` makes no object, and the body is put in here.
"""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from typing import Any, Final

from reporter.stripe.call_spans import CallSpans
from reporter.stripe.replies import PlainHttp

_BODY: Final[ContextVar[bytes | None]] = ContextVar("body", default=None)


class PreparedHttp(PlainHttp):
    """Sends the body of the `prepared` block that the request is made in; without one, the library's. `spans`: of requests with such a body."""

    spans: CallSpans | None = None

    async def request_async(self, method: str, url: str, headers: Mapping[str, str], post_data: Any = None) -> tuple[bytes, int, Mapping[str, str]]:
        """As in PlainHttp."""
        body = _BODY.get()
        calling = super().request_async(method, url, headers, post_data if body is None else body)
        return await (calling if body is None or self.spans is None else self.spans.around(method, url, headers, calling))


@contextmanager
def prepared(body: bytes) -> Iterator[None]:
    """The request that is awaited in this block has this body. Other tasks' requests have not, whenever they run."""
    token = _BODY.set(body)
    try:
        yield
    finally:
        _BODY.reset(token)
