"""A topic of one partition that is read to its end again and again; its records are folded once, in order."""

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing
from typing import Final

from taximeter_emitter.clock import Clock

from metering.kafka.around_damage import OnDamage, records_around_damage
from metering.kafka.partition_log import LogReader, LogUnavailable
from metering.process.logs import Log, RateLimited
from metering.process.service import ServiceContext
from metering.process.supervision import RefusedToStart
from metering.records.fail_closed import ChainBroken, FailClosed, HistoryLost, RecordUnreadable
from metering.records.record import LogRecord

FOLLOWED_PARTITION: Final = 0
FIRST_READ_RETRY_SECONDS: Final = 1.0


def refuse_damage(_start: int, _end: int, error: RecordUnreadable) -> None:
    """For topics of which every record matters. Raises what was found."""
    raise error


class FollowedTopic:
    """`needed_for` ends the sentence that says what is lost with deleted records. The reader stays its owner's."""

    def __init__(self, reader: LogReader, topic: str, *, needed_for: str) -> None:
        self._reader = reader
        self._topic = topic
        self._needed_for = needed_for

    async def news(self, next_offset: Callable[[], int], on_damage: OnDamage = refuse_damage) -> AsyncGenerator[LogRecord, None]:
        """The records from `next_offset`, which is the fold's, to where the topic ended when this was called.

        Several may do so at the same time: what another has folded meanwhile is passed over. Blocks on Kafka; raises LogUnavailable or FailClosed.
        Close the generator if you stop before its end.
        """
        first, end = await self._reader.bounds(self._topic, FOLLOWED_PARTITION)
        if first > 0:
            raise HistoryLost(f"{self._topic} begins at offset {first}: {self._needed_for}")
        if end < next_offset():
            raise ChainBroken(f"{self._topic} ends at {end}, before what was read: it was cut or created again")
        blocks = records_around_damage(self._reader, self._topic, FOLLOWED_PARTITION, next_offset(), end, on_damage=on_damage)
        async with aclosing(blocks):
            async for records in blocks:
                for record in records:
                    if record.offset >= next_offset():
                        yield record


async def first_read(context: ServiceContext, read: Callable[[], Awaitable[object]], what: str, *, clock: Clock, notices: Log) -> bool:
    """Read once, before a service begins; False if it is to stop before Kafka answers. `what` begins the sentence if it cannot be read.

    Raises RefusedToStart if what is there cannot be used.
    """
    warnings = RateLimited(clock)
    while not context.stop.is_set():
        try:
            await read()
        except FailClosed as error:
            raise RefusedToStart([f"{what} cannot be used: {error}"]) from error
        except LogUnavailable as error:
            warnings.warning(notices, f"{what} cannot be read", reason=str(error))
            await clock.sleep(FIRST_READ_RETRY_SECONDS)
            continue
        return True
    return False
