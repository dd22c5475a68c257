"""Everything an emitter has still to send: its own batches, and those that dead processes left on the disk. Calls block for the disk at most."""

import logging
from collections.abc import Collection
from typing import TYPE_CHECKING, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.message_limiter import MessageLimiter
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox, Takes, takes_all
from taximeter_emitter.spool.spool_failed import SpoolFailed

if TYPE_CHECKING:
    from taximeter_emitter.spool.spool_directory import SpoolDirectory

_LOG: Final = logging.getLogger("taximeter.emitter.spool")


class Unsent:
    """`directory` None: there is no disk to go to, all waits in memory. `emitter`: the id that its own spool is named by."""

    def __init__(self, *, emitter: str, directory: "SpoolDirectory | None", counts: EmitterCounts, clock: Clock) -> None:
        self._counts = counts
        self._emitter = emitter
        self._directory = directory
        self._own = Outbox()
        self._adopted: list[Outbox] = []
        self._elsewhere = 0
        self._warnings = MessageLimiter(clock)

    @property
    def is_empty(self) -> bool:
        """Whether Kafka has acknowledged everything of our own."""
        return self._own.is_empty

    @property
    def memory_bytes(self) -> int:
        """Bytes of batches that are in memory only."""
        return self._own.memory_bytes

    @property
    def spool_bytes(self) -> int:
        """Bytes on disk that this process has to send."""
        return sum(outbox.spool.bytes_held for outbox in (self._own, *self._adopted) if outbox.spool is not None)

    @property
    def spooled_events(self) -> int:
        """Events on disk that this process has to send."""
        return sum(outbox.spool.events_held for outbox in (self._own, *self._adopted) if outbox.spool is not None)

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch of our own behind all others."""
        self._own.put(batch)

    def take(self, takes: Takes = takes_all) -> tuple[Outbox, EncodedBatch] | None:
        """The next batch that may be sent now, those of dead processes first, with the outbox to settle it in."""
        for outbox in (*self._adopted, self._own):
            try:
                batch = outbox.take(takes)
            except SpoolFailed as failure:
                self._failed(failure)
                continue
            if batch is not None:
                return outbox, batch
        return None

    def settle(self, outbox: Outbox, batch: EncodedBatch) -> None:
        """Kafka has it."""
        if not outbox.settle(batch):
            return
        if outbox is self._own:
            self._counts.sent += batch.count
        else:
            self._counts.adopted += batch.count

    def give_back(self) -> None:
        """The producer failed: everything in flight will be sent again."""
        for outbox in (*self._adopted, self._own):
            self._counts.batches_retried += outbox.give_back()

    def secure(self, partitions: Collection[int] | None = None) -> None:
        """Write to disk what is only in memory of these partitions (None: of all), while there is room."""
        if self._directory is None or not self._own.memory_bytes:
            return
        try:
            if self._own.spool is None:
                self._own.spool = self._directory.create(self._emitter)
                self._elsewhere = self._directory.bytes_elsewhere(excluding=[self._own.spool.path])
            room = self._directory.bytes_max - self._own.spool.bytes_held - self._elsewhere
            self._counts.spooled += sum(batch.count for batch in self._own.secure(room, partitions))
        except SpoolFailed as failure:
            self._failed(failure)

    def tidy(self) -> None:
        """Remove from disk what Kafka has; let go of spools of dead processes that are sent."""
        for outbox in (*self._adopted, self._own):
            try:
                outbox.forget_settled()
            except SpoolFailed as failure:  # noqa: PERF203  # each is tried
                self._failed(failure)
        for outbox in [outbox for outbox in self._adopted if outbox.is_empty]:
            self._adopted.remove(outbox)
            outbox.close()

    def adopt(self, partitions: int) -> None:
        """Take over the spools that dead processes left for this topic; looks at the directory, so not for every turn."""
        if self._directory is None:
            return
        ours = [outbox.spool.path for outbox in (self._own, *self._adopted) if outbox.spool is not None]
        for spool in self._directory.adopt(partitions, excluding=ours):
            _LOG.info("adopted the spool %s of a dead emitter with %d events", spool.path.name, spool.events_held)
            self._adopted.append(Outbox(spool))
        self._elsewhere = self._directory.bytes_elsewhere(excluding=ours[:1] if self._own.spool is not None else [])

    def put_away(self) -> None:
        """The end: what is not sent goes to disk for the next process; what cannot is counted as lost."""
        self.give_back()
        self.tidy()
        self.secure()
        self._counts.lost += self._own.memory_events
        for outbox in (*self._adopted, self._own):
            outbox.close()
        self._adopted = []

    def abandon_to_parent(self) -> None:
        """In a forked child: all of this is the parent's."""
        for outbox in (*self._adopted, self._own):
            if outbox.spool is not None:
                outbox.spool.disown()

    def recall_partitions(self) -> int | None:
        """The topic's number of partitions as an earlier process noted it."""
        return None if self._directory is None else self._directory.recall_partitions()

    def note_partitions(self, partitions: int) -> None:
        """Note the topic's number of partitions for later processes."""
        if self._directory is not None:
            try:
                self._directory.note_partitions(partitions)
            except SpoolFailed as failure:
                self._failed(failure)

    def _failed(self, failure: SpoolFailed) -> None:
        self._counts.spool_failures += 1
        left_out = self._warnings.admit("spool")
        if left_out is not None:
            _LOG.warning("the spool failed, batches stay in memory: %s (emitter %s; %d such messages left out)", failure, self._emitter, left_out)
