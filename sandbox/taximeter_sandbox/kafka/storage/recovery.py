"""Read a partition's file once, at opening: rebuild what is kept in memory and cut off a torn tail."""

import os
from dataclasses import dataclass, field
from pathlib import Path

from taximeter_sandbox.kafka.storage.batch import HEADER_BYTES, BatchHeader, checksum_matches, parse_header
from taximeter_sandbox.kafka.storage.producer_state import ProducerStates
from taximeter_sandbox.kafka.storage.sparse_index import SparseIndex

_CHUNK_BYTES = 4 * 1024 * 1024
#: No request, and so no batch, is larger.
_TORN_BYTES_MAX = 100 * 1024 * 1024


class CorruptLog(Exception):
    """A log is damaged somewhere before its tail, so that cutting it there would lose acknowledged records."""


@dataclass(slots=True)
class Recovered:
    """The state of a log after its file was read from end to end."""

    index: SparseIndex = field(default_factory=SparseIndex)
    producers: ProducerStates = field(default_factory=ProducerStates)
    size: int = 0
    end_offset: int = 0
    truncated_bytes: int = 0


def recover(fd: int, path: Path) -> Recovered:
    """Read the whole log behind ``fd``, every checksum included, and truncate a batch that was being written when the process died.

    Only a last batch can be torn, since a batch is appended in one piece after the one before it. Raises CorruptLog for other damage.
    """
    recovered = Recovered()
    file_size = os.fstat(fd).st_size
    chunk, chunk_start = b"", 0
    while recovered.size < file_size:
        position = recovered.size
        within = position - chunk_start
        header = parse_header(chunk, within) if within + HEADER_BYTES <= len(chunk) else None
        if header is None or within + header.size > len(chunk):
            if position + HEADER_BYTES > file_size:
                break
            chunk, chunk_start, within = os.pread(fd, _CHUNK_BYTES, position), position, 0
            header = parse_header(chunk)
            if _follows(recovered, header) and position + header.size > file_size:
                if _batch_after(fd, header, position, file_size):
                    raise CorruptLog(f"{path}: the batch at byte {position} has a damaged length and is not the last one")
                break
            if header.size > len(chunk):
                chunk = os.pread(fd, header.size, position)
        if not _follows(recovered, header) or not checksum_matches(memoryview(chunk)[within : within + header.size], header):
            if position + header.size == file_size:
                break
            raise CorruptLog(f"{path}: the batch at byte {position} is damaged and is not the last one")
        _take(recovered, header)
    if recovered.size < file_size:
        recovered.truncated_bytes = file_size - recovered.size
        os.ftruncate(fd, recovered.size)
    return recovered


def _batch_after(fd: int, header: BatchHeader, position: int, file_size: int) -> bool:
    """Whether the supposed torn tail contains a valid batch: then nothing was torn, and a length is wrong."""
    if file_size - position > _TORN_BYTES_MAX:
        return True
    tail = os.pread(fd, file_size - position, position)
    found = HEADER_BYTES
    while (found := tail.find(header.next_offset.to_bytes(8, "big"), found)) >= 0:
        if found + HEADER_BYTES <= len(tail):
            following = parse_header(tail, found)
            if following.size <= len(tail) - found and checksum_matches(memoryview(tail)[found:], following):
                return True
        found += 1
    return False


def _follows(recovered: Recovered, header: BatchHeader) -> bool:
    return header.magic == 2 and header.base_offset == recovered.end_offset and header.size >= HEADER_BYTES and header.last_offset_delta >= 0


def _take(recovered: Recovered, header: BatchHeader) -> None:
    recovered.index.add_batch(header.base_offset, recovered.size, header.max_timestamp)
    append_time = header.max_timestamp if header.has_log_append_time else -1
    recovered.producers.remember(header, header.base_offset, append_time)
    recovered.size += header.size
    recovered.end_offset = header.next_offset
