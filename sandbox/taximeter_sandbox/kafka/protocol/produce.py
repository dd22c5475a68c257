"""Produce and InitProducerId: batches in."""

import logging
import time
from datetime import UTC, datetime, timedelta
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import RequestContext
from taximeter_sandbox.kafka.cluster.broker_faults import ConnectionMustClose
from taximeter_sandbox.kafka.protocol.codec import Fields
from taximeter_sandbox.kafka.storage.batch import BatchRefused, validate_produced
from taximeter_sandbox.kafka.storage.partition_log import Appended

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_logger = logging.getLogger(__name__)


async def produce(context: RequestContext, request: Any) -> Fields | None:
    """Append each partition's batch, and answer with where it went; None for acks=0, which wants no answer."""
    lost_acknowledgement = False
    failed = False
    responses = []
    for topic in request.topic_data:
        partitions = []
        for data in topic.partition_data:
            answer = _produce_one(context, request, topic.name, data.index, data.records or b"")
            partitions.append(answer)
            failed = failed or answer["error_code"] is not ErrorCode.none
        lost_acknowledgement = context.broker.faults.take_lose_acknowledgement(topic.name) or lost_acknowledgement
        responses.append({"name": topic.name, "partition_responses": partitions})
    if lost_acknowledgement:
        raise ConnectionMustClose("the acknowledgement is lost on demand")
    if request.acks == 0:
        if failed:
            raise ConnectionMustClose("a batch was refused and acks=0 leaves no other way to say so")
        return None
    return {"responses": responses}


def _produce_one(context: RequestContext, request: Any, topic_name: str, partition: int, batch: bytes) -> Fields:
    try:
        stored = _append(context, request, topic_name, partition, batch)
    except BatchRefused as error:
        return _answer(partition, error.error, message=str(error))
    except OSError as error:
        _logger.error("cannot write %s-%d: %s", topic_name, partition, error)
        return _answer(partition, ErrorCode.kafka_storage_error, message="the broker's disk refused the write")
    log = context.broker.topics.log(topic_name, partition)
    assert log is not None
    return _answer(partition, ErrorCode.none, stored=stored, log_start_offset=log.start_offset)


def _append(context: RequestContext, request: Any, topic_name: str, partition: int, batch: bytes) -> Appended:
    broker = context.broker
    topic = broker.topics.by_name.get(topic_name)
    log = broker.topics.log(topic_name, partition)
    if topic is None or log is None:
        raise BatchRefused(ErrorCode.unknown_topic_or_partition, f"no partition {partition} of topic {topic_name}")
    if request.transactional_id is not None:
        raise BatchRefused(ErrorCode.transactional_id_authorization_failed, "this development broker has no transactions")
    if request.acks not in {-1, 0, 1}:
        raise BatchRefused(ErrorCode.invalid_required_acks, f"acks={request.acks}")
    if request.acks == -1 and topic.config.in_sync_replicas_min > 1:
        raise BatchRefused(ErrorCode.not_enough_replicas, "min.insync.replicas is above 1 and this broker is alone")
    if len(batch) > topic.config.message_bytes_max:
        raise BatchRefused(ErrorCode.message_too_large, f"{len(batch)} bytes, max.message.bytes is {topic.config.message_bytes_max}")
    header = validate_produced(batch, produce_version=context.api_version)
    if header.has_log_append_time and not topic.config.log_append_time:
        raise BatchRefused(ErrorCode.invalid_timestamp, "only the broker stamps LogAppendTime")
    duplicate = log.producers.find_duplicate(header)
    if duplicate is not None:
        return Appended(duplicate.base_offset, duplicate.append_time_ms)
    append_time_ms = time.time_ns() // 1_000_000 if topic.config.log_append_time else None
    if broker.faults.take_lose_append(topic_name):
        return Appended(log.end_offset, -1 if append_time_ms is None else append_time_ms)
    return log.append(batch, header, append_time_ms=append_time_ms)


def _answer(partition: int, error: ErrorCode, *, stored: Appended | None = None, log_start_offset: int = -1, message: str | None = None) -> Fields:
    stamped = stored is not None and stored.append_time_ms >= 0
    return {
        "index": partition,
        "error_code": error,
        "base_offset": stored.base_offset if stored else -1,
        "log_append_time": _EPOCH + timedelta(milliseconds=stored.append_time_ms) if stored and stamped else None,
        "log_start_offset": log_start_offset,
        "record_errors": (),
        "error_message": message,
    }


async def init_producer_id(context: RequestContext, request: Any) -> Fields:
    """Give an idempotent producer its id; a transactional one is refused for good, so that it does not retry forever."""
    if request.transactional_id is not None:
        return {"error_code": ErrorCode.transactional_id_authorization_failed, "producer_id": -1, "producer_epoch": -1}
    return {"error_code": ErrorCode.none, "producer_id": context.broker.producer_ids.take(), "producer_epoch": 0}
