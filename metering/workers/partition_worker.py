"""What the workers of both chains have in common: an inbox, starting over when Kafka is away, and stopping when the log contradicts itself."""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from random import Random
from typing import Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import Backoff, RetryPolicy

from metering.kafka.partition_log import UNREADABLE_MAX, Appender, LogUnavailable
from metering.kafka.topics import Topics
from metering.process.logs import Log, RateLimited
from metering.records.fail_closed import ChainBroken, FailClosed, RecordUnreadable, Unforeseen
from metering.records.record import LogRecord
from metering.tracing.span_maker import SpanMaker
from metering.workers.group_metrics import GroupMetrics
from metering.workers.inbox import Inbox
from metering.workers.turns import Turns

STARTING_OVER: Final = RetryPolicy(base_seconds=0.2, cap_seconds=10.0)
MARKER_SECONDS: Final = 1.0  # how long nothing comes before the end of the log is looked at for a transaction marker
MENDED_SECONDS: Final = 5.0  # how often a stopped partition looks whether somebody mended it
UNFORESEEN_MAX: Final = 3  # failures without progress of the chain, after which a partition stops
SKIPS_MAX: Final = 5  # how often the client may pass over the same records before the partition stops


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkerKit:
    """What the workers of a service share, whichever partition they own. `seek(partition, offset)` makes the poll loop continue there."""

    topics: Topics
    appender: Appender
    seek: Callable[[int, int], None]
    metrics: GroupMetrics
    clock: Clock
    log: Log
    turns: Turns
    span_maker: SpanMaker | None = None
    random: Random = field(default_factory=Random)  # of waits
    warnings: RateLimited = field(init=False)  # an outage of Kafka is met by all partitions: their log must still show how it began a day later

    def __post_init__(self) -> None:
        object.__setattr__(self, "warnings", RateLimited(self.clock))


