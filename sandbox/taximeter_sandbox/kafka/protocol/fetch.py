"""Fetch, ListOffsets and OffsetForLeaderEpoch: batches out."""

import asyncio
from collections.abc import Iterator
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import RequestContext
from taximeter_sandbox.kafka.protocol.codec import Fields
from taximeter_sandbox.kafka.storage.partition_log import OffsetOutOfRange, PartitionLog

_WAIT_S_MAX = 60.0
_LATEST, _EARLIEST = -1, -2


async def fetch(context: RequestContext, request: Any) -> Fields:
    """Read from each partition; waits up to ``max_wait`` until ``min_bytes`` are there."""
    loop = asyncio.get_running_loop()
    deadline = loop.time() + min(request.max_wait.total_seconds(), _WAIT_S_MAX)
    while not _enough(context, request):
        left = deadline - loop.time()
        if left <= 0:
            break
        await _wait_for_append([log for _, _, log in _partitions(context, request) if log is not None], left)
    bytes_left = min(request.max_bytes, context.broker.settings.fetch_bytes_max)
    responses = []
    nothing_yet = True
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            answer = _read_one(context, topic.topic, wanted, bytes_left, at_least_one_batch=nothing_yet)
            nothing_yet = nothing_yet and not answer["records"]
            bytes_left = max(0, bytes_left - len(answer["records"]))
            partitions.append(answer)
        responses.append({"topic": topic.topic, "partitions": partitions})
    # Session 0 tells the client that there is no fetch session: each request names all that it wants.
    return {"error_code": ErrorCode.none, "session_id": 0, "responses": responses}


def _partitions(context: RequestContext, request: Any) -> Iterator[tuple[str, Any, PartitionLog | None]]:
    for topic in request.topics:
        for wanted in topic.partitions:
            yield topic.topic, wanted, context.broker.topics.log(topic.topic, wanted.partition)


def _enough(context: RequestContext, request: Any) -> bool:
    """Whether to answer now: enough bytes, an error to report, or nothing to wait for."""
    available = 0
    asked = False
    for _, wanted, log in _partitions(context, request):
        asked = True
        if log is None:
            return True
        try:
            available += min(log.bytes_from(wanted.fetch_offset), wanted.partition_max_bytes)
        except OffsetOutOfRange:
            return True
        if available >= request.min_bytes:
            return True
    return not asked


async def _wait_for_append(logs: list[PartitionLog], seconds: float) -> None:
    loop = asyncio.get_running_loop()
    waiting: asyncio.Future[None] = loop.create_future()
    for log in logs:
        log.notify(waiting)
    timer = loop.call_later(seconds, _time_is_up, waiting)
    try:
        await waiting
    finally:
        timer.cancel()
        for log in logs:
            log.forget(waiting)


def _time_is_up(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)


def _read_one(context: RequestContext, topic: str, wanted: Any, bytes_left: int, *, at_least_one_batch: bool) -> Fields:
    log = context.broker.topics.log(topic, wanted.partition)
    error, records = ErrorCode.none, b""
    if log is None:
        error = ErrorCode.unknown_topic_or_partition
    else:
        try:
            records = log.read(wanted.fetch_offset, min(wanted.partition_max_bytes, bytes_left), at_least_one_batch=at_least_one_batch)
        except OffsetOutOfRange:
            error = ErrorCode.offset_out_of_range
        except OSError:
            error = ErrorCode.kafka_storage_error
    known = log is not None and error is ErrorCode.none
    return {
        "partition_index": wanted.partition,
        "error_code": error,
        "high_watermark": log.end_offset if log and known else -1,
        "last_stable_offset": log.end_offset if log and known else -1,
        "log_start_offset": log.start_offset if log and known else -1,
        "aborted_transactions": None,
        "records": records,
    }


async def list_offsets(context: RequestContext, request: Any) -> Fields:
    """The offset of the log's end (-1), its start (-2), or of the first record not older than a time in ms."""
    topics = []
    for topic in request.topics:
        partitions = [_list_one(context.broker.topics.log(topic.name, wanted.partition_index), wanted) for wanted in topic.partitions]
        topics.append({"name": topic.name, "partitions": partitions})
    return {"topics": topics}


def _list_one(log: PartitionLog | None, wanted: Any) -> Fields:
    error, offset, timestamp = ErrorCode.none, -1, -1
    if log is None:
        error = ErrorCode.unknown_topic_or_partition
    elif wanted.timestamp == _LATEST:
        offset = log.end_offset
    elif wanted.timestamp == _EARLIEST:
        offset = log.start_offset
    elif wanted.timestamp < 0:
        error = ErrorCode.unsupported_version
    else:
        offset, timestamp = log.find_time(wanted.timestamp) or (-1, -1)
    return {
        "partition_index": wanted.partition_index,
        "error_code": error,
        "timestamp": timestamp,
        "offset": offset,
        "leader_epoch": 0 if offset >= 0 else -1,
    }


async def offset_for_leader_epoch(context: RequestContext, request: Any) -> Fields:
    """Where a leader epoch ends: there is only epoch 0, and it ends at the log's end."""
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            log = context.broker.topics.log(topic.topic, wanted.partition)
            partitions.append(
                {
                    "error_code": ErrorCode.none if log else ErrorCode.unknown_topic_or_partition,
                    "partition": wanted.partition,
                    "leader_epoch": 0 if log and wanted.leader_epoch >= 0 else -1,
                    "end_offset": log.end_offset if log and wanted.leader_epoch >= 0 else -1,
                }
            )
        topics.append({"topic": topic.topic, "partitions": partitions})
    return {"topics": topics}
