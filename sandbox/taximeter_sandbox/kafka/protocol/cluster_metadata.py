"""Metadata, DescribeCluster and FindCoordinator: a cluster of one."""

from collections.abc import Iterable
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext
from taximeter_sandbox.kafka.cluster.topics import Topic
from taximeter_sandbox.kafka.protocol.codec import Fields
from taximeter_sandbox.kafka.settings import NODE_ID

_GROUP, _TRANSACTION = 0, 1
_NO_TRANSACTIONS = "this development broker has no transactions"


async def metadata(context: RequestContext, request: Any) -> Fields:
    """The broker and the topics that are asked for; an unknown topic is an error, never made on the way."""
    broker = context.broker
    wants_all = request.topics is None or (context.api_version == 0 and not request.topics)
    topics = [_topic(topic) for topic in broker.topics.by_name.values()] if wants_all else [_wanted(broker, one) for one in request.topics]
    return {
        "brokers": [{"node_id": NODE_ID, "host": broker.host, "port": broker.port, "rack": None}],
        "cluster_id": broker.cluster_id,
        "controller_id": NODE_ID,
        "topics": topics,
    }


def _wanted(broker: Broker, wanted: Any) -> Fields:
    if wanted.name is not None:
        topic = broker.topics.by_name.get(wanted.name)
        error = ErrorCode.unknown_topic_or_partition
    else:
        topic = broker.topics.by_id(wanted.topic_id)
        error = ErrorCode.unknown_topic_id
    if topic is not None:
        return _topic(topic)
    topic_id = getattr(wanted, "topic_id", None)
    return {"error_code": error, "name": wanted.name, "topic_id": topic_id, "is_internal": False, "partitions": ()}


def _topic(topic: Topic) -> Fields:
    partitions = [
        {
            "error_code": ErrorCode.none,
            "partition_index": number,
            "leader_id": NODE_ID,
            "leader_epoch": 0,
            "replica_nodes": (NODE_ID,),
            "isr_nodes": (NODE_ID,),
            "offline_replicas": (),
        }
        for number in range(len(topic.partitions))
    ]
    return {
        "error_code": ErrorCode.none,
        "name": topic.name,
        "topic_id": topic.topic_id,
        "is_internal": False,
        "partitions": partitions,
    }


async def describe_cluster(context: RequestContext, _request: Any) -> Fields:
    """The cluster's id and its one broker."""
    broker = context.broker
    return {
        "error_code": ErrorCode.none,
        "error_message": None,
        "cluster_id": broker.cluster_id,
        "controller_id": NODE_ID,
        "brokers": [{"broker_id": NODE_ID, "host": broker.host, "port": broker.port, "rack": None}],
    }


async def find_coordinator(context: RequestContext, request: Any) -> Fields:
    """This broker, for every group; for a transaction the one error that makes clients stop at once."""
    if context.api_version < 4:
        return _coordinator(context.broker, request.key, getattr(request, "key_type", _GROUP))
    return {"coordinators": _coordinators(context.broker, request.coordinator_keys, request.key_type)}


def _coordinators(broker: Broker, keys: Iterable[str], key_type: int) -> list[Fields]:
    return [_coordinator(broker, key, key_type) for key in keys]


def _coordinator(broker: Broker, key: str, key_type: int) -> Fields:
    if key_type == _GROUP:
        return {
            "error_code": ErrorCode.none,
            "error_message": None,
            "key": key,
            "node_id": NODE_ID,
            "host": broker.host,
            "port": broker.port,
        }
    error = ErrorCode.transactional_id_authorization_failed if key_type == _TRANSACTION else ErrorCode.invalid_request
    return {"error_code": error, "error_message": _NO_TRANSACTIONS, "key": key, "node_id": -1, "host": "", "port": -1}
