"""Error reports of Stripe's that count more than they name. They are in REPORTS_PARTITION, and may be about meter events of any partition."""

import time
from collections.abc import Awaitable, Callable, Sequence
from contextlib import aclosing, suppress
from typing import Final

from metering.kafka.around_damage import leave_out, records_around_damage
from metering.kafka.partition_log import LogReader
from metering.records.fail_closed import RecordCorrupt
from metering.records.ledger_records import REJECTION_FORMAT, REPORTS_PARTITION, Rejection, decode_entry

COUNTED_REPORTS_MAX: Final = 1_000
_REJECTION: Final = b'{"format":"' + REJECTION_FORMAT.encode() + b'"'

Pause = Callable[[float], Awaitable[None]]
"""Awaited after each block of records with the seconds that it took, so that a busy process does other things between."""


class CountedReports:
    """Reads the log once, and then what is new. Memory: the youngest COUNTED_REPORTS_MAX reports. The reader stays its owner's."""

    def __init__(self, reader: LogReader, topic: str, *, pause: Pause) -> None:
        self._reader = reader
        self._topic = topic
        self._pause = pause
        self._since_ms: int | None = None
        self._next_offset = 0
        self._found: list[Rejection] = []

    async def read(self, since_ms: int) -> Sequence[Rejection]:
        """Those that were written since then (log time, Unix ms), and maybe older ones. Blocks on Kafka; raises LogUnavailable or HistoryLost.

        What cannot be read is left out: who needs all of that partition says it.
        """
        start, end = await self._reader.bounds(self._topic, REPORTS_PARTITION)
        if self._since_ms is None or since_ms < self._since_ms:
            begin = await self._reader.offset_for_time(self._topic, REPORTS_PARTITION, max(0, since_ms))
            self._since_ms, self._next_offset, self._found = since_ms, end if begin is None else begin, []
        begin, began = max(start, self._next_offset), time.thread_time()
        async with aclosing(records_around_damage(self._reader, self._topic, REPORTS_PARTITION, begin, end, on_damage=leave_out)) as blocks:
            async for records in blocks:
                for record in records:
                    self._take(record.value or b"")
                    self._next_offset = record.offset + 1
                await self._pause(time.thread_time() - began)
                began = time.thread_time()
        self._next_offset = max(begin, end)
        return self._found

    def _take(self, value: bytes) -> None:
        if not value.startswith(_REJECTION):
            return
        with suppress(RecordCorrupt):
            entry = decode_entry(value)
            if isinstance(entry, Rejection) and entry.unnamed:
                self._found = [*self._found, entry][-COUNTED_REPORTS_MAX:]
