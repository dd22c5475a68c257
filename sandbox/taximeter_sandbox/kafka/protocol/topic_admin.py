"""CreateTopics, DeleteTopics, CreatePartitions and DeleteRecords."""

from collections import Counter
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext
from taximeter_sandbox.kafka.cluster.topics import Topic, TopicRefused
from taximeter_sandbox.kafka.protocol.codec import Fields
from taximeter_sandbox.kafka.settings import NODE_ID
from taximeter_sandbox.kafka.storage.partition_log import OffsetOutOfRange

_CONFIG_FROM_TOPIC, _CONFIG_DEFAULT = 1, 5


async def create_topics(context: RequestContext, request: Any) -> Fields:
    """Make topics, each on its own: one refusal does not undo the others."""
    times_named = Counter(wanted.name for wanted in request.topics)
    results = []
    for wanted in request.topics:
        try:
            if times_named[wanted.name] > 1:
                raise TopicRefused(ErrorCode.invalid_request, f"topic {wanted.name} is named more than once")
            topic = _create_one(context.broker, wanted, validate_only=request.validate_only)
        except TopicRefused as error:
            results.append(_creation(wanted.name, error.error, str(error), None))
        else:
            results.append(_creation(wanted.name, ErrorCode.none, None, topic))
    return {"topics": results}


def _create_one(broker: Broker, wanted: Any, *, validate_only: bool) -> Topic | None:
    count, replicas = wanted.num_partitions, wanted.replication_factor
    if wanted.assignments:
        if any(tuple(assignment.broker_ids) != (NODE_ID,) for assignment in wanted.assignments):
            raise TopicRefused(ErrorCode.invalid_replica_assignment, f"the only broker is {NODE_ID}")
        count, replicas = len(wanted.assignments), 1
    if replicas not in {-1, 1}:
        raise TopicRefused(ErrorCode.invalid_replication_factor, f"replication factor {replicas}: this broker is alone")
    config = {entry.name: entry.value for entry in wanted.configs}
    return broker.topics.create(wanted.name, count, config, validate_only=validate_only)


def _creation(name: str, error: ErrorCode, message: str | None, topic: Topic | None) -> Fields:
    entries = topic.config.entries() if topic else []
    return {
        "name": name,
        "topic_id": topic.topic_id if topic else None,
        "error_code": error,
        "error_message": message,
        "num_partitions": len(topic.partitions) if topic else -1,
        "replication_factor": 1 if topic else -1,
        "configs": [
            {
                "name": entry.name,
                "value": entry.value,
                "read_only": False,
                "config_source": _CONFIG_DEFAULT if entry.is_default else _CONFIG_FROM_TOPIC,
                "is_sensitive": False,
            }
            for entry in entries
        ],
    }


async def delete_topics(context: RequestContext, request: Any) -> Fields:
    """Remove topics, their records and the offsets that groups committed for them."""
    if context.api_version < 6:
        return {"responses": [_delete_one(context.broker, name, None) for name in request.topic_names]}
    return {"responses": [_delete_one(context.broker, wanted.name, wanted.topic_id) for wanted in request.topics]}


def _delete_one(broker: Broker, name: str | None, topic_id: Any) -> Fields:
    topic = broker.topics.by_name.get(name) if name is not None else broker.topics.by_id(topic_id)
    if topic is None:
        error = ErrorCode.unknown_topic_or_partition if name is not None else ErrorCode.unknown_topic_id
        return {"name": name, "topic_id": topic_id, "error_code": error, "error_message": "no such topic"}
    broker.topics.delete(topic.name)
    broker.offsets.delete_topic(topic.name)
    return {"name": topic.name, "topic_id": topic.topic_id, "error_code": ErrorCode.none, "error_message": None}


async def create_partitions(context: RequestContext, request: Any) -> Fields:
    """Give topics more partitions."""
    results = []
    for wanted in request.topics:
        error, message = ErrorCode.none, None
        try:
            context.broker.topics.grow(wanted.name, wanted.count, validate_only=request.validate_only)
        except TopicRefused as refused:
            error, message = refused.error, str(refused)
        results.append({"name": wanted.name, "error_code": error, "error_message": message})
    return {"results": results}


async def delete_records(context: RequestContext, request: Any) -> Fields:
    """Move the start of logs forward: what retention does on a real broker, on demand."""
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            log = context.broker.topics.log(topic.name, wanted.partition_index)
            error, low_watermark = ErrorCode.none, -1
            if log is None:
                error = ErrorCode.unknown_topic_or_partition
            else:
                try:
                    low_watermark = log.delete_before(wanted.offset)
                except OffsetOutOfRange:
                    error = ErrorCode.offset_out_of_range
            partitions.append({"partition_index": wanted.partition_index, "low_watermark": low_watermark, "error_code": error})
        topics.append({"name": topic.name, "partitions": partitions})
    return {"topics": topics}
