"""OffsetCommit and OffsetFetch."""

import logging
from collections.abc import Iterable, Mapping
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import RequestContext
from taximeter_sandbox.kafka.groups.committed_offsets import Committed, PartitionKey
from taximeter_sandbox.kafka.protocol.codec import Fields

_NOTHING = Committed(offset=-1, leader_epoch=-1, metadata="")
_logger = logging.getLogger(__name__)


async def offset_commit(context: RequestContext, request: Any) -> Fields:
    """Store a group's positions: from a member of its current generation, or from anyone while the group is empty."""
    broker = context.broker
    instance_id = getattr(request, "group_instance_id", None)
    group_error = broker.groups.commit_error(request.group_id, request.member_id, instance_id, request.generation_id_or_member_epoch)
    accepted: dict[PartitionKey, Committed] = {}
    topics = []
    for topic in request.topics:
        partitions = []
        for wanted in topic.partitions:
            error = group_error if group_error is not ErrorCode.none else _commit_error(context, topic.name, wanted)
            if error is ErrorCode.none:
                epoch = getattr(wanted, "committed_leader_epoch", -1)
                accepted[topic.name, wanted.partition_index] = Committed(wanted.committed_offset, epoch, wanted.committed_metadata)
            partitions.append({"partition_index": wanted.partition_index, "error_code": error})
        topics.append({"name": topic.name, "partitions": partitions})
    try:
        broker.offsets.commit(request.group_id, accepted)
    except OSError as error:
        _logger.error("cannot write committed offsets: %s", error)
        for entry in (entry for topic in topics for entry in topic["partitions"]):
            entry["error_code"] = ErrorCode.unknown_server_error
    return {"topics": topics}


def _commit_error(context: RequestContext, topic: str, wanted: Any) -> ErrorCode:
    if context.broker.topics.log(topic, wanted.partition_index) is None:
        return ErrorCode.unknown_topic_or_partition
    if len((wanted.committed_metadata or "").encode()) > context.broker.settings.offset_metadata_bytes_max:
        return ErrorCode.offset_metadata_too_large
    return ErrorCode.none


async def offset_fetch(context: RequestContext, request: Any) -> Fields:
    """The positions of a group (from version 8: of several); -1 where nothing is committed."""
    if context.api_version < 8:
        return {"topics": _positions(context, request.group_id, request.topics), "error_code": ErrorCode.none}
    groups = [
        {"group_id": group.group_id, "topics": _positions(context, group.group_id, group.topics), "error_code": ErrorCode.none}
        for group in request.groups
    ]
    return {"groups": groups}


def _positions(context: RequestContext, group_id: str, wanted_topics: Iterable[Any] | None) -> list[Fields]:
    committed = context.broker.offsets.of_group(group_id)
    if wanted_topics is None:
        names = sorted({topic for topic, _ in committed})
        return [_topic(name, [partition for topic, partition in committed if topic == name], committed) for name in names]
    return [_topic(topic.name, topic.partition_indexes, committed) for topic in wanted_topics]


def _topic(name: str, partitions: Iterable[int], committed: Mapping[PartitionKey, Committed]) -> Fields:
    entries = []
    for partition in partitions:
        position = committed.get((name, partition), _NOTHING)
        entries.append(
            {
                "partition_index": partition,
                "committed_offset": position.offset,
                "committed_leader_epoch": position.leader_epoch,
                "metadata": position.metadata,
                "error_code": ErrorCode.none,
            }
        )
    return {"name": name, "partitions": entries}
