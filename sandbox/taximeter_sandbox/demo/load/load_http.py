"""Load over HTTP: a process with some clients that post events to the gateway in every form it takes. `python -m` this module with an ORDER.

A client that gets no final answer sends the same events with the same ids again, as it should.
"""

import asyncio
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import Any, Final

import aiohttp
import orjson
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.retry import RetryPolicy, retrying

from taximeter_sandbox.demo.load.journal import Journal
from taximeter_sandbox.demo.load.load_orders import LoadOrder, LoadProgress, Timetable, write_progress
from taximeter_sandbox.demo.load.workload import Document, Times, Workload, document_of, in_batches

CLIENTS: Final = 4
BATCH: Final = 200
TIMEOUT_SECONDS: Final = 30.0
RETRY: Final = RetryPolicy(base_seconds=0.1, cap_seconds=2.0, deadline_seconds=900.0)
TRY_AGAIN: Final = frozenset({429, 500, 502, 503, 504})
ANSWERED: Final = frozenset({200, 202, 207, 400})


class NotAnswered(Exception):
    """No final answer for this request; the events may have arrived."""


NO_ANSWER: Final = (NotAnswered, aiohttp.ClientError, TimeoutError)


def _cloudevent(document: Document) -> Document:
    data = {name: document[name] for name in ("customer", "usage", "dimensions")}
    attributes = {name: document[name] for name in ("id", "source", "time")}
    return {"specversion": "1.0", "type": "usage", **attributes, "data": data}


def _lines(documents: Sequence[Document]) -> bytes:
    return b"".join(orjson.dumps(document, option=orjson.OPT_APPEND_NEWLINE) for document in documents)


def _cloudevents(documents: Sequence[Document]) -> bytes:
    return orjson.dumps([_cloudevent(document) for document in documents])


Encode = Callable[[Sequence[Document]], bytes]
FORMS: Final[Sequence[tuple[str, Encode]]] = (
    ("application/json", orjson.dumps),
    ("application/json", orjson.dumps),
    ("application/x-ndjson", _lines),
    ("application/cloudevents-batch+json", _cloudevents),
)
"""Content types with what writes them; the first is what most clients send."""


@dataclass(slots=True)
class HttpLoad:
    """The clients of one process share their work, the journal and the progress."""

    order: LoadOrder
    journal: Journal
    workload: Workload
    timetable: Timetable
    session: aiohttp.ClientSession
    random: Random
    emitted: int = 0
    waiting: int = 0
    resent: int = 0
    failed: int = 0

    async def client(self, sizes: "asyncio.Queue[int]") -> None:
        """One client: posts batch after batch until there is nothing left to do."""
        clock, times = SystemClock(), Times()
        while not sizes.empty():
            emissions = self.workload.take(sizes.get_nowait(), clock.now_ms())
            number = self.journal.sending(emissions)
            content_type, encode = FORMS[number % len(FORMS)]
            body = encode([document_of(emission, self.order.source, times) for emission in emissions])
            await self._deliver(number, len(emissions), body, content_type)
            self.emitted += len(emissions)
            if self.timetable.is_time_to_tell():
                write_progress(self.order.progress, LoadProgress(emitted=self.emitted, waiting=self.waiting, resent=self.resent))
            await self.timetable.wait(self.emitted)

    async def _deliver(self, number: int, events: int, body: bytes, content_type: str) -> None:
        """Post one body until there is a final answer, and note it."""

        def count_resent(_error: Exception, _delay: float) -> None:
            self.resent += events

        self.waiting += events
        try:
            refused = await retrying(
                lambda: self._post(body, content_type, events),
                policy=RETRY,
                clock=SystemClock(),
                random=self.random,
                retry_on=NO_ANSWER,
                on_retry=count_resent,
            )
            self.journal.told(number, refused=refused)
        except NO_ANSWER:
            self.failed += events
            self.journal.told(number, failed=range(events))
        self.waiting -= events

    async def _post(self, body: bytes, content_type: str, events: int) -> list[int]:
        """The positions that the gateway refused. Raises NotAnswered when it took none of the events or does not know."""
        async with self.session.post(f"{self.order.gateway}/v1/events", data=body, headers={"Content-Type": content_type}) as response:
            if response.status in TRY_AGAIN:
                raise NotAnswered(f"status {response.status}")
            if response.status not in ANSWERED:
                raise RuntimeError(f"the gateway answered {response.status}: {(await response.text())[:300]}")
            answer: Mapping[str, Any] = orjson.loads(await response.read())
        refused = [result["index"] for result in answer["results"] if result["status"] == "rejected"]
        if answer["accepted"] + len(refused) != events:
            raise RuntimeError(f"the gateway answered {response.status} and accounts for another number of events than {events}")
        return refused


async def run(order: LoadOrder) -> int:
    """Post everything; exit code 0 only if every request got a final answer."""
    sizes: asyncio.Queue[int] = asyncio.Queue()
    for size in in_batches(order.events, BATCH):
        sizes.put_nowait(size)
    headers = {"Authorization": f"Bearer {order.api_key_file.read_text().strip()}"} if order.api_key_file is not None else {}
    timeout = aiohttp.ClientTimeout(total=TIMEOUT_SECONDS)
    with Journal(order.journal) as journal:
        async with aiohttp.ClientSession(headers=headers, timeout=timeout) as session:
            workload = Workload(order.name, seed=order.seed, customers=order.customers, mix=order.mix)
            load = HttpLoad(order, journal, workload, Timetable(order.events, order.seconds), session, Random(order.seed))
            async with asyncio.TaskGroup() as clients:
                for _ in range(CLIENTS):
                    clients.create_task(load.client(sizes))
    failure = f"{load.failed} events got no final answer" if load.failed else ""
    write_progress(order.progress, LoadProgress(emitted=load.emitted, resent=load.resent, done=True, failure=failure))
    return 1 if failure else 0


if __name__ == "__main__":
    sys.exit(asyncio.run(run(LoadOrder.read(Path(sys.argv[1])))))
