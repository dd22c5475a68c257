"""Batches to a gateway over HTTP: a BatchProducer with a few connections, which is thrown away at the first failure, as every producer is.

What was sent and not acknowledged is sent again, by this producer or the next: numbers make it count once.
"""

import asyncio
import gzip
from collections.abc import Mapping, Sequence
from contextlib import suppress
from email.utils import parsedate_to_datetime
from random import Random
from typing import Any, Final
from urllib.parse import quote

from taximeter_emitter.clock import Clock
from taximeter_emitter.deadlines import timeout
from taximeter_emitter.retry import Backoff, RetryPolicy
from taximeter_emitter.transports.batch_producer import BatchRefused, ProducerFailed, RecordHeaders
from taximeter_emitter.transports.gateway_connection import GatewayAddress, GatewayConnection
from taximeter_emitter.transports.gateway_options import GatewayOptions
from taximeter_emitter.transports.gateway_requests import REQUESTS_MAX, GatewayRequests, WaitingBatch, body_of
from taximeter_emitter.transports.http_answer import HttpAnswer
from taximeter_emitter.wire.emitter_names import SECRET_HEADER, SOURCE_HEADER

_COMPRESSED_FROM: Final = 1024
_COMPRESSION: Final = 1
_UNAUTHORIZED_SECONDS: Final = 10.0
_RETRY_AFTER_SECONDS_MAX: Final = 300.0
_OF_A_REQUEST: Final = frozenset({202, 207, 400, 403, 503})
_ISOLATED: Final = frozenset({400, 413, 422})
_BUSY: Final = frozenset({408, 425, 429, 500, 502, 503, 504})
_AGAIN: Final = RetryPolicy(base_seconds=0.5, cap_seconds=5.0)