class PartitionWorker(ABC):
    """Owns one partition from assignment to revocation. `run` is its task; all state is dropped with it, so it may be cancelled at any time.

    A service's worker takes over and works in `_own`, and drops what it knows in `_forget`. The kit's `seek` is called in the same
    step in which the inbox is emptied.
    """

    def __init__(self, partition: int, kit: WorkerKit) -> None:
        self.partition = partition
        self.stopped: FailClosed | None = None
        self.readable_end = 0  # of the log, as far as the poll loop knows
        self._topics = kit.topics
        self._appender = kit.appender
        self._seek = kit.seek
        self._clock = kit.clock
        self._log = kit.log.bind(partition=partition)
        self._warnings = kit.warnings
        self._group_metrics = kit.metrics
        self._inbox = Inbox()
        self._turns = kit.turns
        self._news = kit.turns.news()
        self._draining = False
        self._skipped_at: int | None = None
        self._skips = 0
        self._failed_at: int | None = None
        self._failures = 0
        self._record_at: int | None = None  # the offset of the record that is worked on, while there is one
        self._unread_at: int | None = None
        self._unread_reason = ""
        self._unread_times = 0
        self._backoff = Backoff(STARTING_OVER, now=self._clock.monotonic(), random=kit.random)

    def hand_in(self, records: Sequence[LogRecord], holes: Iterable[tuple[int, int]] = ()) -> None:
        """Take records from the poll loop, in log order; and ranges of offsets around them that are proved to hold nothing to read."""
        knows = bool(self._inbox)
        self._inbox.add(records, holes)
        if not (knows and self._may_gather):
            self._news.tell()

    def cannot_read(self, offset: int, reason: str) -> None:
        """Note that the poll loop failed to read the records from this offset on; it tries again as long as this worker wants records."""
        self._unread_times = self._unread_times + 1 if offset == self._unread_at else 1
        self._unread_at, self._unread_reason = offset, reason
        self._news.tell()

    def tell_readable_end(self, end: int) -> None:
        """Note how far the partition can be read: up to the first open transaction, or to its end."""
        if end != self.readable_end:
            self.readable_end = end
            if not self._inbox:
                self._news.tell()

    def drain(self) -> None:
        """Write down what is known, and let `run` return."""
        self._draining = True
        self._news.tell()

    @property
    @abstractmethod
    def chain_end(self) -> int | None:
        """The end of what is accepted; None before the partition is taken over."""

    @property
    def settled_to(self) -> int | None:
        """Up to here nothing waits; None before the partition is taken over."""
        return self.chain_end

    @property
    def position(self) -> int | None:
        """The offset of the next record that is not folded yet; None before the partition is taken over."""
        return self.chain_end

    @property
    @abstractmethod
    def wants_records(self) -> bool:
        """Whether the poll loop may hand in more."""

    @property
    @abstractmethod
    def may_resume(self) -> bool:
        """Whether enough of the byte bound is free again."""

    @property
    def _may_gather(self) -> bool:
        """Whether a worker that knows that records came need not be told that these are more now."""
        return False

    async def run(self) -> None:
        """Until drained or cancelled. A contradiction in the log stops the partition until it is mended; Kafka's absence is waited out."""
        while True:
            try:
                await self._own()
                return
            except LogUnavailable as error:
                self._group_metrics.unavailable.inc()
                self._warnings.warning(self._log, "starting over", reason=str(error))
            except FailClosed as error:
                self.stopped = error
            except Exception as error:
                self.stopped = self._unforeseen(error)
            self._drop()
            if self.stopped is not None:
                if not await self._stay_stopped(self.stopped):
                    return
                continue
            if self._draining:
                return  # the partition's next owner starts from the log, as this worker would
            await self._clock.sleep(self._backoff.next_delay(self._clock.monotonic()) or STARTING_OVER.cap_seconds)

    async def _stay_stopped(self, reason: FailClosed) -> bool:
        """Until what stopped the partition is mended, or False to leave it stopped."""
        self._log.error(
            "the partition stopped; nothing is lost, and nothing more of it is done until this is mended",
            kind=type(reason).__name__,
            reason=str(reason),
        )
        if not await self._mended():
            return False
        self.stopped = None
        self._log.info("what stopped the partition was mended; it goes on")
        return True

    def _unforeseen(self, error: Exception) -> Unforeseen | None:
        """Why the partition stops after an exception that nobody foresaw; None to read it again from the log, which is tried a few times."""
        position, end = self.position, self.chain_end
        self._failures = self._failures + 1 if end == self._failed_at else 1
        self._failed_at = end
        self._log.failed("code failed in a way that nobody foresaw", error, position=position, failures=self._failures)
        if self._failures < UNFORESEEN_MAX:
            return None
        self._failures = 0
        place = "while it was taken over" if position is None else f"before offset {position}"
        if self._record_at is not None:
            place = f"at offset {self._record_at}"
        return Unforeseen(f"{type(error).__name__} {place}, {UNFORESEEN_MAX} times in a row: {error}")

    def _unreadable(self) -> RecordUnreadable | None:
        """Why the partition cannot go on after all that was read: what comes next is damaged, however often it is fetched."""
        if self._inbox or self._unread_times < UNREADABLE_MAX or self._unread_at != self.position:
            return None
        return RecordUnreadable(f"the records from offset {self._unread_at} on cannot be read: {self._unread_reason}")

    @abstractmethod
    async def _own(self) -> None:
        """Take over, then work until drained. Raises LogUnavailable or FailClosed."""

    async def _mended(self) -> bool:
        """After a stop: wait until something in the log says that going on is right, or return False to leave the partition stopped.

        Returns False soon after `drain`. Nothing can say so unless a service's worker knows of something.
        """
        return False

    @abstractmethod
    def _forget(self) -> None:
        """Drop all that was known of the partition."""

    async def _wait(self, seconds: float, *, work: bool) -> None:
        """Until something comes or the time has passed; not at all, but for a turn of the others, when there is `work` or all is ending."""
        if work or self._draining:
            await self._turns.others()
        else:
            await self._news.wait(seconds)

    def _continue_at(self, position: int) -> None:
        self._inbox.clear()
        self._seek(self.partition, position)

    def _read_again(self, position: int, offset: int) -> None:
        """The Kafka client passed over records that are there (it may when another partition's fetch fails): go back for them, a few times."""
        self._skips = self._skips + 1 if self._skipped_at == position else 1
        self._skipped_at = position
        if self._skips > SKIPS_MAX:
            raise ChainBroken(f"the client skips records {position} to {offset - 1} of partition {self.partition} every time")
        self._log.warning("the client skipped records; they are read again", position=position, offset=offset, times=self._skips)
        self._continue_at(position)

    def _drop(self) -> None:
        self._inbox.clear()
        self._record_at = self._unread_at = None
        self._unread_times = 0
        self._forget()
