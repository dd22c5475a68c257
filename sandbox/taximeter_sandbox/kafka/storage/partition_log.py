"""The log of one partition: an append-only file of record batches, exactly as fetch hands them out."""

import asyncio
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from taximeter_sandbox.kafka.storage.batch import HEADER_BYTES, LENGTH_OVERHEAD, BatchHeader, parse_header, parse_prefix, stamped_header
from taximeter_sandbox.kafka.storage.documents import read_document, write_document
from taximeter_sandbox.kafka.storage.producer_state import ProducerStates
from taximeter_sandbox.kafka.storage.record_times import first_record_at_or_after
from taximeter_sandbox.kafka.storage.recovery import recover
from taximeter_sandbox.kafka.storage.sparse_index import INTERVAL_BYTES

_WALK_BYTES = 64 * 1024


class OffsetOutOfRange(Exception):
    """An offset below the log's start or above its end."""


@dataclass(frozen=True, slots=True)
class Appended:
    """Where a batch went; ``append_time_ms`` is -1 when the producer's own time was kept."""

    base_offset: int
    append_time_ms: int


class PartitionLog:
    """One partition. All methods block on the page cache only, except that ``append`` waits for the disk where fsync is asked for.

    Not for several threads: the broker is one event loop.
    """

    def __init__(self, path: Path, *, fsync_each_append: bool) -> None:
        """Open or create the log at ``path`` and repair its tail. Raises CorruptLog, OSError."""
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
        self._start_path = path.with_suffix(".start")
        self._fsync_each_append = fsync_each_append
        try:
            recovered = recover(self._fd, path)
            start = read_document(self._start_path)
        except BaseException:
            os.close(self._fd)
            raise
        self._index = recovered.index
        self._size = recovered.size
        self.producers: ProducerStates = recovered.producers
        self.end_offset: int = recovered.end_offset
        #: Bytes that the repair at opening cut off: a batch whose write was interrupted, never acknowledged.
        self.truncated_bytes: int = recovered.truncated_bytes
        self.start_offset: int = min(start["offset"], self.end_offset) if start else 0
        self._waiting: set[asyncio.Future[None]] = set()

    def close(self) -> None:
        """Flush to the disk and close; wakes those that wait for an append."""
        self.wake()
        os.fsync(self._fd)
        os.close(self._fd)

    def abandon(self) -> None:
        """Close without flushing: the file is about to be deleted."""
        self.wake()
        os.close(self._fd)

    def append(self, batch: bytes, header: BatchHeader, *, append_time_ms: int | None) -> Appended:
        """Store a validated batch at the end. Raises OSError when the disk refuses, and then the log is as before."""
        base_offset = self.end_offset
        head = stamped_header(batch, header, base_offset=base_offset, append_time_ms=append_time_ms)
        self._write(head, memoryview(batch)[HEADER_BYTES:])
        stamp = -1 if append_time_ms is None else append_time_ms
        self._index.add_batch(base_offset, self._size, header.max_timestamp if append_time_ms is None else append_time_ms)
        self.producers.remember(header, base_offset, stamp)
        self._size += header.size
        self.end_offset = base_offset + header.record_count
        self.wake()
        return Appended(base_offset, stamp)

    def read(self, offset: int, bytes_max: int, *, at_least_one_batch: bool) -> bytes:
        """Whole batches from the one that holds ``offset``, at most ``bytes_max`` bytes, or one batch if that alone is larger.

        Empty at the end of the log, and without ``at_least_one_batch`` when the first is too large. Raises OffsetOutOfRange.
        """
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRange(f"offset {offset} is outside {self.start_offset}..{self.end_offset}")
        if offset == self.end_offset:
            return b""
        start = self._position_of(offset)
        end = self._whole_batches_end(start, bytes_max, at_least_one_batch=at_least_one_batch)
        return os.pread(self._fd, end - start, start)

    def bytes_from(self, offset: int) -> int:
        """Bytes of log at and after the batch that holds ``offset``, give or take one index interval. Raises OffsetOutOfRange."""
        if not self.start_offset <= offset <= self.end_offset:
            raise OffsetOutOfRange(f"offset {offset} is outside {self.start_offset}..{self.end_offset}")
        if offset == self.end_offset:
            return 0
        return self._size - self._index.position_at_or_before(offset)

    def find_time(self, timestamp_ms: int) -> tuple[int, int] | None:
        """(offset, timestamp) of the first record that is not older than ``timestamp_ms``, or None."""
        if self._index.max_timestamp < timestamp_ms or self.start_offset == self.end_offset:
            return None
        first = max(self._index.position_before_time(timestamp_ms), self._position_of(self.start_offset))
        for position, header in self._headers_from(first):
            if header.max_timestamp >= timestamp_ms:
                batch = os.pread(self._fd, header.size, position)
                offset, timestamp = first_record_at_or_after(batch, header, timestamp_ms)
                return max(offset, self.start_offset), timestamp
        return None

    def delete_before(self, offset: int) -> int:
        """Move the log's start to ``offset`` (-1: to the end) and return it; the bytes stay on disk. Raises OffsetOutOfRange."""
        wanted = self.end_offset if offset == -1 else offset
        if not 0 <= wanted <= self.end_offset:
            raise OffsetOutOfRange(f"offset {offset} is outside 0..{self.end_offset}")
        if wanted > self.start_offset:
            write_document(self._start_path, {"offset": wanted})
            self.start_offset = wanted
            self.wake()
        return self.start_offset

    def notify(self, waiting: asyncio.Future[None]) -> None:
        """Have ``waiting`` resolved by the next append; take it back with ``forget``."""
        self._waiting.add(waiting)

    def forget(self, waiting: asyncio.Future[None]) -> None:
        """Undo ``notify``."""
        self._waiting.discard(waiting)

    def wake(self) -> None:
        """Resolve everyone who waits: the log has changed or goes away."""
        for waiting in self._waiting:
            if not waiting.done():
                waiting.set_result(None)
        self._waiting.clear()

    def _write(self, head: bytes, body: memoryview) -> None:
        try:
            written = os.pwritev(self._fd, [head, body], self._size)
            if written < len(head) + len(body):
                rest = (head + bytes(body))[written:]
                while rest:
                    count = os.pwrite(self._fd, rest, self._size + written)
                    written, rest = written + count, rest[count:]
            if self._fsync_each_append:
                os.fdatasync(self._fd)
        except OSError:
            os.ftruncate(self._fd, self._size)
            raise

    def _position_of(self, offset: int) -> int:
        position = self._index.position_at_or_before(offset)
        for start, header in self._headers_from(position, chunk_bytes=INTERVAL_BYTES + HEADER_BYTES):
            if header.next_offset > offset:
                return start
        return self._size

    def _headers_from(self, position: int, chunk_bytes: int = _WALK_BYTES) -> Iterator[tuple[int, BatchHeader]]:
        """(position, header) of each batch from the one that starts at ``position`` to the end."""
        chunk, chunk_start = b"", position
        while position < self._size:
            within = position - chunk_start
            if within + HEADER_BYTES > len(chunk):
                chunk, chunk_start, within = os.pread(self._fd, chunk_bytes, position), position, 0
            header = parse_header(chunk, within)
            yield position, header
            position += header.size

    def _whole_batches_end(self, start: int, bytes_max: int, *, at_least_one_batch: bool) -> int:
        limit = start + bytes_max
        if self._size <= limit:
            return self._size
        boundary = self._index.last_boundary(limit)
        if boundary > start:
            return boundary
        end = start
        while end < self._size:
            _, size = parse_prefix(os.pread(self._fd, LENGTH_OVERHEAD, end), 0)
            if end + size > limit:
                break
            end += size
        if end == start and at_least_one_batch:
            _, size = parse_prefix(os.pread(self._fd, LENGTH_OVERHEAD, start), 0)
            end = start + size
        return end