class GatewayProducer:
    """A BatchProducer. `source`: whose batches these are, as keys may be bound to sources. `clock` tells how long a date in Retry-After is away."""

    def __init__(self, address: GatewayAddress, options: GatewayOptions, *, source: str, clock: Clock) -> None:
        self._address = address
        self._options = options
        self._source = {SOURCE_HEADER: quote(source)}
        self._clock = clock
        self._partitions = 0
        self._requests = GatewayRequests(batches_max=1, bytes_max=1)
        self._connections: list[GatewayConnection] = []
        self._posting: list[asyncio.Task[None]] = []
        self._changed = asyncio.Condition()
        self._again = Backoff(_AGAIN, now=clock.monotonic(), random=Random())
        self._failure: ProducerFailed | None = None
        self._is_open = False

    async def open(self) -> int:
        """Ask the gateway how many partitions there are."""
        answer = await self._exchange("GET", self._source, b"")
        about = answer.document
        limits = [about.get(name) for name in ("partitions", "batches_max", "body_bytes_max")]
        if answer.status != 200 or not all(type(limit) is int and limit > 0 for limit in limits):
            raise self._failed(answer)
        self._partitions, batches_max, bytes_max = (int(limit or 0) for limit in limits)
        self._requests = GatewayRequests(batches_max=batches_max, bytes_max=bytes_max)
        self._is_open = True
        self._posting = [asyncio.ensure_future(self._post_all()) for _ in range(REQUESTS_MAX)]
        return self._partitions

    async def append(
        self,
        partition: int,
        value: bytes,
        *,
        secret: str = "",
        headers: RecordHeaders = (),  # noqa: ARG002  # as the protocol says
    ) -> "asyncio.Future[object]":
        """Queue a batch for a request."""
        if self._failure is not None or not self._is_open:
            raise self._failure or ProducerFailed("the producer is closed")
        done: asyncio.Future[object] = asyncio.get_running_loop().create_future()
        if secret:
            self._requests.put(WaitingBatch(partition, value, secret, done))
            await self._wake()
        else:
            done.set_exception(
                BatchRefused("no_emitter_secret", "an earlier version numbered it, or an emitter that has no secret: send it to Kafka")
            )
        return done

    async def close(self, *, seconds: float) -> None:
        """Wait for the answers to what is queued."""
        with suppress(TimeoutError, asyncio.TimeoutError):
            async with timeout(max(seconds, 0.0)), self._changed:
                await self._changed.wait_for(lambda: not self._requests or self._failure is not None)
        await self.discard()

    async def discard(self) -> None:
        """Close all connections."""
        self._is_open = False
        for task in self._posting:
            task.cancel()
        if self._posting:
            await asyncio.wait(self._posting)
        for connection in self._connections:
            connection.close()
        self._posting, self._connections = [], []

    async def _post_all(self) -> None:
        """Request after request, until something fails."""
        try:
            while self._failure is None:
                batches = self._requests.next(self._clock.monotonic())
                if batches:
                    await self._post(batches)
                    await self._wake()
                else:
                    await self._wait()
        except ProducerFailed as failure:
            self._fail(failure)
            await self._wake()
        except Exception as error:  # a fault here must not leave batches waiting for ever; its text may show a header
            self._fail(ProducerFailed(f"a fault of the emitter: {type(error).__name__}"))
            await self._wake()

    async def _wait(self) -> None:
        """Until something changes, or a partition that had to wait may go again."""
        with suppress(TimeoutError, asyncio.TimeoutError):
            async with timeout(self._requests.wait_seconds(self._clock.monotonic()) or self._options.answer_seconds), self._changed:
                await self._changed.wait()

    async def _wake(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _post(self, batches: Sequence[WaitingBatch]) -> None:
        body = body_of(batches)
        headers = {"Content-Type": "application/x-ndjson", SECRET_HEADER: batches[0].secret, **self._source}
        if len(body) > _COMPRESSED_FROM:
            body = gzip.compress(body, _COMPRESSION)
            headers["Content-Encoding"] = "gzip"
        answer = await self._exchange("POST", headers, body)
        document = answer.document
        results = document.get("results")
        if answer.status in _OF_A_REQUEST and isinstance(results, list) and document.get("accepted") == len(batches) - len(results):
            self._settle(batches, answer, document)
        elif answer.status in _ISOLATED and len(batches) > 1:
            self._requests.settle(batches, again=batches)
        elif answer.status in _ISOLATED:
            refused = BatchRefused(*_error_of(document, str(answer.status)))
            self._requests.settle(batches)
            _refuse(batches[0], refused)
        else:
            raise self._failed(answer)

    def _settle(self, batches: Sequence[WaitingBatch], answer: HttpAnswer, document: Mapping[str, Any]) -> None:
        """What became of each. Raises ProducerFailed if the results are none of these batches, or there are other partitions now."""
        again, refused = [], {}
        try:
            for result in document["results"]:
                batch = batches[result["index"]]
                if result["status"] == "unknown":
                    again.append(batch)
                else:
                    refused[batch] = BatchRefused(str(result["reason"]), str(result["detail"])[:200])
        except (KeyError, IndexError, TypeError):
            raise ProducerFailed("the answer's results are not of these batches", reason="wrong_answer") from None
        partitions = document.get("partitions")
        if any(why.reason == "wrong_partition" for why in refused.values()) and partitions != self._partitions:
            raise ProducerFailed(f"the topic has {partitions} partitions now; it had {self._partitions}", reason="wrong_answer")
        wait = 0.0
        if again:
            wait = self._again.next_delay(self._clock.monotonic(), at_least=self._retry_after(answer)) or 0.0
        else:
            self._again.reset(self._clock.monotonic())
        self._requests.settle(batches, again=again, not_before=self._clock.monotonic() + wait)
        for batch in batches:
            if batch in refused:
                _refuse(batch, refused[batch])
            elif batch not in again and not batch.done.done():
                batch.done.set_result(None)

    async def _exchange(self, method: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        """One request on a connection that is free, or a new one. A kept one may have been closed meanwhile: then once more on a new one."""
        while self._connections:
            connection = self._connections.pop()
            if connection.is_open:
                try:
                    return await self._on(connection, method, headers, body)
                except ProducerFailed:
                    if connection.is_timed_out:
                        raise
        options = self._options
        connection = await GatewayConnection.open(self._address, connect_seconds=options.connect_seconds, answer_seconds=options.answer_seconds)
        return await self._on(connection, method, headers, body)

    async def _on(self, connection: GatewayConnection, method: str, headers: Mapping[str, str], body: bytes) -> HttpAnswer:
        answer = await connection.request(method, headers, body, seconds=self._options.answer_seconds)
        if connection.is_open:
            self._connections.append(connection)
        return answer

    def _failed(self, answer: HttpAnswer) -> ProducerFailed:
        """What an answer means that says nothing of single batches."""
        status, (reason, _) = answer.status, _error_of(answer.document, "")
        said = f"the gateway answers {status}{f' {reason}' if reason else ''}"
        wait = self._retry_after(answer)
        if status in {401, 403, 407}:
            return ProducerFailed(f"{said}: is the API key right?", reason="unauthorized", wait_seconds=max(wait, _UNAUTHORIZED_SECONDS))
        if status in _BUSY:
            return ProducerFailed(said, reason="busy", wait_seconds=wait)
        if 300 <= status < 400:
            said += ", a redirect, which is not followed: give the URL that it leads to"
        elif status in {404, 405}:
            said += ": is that a gateway of Taximeter, and of a version that takes batches?"
        return ProducerFailed(said, reason="wrong_answer", wait_seconds=wait)

    def _retry_after(self, answer: HttpAnswer) -> float:
        """Seconds, from a number of them or from a date; 0 if the answer names none."""
        named = answer.headers.get("retry-after", "").strip()
        if named.isascii() and named.isdigit():
            return min(float(named), _RETRY_AFTER_SECONDS_MAX)
        try:
            away = parsedate_to_datetime(named).timestamp() - self._clock.now_ms() / 1000
        except (TypeError, ValueError, IndexError, OverflowError):
            return 0.0
        return max(0.0, min(away, _RETRY_AFTER_SECONDS_MAX))

    def _fail(self, failure: ProducerFailed) -> None:
        """All that waits fails with it; the next producer sends it again."""
        if self._failure is None:
            self._failure = failure
            for batch in self._requests.everything():
                _refuse(batch, failure)


def _refuse(batch: WaitingBatch, why: Exception) -> None:
    if not batch.done.done():
        batch.done.set_exception(why)
        batch.done.exception()  # it is not lost if nobody looks any more


def _error_of(document: Mapping[str, Any], otherwise: str) -> tuple[str, str]:
    """The reason and the detail of an answer's error. They are of the other side, so only what is printable is kept."""
    error = document.get("error")
    if not isinstance(error, dict):
        return otherwise, ""
    return tuple("".join(char if char.isprintable() else "?" for char in str(error.get(name, ""))[:200]) for name in ("reason", "detail"))  # type: ignore[return-value]
