"""Appending to a log in memory, as a command does."""

from metering.kafka.partition_log import Appended, Appender, LogUnavailable
from tests.support.metering_memory_log import MemoryLog


class MemoryAppender(Appender):
    """Appends to a log in memory; before the first append, somebody else's records come. `fails`: how many acknowledgements are lost."""

    def __init__(self, log: MemoryLog, *between: bytes, fails: int = 0) -> None:
        self.log = log
        self.between = list(between)
        self.fails = fails

    async def append(self, topic: str, partition: int, value: bytes | None, **_: object) -> Appended:
        assert partition == 0
        while self.between:
            self.log.append(topic, self.between.pop(0), at_ms=2)
        record = self.log.append(topic, value, at_ms=3)
        self.fails -= 1
        if self.fails >= 0:
            raise LogUnavailable("no acknowledgement came")
        return Appended(record.offset, record.timestamp)
