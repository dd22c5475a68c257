"""Which APIs the broker speaks, in which versions, and who handles each."""

from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import RequestContext
from taximeter_sandbox.kafka.protocol import cluster_metadata, config_admin, fetch, group_membership, offset_commits, produce, topic_admin
from taximeter_sandbox.kafka.protocol.codec import Fields

#: Takes a parsed request and gives the fields of the response, or None where no answer is due.
Handler = Callable[[RequestContext, Any], Awaitable[Fields | None]]

API_VERSIONS = 18
_PRODUCE = 0


@dataclass(frozen=True, slots=True)
class Api:
    """One API: the versions that are handled, both ends included."""

    lowest: int
    highest: int
    handle: Handler


async def api_versions(_context: RequestContext, _request: Any) -> Fields:
    """What this broker speaks."""
    return versions_response(ErrorCode.none)


def versions_response(error: ErrorCode) -> Fields:
    """The table as clients see it. Produce is shown from version 0, as Apache Kafka does since 4.0: librdkafka takes its absence for a
    broker that cannot store compressed batches."""
    api_keys = [{"api_key": key, "min_version": 0 if key == _PRODUCE else api.lowest, "max_version": api.highest} for key, api in APIS.items()]
    return {"error_code": error, "api_keys": api_keys}


# Versions end where Kafka began to name topics by id alone in Fetch (13), Produce (13) and OffsetCommit (10), or where a newer group
# protocol begins; clients choose the highest that both sides speak. APIs of transactions are absent, which clients report as unsupported.
APIS: Mapping[int, Api] = {
    _PRODUCE: Api(3, 9, produce.produce),
    1: Api(4, 12, fetch.fetch),
    2: Api(1, 6, fetch.list_offsets),
    3: Api(0, 12, cluster_metadata.metadata),
    8: Api(2, 8, offset_commits.offset_commit),
    9: Api(1, 8, offset_commits.offset_fetch),
    10: Api(0, 4, cluster_metadata.find_coordinator),
    11: Api(0, 9, group_membership.join_group),
    12: Api(0, 4, group_membership.heartbeat),
    13: Api(0, 5, group_membership.leave_group),
    14: Api(0, 5, group_membership.sync_group),
    15: Api(0, 5, group_membership.describe_groups),
    16: Api(0, 4, group_membership.list_groups),
    API_VERSIONS: Api(0, 3, api_versions),
    19: Api(2, 7, topic_admin.create_topics),
    20: Api(1, 6, topic_admin.delete_topics),
    21: Api(0, 2, topic_admin.delete_records),
    22: Api(0, 4, produce.init_producer_id),
    23: Api(2, 4, fetch.offset_for_leader_epoch),
    32: Api(1, 4, config_admin.describe_configs),
    33: Api(0, 2, config_admin.alter_configs),
    37: Api(0, 3, topic_admin.create_partitions),
    42: Api(0, 2, group_membership.delete_groups),
    44: Api(0, 1, config_admin.incremental_alter_configs),
    60: Api(0, 1, cluster_metadata.describe_cluster),
}
