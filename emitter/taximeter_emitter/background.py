"""One thread with its own event loop for the emitter's background work. After a crash in there it starts again, as a new emitter."""

import asyncio
import logging
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Final

from taximeter_emitter.buffer.emit_buffer import EmitBuffer, WhenFull
from taximeter_emitter.buffer.event_encoding import EventDecoder
from taximeter_emitter.clock import Clock
from taximeter_emitter.collecting import Collector
from taximeter_emitter.counts import EmitterCounts
from taximeter_emitter.deadlines import work_to_the_end
from taximeter_emitter.sender import Sender, SendingPace
from taximeter_emitter.spool.unsent import Unsent
from taximeter_emitter.transports.batch_producer import ProducerFactory
from taximeter_emitter.wire.emitter_names import SECRET_BYTES, emitter_name

if TYPE_CHECKING:
    from taximeter_emitter.spool.spool_directory import SpoolDirectory

_LOG: Final = logging.getLogger("taximeter.emitter")

_RESTART_SECONDS: Final = 1.0
_END_SECONDS: Final = 5.0


@dataclass(frozen=True, slots=True, kw_only=True)
class EmitterOptions:
    """What an emitter is made of, checked; times in seconds."""

    source: str
    keep_ids: bool
    partitions: int | None
    spools: "SpoolDirectory | None"
    memory_bytes_max: int
    when_full: WhenFull
    heartbeat_seconds: float
    pace: SendingPace


class EmitterThread:
    """Owns the buffer and everything behind it. `emitter` is the id under which batches are numbered now."""

    def __init__(self, options: EmitterOptions, *, new_producer: ProducerFactory, on_turn: Callable[[], None], clock: Clock) -> None:
        self.counts = EmitterCounts()
        self.buffer = EmitBuffer(bytes_max=options.memory_bytes_max, when_full=options.when_full, counts=self.counts, on_half_full=self._collect_now)
        self.emitter = ""
        self.unsent: Unsent | None = None
        self.sender: Sender | None = None
        self._options = options
        self._new_producer = new_producer
        self._on_turn = on_turn
        self._clock = clock
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._starting = threading.Lock()
        self._written_off = 0
        self._ended = False
        self._is_done = False
        self._close_seconds: float | None = None

    @property
    def has_ended(self) -> bool:
        """Whether it runs no more: what is still in the buffer is lost."""
        return self._ended

    def counted(self) -> EmitterCounts:
        """A copy of the counts, up to date."""
        counts, emitted = self.counts, self.buffer.emitted
        # What was put while the last of it was looked at: nobody takes it any more.
        left = emitted - self.buffer.taken if self._ended else 0
        return replace(
            counts,
            emitted=emitted,
            lost=counts.lost + left,
            rejected=dict(counts.rejected),
            unknown_usage=dict(counts.unknown_usage),
            failures=dict(counts.failures),
        )

    def start(self) -> None:
        """Start the thread, once."""
        with self._starting:
            if self._thread is None:
                # A daemon, so that a program that never closes its emitter can end; the emitter closes itself at exit.
                self._thread = threading.Thread(target=self._run, name="taximeter-emitter", daemon=True)
                self._thread.start()

    def close(self, seconds: float) -> None:
        """Take no more events; send them or put them away within `seconds`; end the thread. Blocks a few seconds longer at most."""
        self.buffer.close()
        self._close_seconds = seconds
        self._in_loop(lambda: self.sender.request_close(seconds) if self.sender else None)
        if self._thread is not None:
            self._thread.join(seconds + _END_SECONDS)

    def abandon_to_parent(self) -> None:
        """In a forked child, where this thread does not run."""
        if self.unsent is not None:
            self.unsent.abandon_to_parent()

    def _collect_now(self) -> None:
        self._in_loop(lambda: self.sender.collect_now() if self.sender else None)

    def _in_loop(self, action: Callable[[], None]) -> None:
        loop = self._loop
        if loop is not None:
            try:
                loop.call_soon_threadsafe(action)
            except RuntimeError:
                # The loop closed between the two lines: a restart or the end, and both look for themselves.
                return

    def _run(self) -> None:
        while not self._run_once():
            self.counts.restarts += 1
            self._write_off()
        self._write_off()
        self._ended = True
        lost = self.counted().lost
        if lost:
            _LOG.error("%d events are lost: %s (emitter %s, source %s)", lost, self._why_lost(), self.emitter, self._options.source)

    def _why_lost(self) -> str:
        """For a person, what neither the way out nor the disk could do."""
        sender, unsent = self.sender, self.unsent
        why = (sender.last_error if sender else "") or "the emitter closed before they were acknowledged"
        if self._options.spools is None:
            return f"{why}; and there is no spool_dir to keep them in"
        return f"{why}; and the spool did not take them: {(unsent.last_failure if unsent else '') or 'the time was over'}"

    def _write_off(self) -> None:
        """Count as lost what a life that ended had taken and not numbered: nothing else knows of these events."""
        unnumbered = self.buffer.taken - self.counts.numbered - self.counts.unplaced - self._written_off
        self._written_off += unnumbered
        self.counts.lost += unnumbered

    def _run_once(self) -> bool:
        """One life of the background work; False when it crashed and is worth another."""
        try:
            asyncio.run(self._life())
        except Exception:  # no error may silence the emitter
            if self._is_done:
                # The interpreter ends, and asyncio cannot join the threads of its executor any more.
                return True
            _LOG.exception("the background work of emitter %s crashed", self.emitter)
            if self._close_seconds is None:
                threading.Event().wait(_RESTART_SECONDS)
                return False
        finally:
            self._loop = None
        return True

    async def _life(self) -> None:
        self._loop = asyncio.get_running_loop()
        work_to_the_end(self._loop)
        options, clock = self._options, self._clock
        secret = secrets.token_hex(SECRET_BYTES)
        self.emitter = emitter_name(secret)
        unsent = self.unsent = Unsent(emitter=self.emitter, secret=secret, directory=options.spools, counts=self.counts, clock=clock)
        collector = Collector(
            buffer=self.buffer,
            unsent=unsent,
            emitter=self.emitter,
            decoder=EventDecoder(options.source, keep_ids=options.keep_ids),
            partitions=options.partitions,
            heartbeat_seconds=options.heartbeat_seconds,
            counts=self.counts,
            clock=clock,
        )
        sender = Sender(
            options.pace,
            buffer=self.buffer,
            collector=collector,
            unsent=unsent,
            new_producer=self._new_producer,
            counts=self.counts,
            on_turn=self._on_turn,
            clock=clock,
        )
        self.sender = sender
        if self._close_seconds is not None:
            sender.request_close(self._close_seconds)
        await sender.run()
        self._is_done = True
