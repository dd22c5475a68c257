"""Everything an emitter has still to send: its own batches, and those that dead processes left on the disk. Calls block for the disk at most."""

import logging
from collections.abc import Collection, Iterable
from typing import TYPE_CHECKING, Final

from taximeter_emitter.clock import Clock
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.logs.message_limiter import MessageLimiter
from taximeter_emitter.spool.encoded_batch import EncodedBatch
from taximeter_emitter.spool.outbox import Outbox, Takes, takes_all
from taximeter_emitter.spool.spool_failed import SpoolFailed
from taximeter_emitter.spool.unplaced import UnplacedEvents

if TYPE_CHECKING:
    from pathlib import Path

    from taximeter_emitter.spool.spool import Spool
    from taximeter_emitter.spool.spool_directory import SpoolDirectory

_LOG: Final = logging.getLogger("taximeter.emitter.spool")

_ADOPTED_MAX: Final = 16  # at a time: each has two open files
_SAID_AGAIN_SECONDS: Final = 3_600.0


class Unsent:
    """`directory` None: there is no disk to go to, all waits in memory. `emitter`: the name that its own spool is named by, and
    `secret` what that name belongs to.

    `spools_left`: spools of dead processes that are still to be sent, as far as anybody looked. `spools_unreadable`: those that nobody can read.
    `last_failure`: what the disk said last, if it failed.
    """

    def __init__(self, *, emitter: str, secret: str = "", directory: "SpoolDirectory | None", counts: EmitterCounts, clock: Clock) -> None:
        self.spools_unreadable = 0
        self.last_failure = ""
        self._counts = counts
        self._emitter = emitter
        self._directory = directory
        self._secret = secret
        self._own = Outbox(secret=secret)
        self._adopted: list[Outbox] = []
        self._not_adopted = 0
        self._elsewhere = 0
        self._warnings = MessageLimiter(clock)
        self._unreadable_said = MessageLimiter(clock, interval_seconds=_SAID_AGAIN_SECONDS)

    @property
    def has_disk(self) -> bool:
        """Whether there is a directory to go to."""
        return self._directory is not None

    @property
    def is_empty(self) -> bool:
        """Whether Kafka has acknowledged everything of our own."""
        return self._own.is_empty

    @property
    def spools_left(self) -> int:
        """Spools of dead processes that are not sent yet: those under way, and those that wait for their turn."""
        return len(self._adopted) + self._not_adopted

    @property
    def wants_to_adopt(self) -> bool:
        """Whether those under way are sent, and more wait for their turn."""
        return bool(self._not_adopted) and not self._adopted

    @property
    def memory_bytes(self) -> int:
        """Bytes of batches that are in memory only."""
        return self._own.memory_bytes

    @property
    def spool_bytes(self) -> int:
        """Bytes on disk that this process has to send."""
        return sum(spool.bytes_held for spool in self._spools())

    @property
    def spooled_events(self) -> int:
        """Events on disk that this process has to send."""
        return sum(spool.events_held for spool in self._spools())

    def put(self, batch: EncodedBatch) -> None:
        """Queue a batch of our own behind all others."""
        self._own.put(batch)

    def take(self, takes: Takes = takes_all) -> tuple[Outbox, EncodedBatch] | None:
        """The next batch that may be sent now, our own first, with the outbox to settle it in."""
        for outbox in self._outboxes():
            try:
                batch = outbox.take(takes)
            except SpoolFailed as failure:
                self._failed(failure)
                continue
            if batch is not None:
                return outbox, batch
        return None

    def place(self, partitions: int) -> bool:
        """Make batches of some of the events that have no partition yet; whether there were any."""
        for outbox in self._outboxes():
            if not outbox.has_unplaced:
                continue
            try:
                placed = outbox.place(partitions)
            except SpoolFailed as failure:
                self._failed(failure)
                continue
            if outbox is self._own:
                self._counts.numbered += placed
                self._counts.unplaced -= placed
            return True
        return False

    def settle(self, outbox: Outbox, batch: EncodedBatch) -> None:
        """Kafka has it."""
        if not outbox.settle(batch):
            return
        if outbox is self._own:
            self._counts.sent += batch.count
        else:
            self._counts.adopted += batch.count

    def set_aside(self, outbox: Outbox, batch: EncodedBatch, why: str) -> None:
        """Nobody will take it. It is kept on disk until somebody has it sent again; where there is no disk it is lost, and said to be."""
        kept = self._has_set_aside(outbox, batch, why)
        self._counts.refused += batch.count
        if not kept:
            self._counts.lost += batch.count
        left_out = self._warnings.admit(f"refused {kept}")
        if left_out is not None:
            _LOG.error(
                "a batch of %d events is not taken, and %s: %s (emitter %s, partition %d, numbers from %d; %d such messages left out)",
                batch.count,
                "set aside in the spool; `taximeter spool` lists it and has it sent again"
                if kept
                else "lost, because there is no disk to keep it on",
                why,
                self._emitter,
                batch.partition,
                batch.first_seq,
                left_out,
            )

    def _has_set_aside(self, outbox: Outbox, batch: EncodedBatch, why: str) -> bool:
        """Whether the disk has it."""
        try:
            if outbox is self._own and self._directory is not None and not batch.row:
                spool = self._own_spool(self._directory)
                if self._room(spool, self._directory.bytes_max) < batch.spool_bytes:
                    raise SpoolFailed(f"{self._directory.path}: the spools there take {self._directory.bytes_max:,} bytes, as many as they may")
        except SpoolFailed as failure:
            self._failed(failure)
            outbox.forget(batch)
            return False
        try:
            return outbox.set_aside(batch, why)
        except SpoolFailed as failure:
            self._failed(failure)
            return bool(batch.row)  # then it is where it was, and is refused again after the next look

    def give_back(self) -> None:
        """The producer failed: everything in flight will be sent again."""
        for outbox in self._outboxes():
            self._counts.batches_retried += outbox.give_back()

    def secure(self, partitions: Collection[int] | None = None) -> None:
        """Write to disk what is only in memory of these partitions (None: of all), while there is room."""
        if self._directory is None or not self._own.memory_bytes:
            return
        try:
            room = self._room(self._own_spool(self._directory), self._directory.bytes_max)
            self._counts.spooled += sum(batch.count for batch in self._own.secure(room, partitions))
        except SpoolFailed as failure:
            self._failed(failure)

    def keep_unplaced(self, chunk: UnplacedEvents) -> bool:
        """Write events that have no partition yet to disk; False when it does not take them."""
        if self._directory is None:
            return False
        try:
            spool = self._own_spool(self._directory)
            if self._room(spool, self._directory.bytes_max) < len(chunk.value):
                raise SpoolFailed(f"{self._directory.path}: the spools there take {self._directory.bytes_max:,} bytes, as many as they may")
            spool.append_unplaced(chunk)
        except SpoolFailed as failure:
            self._failed(failure)
            return False
        self._counts.spooled += chunk.events
        self._counts.unplaced += chunk.events
        return True

    def tidy(self) -> None:
        """Remove from disk what Kafka has; let go of spools of dead processes that are sent."""
        for outbox in self._outboxes():
            try:
                outbox.forget_settled()
            except SpoolFailed as failure:  # noqa: PERF203  # each is tried
                self._failed(failure)
        for outbox in [outbox for outbox in self._adopted if outbox.is_empty]:
            self._adopted.remove(outbox)
            outbox.close()

    def has_others(self) -> bool:
        """Whether spools of other processes, dead or alive, are in the directory."""
        return self._directory is not None and self._directory.others(excluding=self._paths())

    def adopt(self, partitions: int) -> None:
        """Take over spools that dead processes left for this topic; looks at the directory, so not for every turn."""
        if self._directory is None:
            return
        adoption = self._directory.adopt(partitions, excluding=self._paths(), spools_max=_ADOPTED_MAX - len(self._adopted))
        for spool in adoption.adopted:
            _LOG.info("adopted the spool %s of a dead emitter with %d events", spool.path.name, spool.events_held)
            self._adopted.append(Outbox(spool))
        for file in adoption.unreadable:
            if self._unreadable_said.admit(str(file.path)) is not None:
                _LOG.warning("the spool %s cannot be read and is left as it is: %s", file.path, file.why)
        self._not_adopted, self.spools_unreadable = adoption.left, len(adoption.unreadable)
        self._elsewhere = self._directory.bytes_elsewhere(excluding=[] if self._own.spool is None else [self._own.spool.path])

    def put_away(self) -> None:
        """The end: what is not sent goes to disk for the next process; what cannot is counted as lost."""
        self.give_back()
        self.tidy()
        self.secure()
        self._counts.lost += self._own.memory_events
        self._not_adopted += len(self._adopted)
        for outbox in self._outboxes():
            outbox.close()
        self._adopted = []

    def abandon_to_parent(self) -> None:
        """In a forked child: all of this is the parent's."""
        for spool in self._spools():
            spool.disown()

    def _outboxes(self) -> Iterable[Outbox]:
        """Our own first: what dead processes left is safe on disk already."""
        return (self._own, *self._adopted)

    def _spools(self) -> "list[Spool]":
        return [outbox.spool for outbox in self._outboxes() if outbox.spool is not None]

    def _paths(self) -> "list[Path]":
        return [spool.path for spool in self._spools()]

    def _own_spool(self, directory: "SpoolDirectory") -> "Spool":
        if self._own.spool is None:
            self._own.spool = directory.create(self._emitter, self._secret)
            self._elsewhere = directory.bytes_elsewhere(excluding=[self._own.spool.path])
        return self._own.spool

    def _room(self, spool: "Spool", bytes_max: int) -> int:
        return bytes_max - spool.bytes_held - self._elsewhere

    def _failed(self, failure: SpoolFailed) -> None:
        self._counts.spool_failures += 1
        self.last_failure = str(failure)
        left_out = self._warnings.admit("spool")
        if left_out is not None:
            _LOG.warning("the spool failed, events stay in memory: %s (emitter %s; %d such messages left out)", failure, self._emitter, left_out)
