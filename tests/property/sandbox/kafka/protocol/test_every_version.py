"""Every API in every version that the broker offers: a request goes in, and kio reads the whole answer."""

import io
import struct
from collections.abc import AsyncIterator, Mapping
from contextlib import closing
from dataclasses import fields
from datetime import timedelta
from pathlib import Path
from typing import Any, get_args, get_type_hints

import pytest
from kio.index import load_request_schema, load_response_schema
from kio.serial import entity_reader, entity_writer
from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext, open_broker
from taximeter_sandbox.kafka.protocol.codec import Fields, RequestStart, build_entity, read_request, read_request_start, write_response
from taximeter_sandbox.kafka.protocol.registry import APIS
from taximeter_sandbox.kafka.settings import BrokerSettings

from tests.support.broker_wire import record_batch

_SECOND = timedelta(seconds=1)
_PARTITION = {"partition_index": 0, "committed_offset": 1, "committed_metadata": "m", "offset": 0, "timestamp": 0}
_JOIN = {"session_timeout": _SECOND, "rebalance_timeout": _SECOND, "protocol_type": "consumer", "member_id": ""}
_RESOURCE = {"resource_type": 2, "resource_name": "t", "configuration_keys": None}
_SETTING = {"name": "retention.ms", "value": "1000", "config_operation": 0}

#: For each API the fields of a request, of all versions together; `build_entity` takes those that a version has.
_REQUESTS: dict[int, Fields] = {
    0: {"transactional_id": None, "acks": -1, "timeout": _SECOND, "topic_data": [{"name": "t", "partition_data": [{"index": 0}]}]},
    1: {"replica_id": -1, "max_wait": timedelta(0), "min_bytes": 1, "max_bytes": 1000, "isolation_level": 0, "forgotten_topics_data": []},
    2: {"replica_id": -1, "isolation_level": 0, "topics": [{"name": "t", "partitions": [_PARTITION]}]},
    3: {
        "topics": [{"name": "t", "topic_id": None}, {"name": "absent", "topic_id": None}],
        "allow_auto_topic_creation": True,
        "include_cluster_authorized_operations": False,
        "include_topic_authorized_operations": False,
    },
    8: {"group_id": "g", "generation_id_or_member_epoch": -1, "member_id": "", "retention_time": _SECOND},
    9: {"group_id": "g", "topics": None, "require_stable": True},
    10: {"key": "g", "key_type": 0, "coordinator_keys": ("g", "h")},
    11: {"protocols": [{"name": "range", "metadata": b"x"}], "reason": None, **_JOIN},
    12: {"group_id": "g", "generation_id": 1, "member_id": "nobody"},
    13: {"group_id": "g", "member_id": "nobody", "members": [{"member_id": "nobody", "group_instance_id": None, "reason": None}]},
    14: {"group_id": "g", "generation_id": 1, "member_id": "nobody", "assignments": [{"member_id": "nobody", "assignment": b"x"}]},
    15: {"groups": ("g", "absent"), "include_authorized_operations": False},
    16: {"states_filter": ()},
    18: {"client_software_name": "test", "client_software_version": "1"},
    19: {"topics": [], "timeout": _SECOND, "validate_only": False},
    20: {"topic_names": ("absent",), "topics": [{"name": "absent", "topic_id": None}], "timeout": _SECOND},
    21: {"topics": [{"name": "t", "partitions": [_PARTITION]}], "timeout": _SECOND},
    22: {"transactional_id": None, "transaction_timeout": _SECOND},
    23: {"replica_id": -1, "topics": [{"topic": "t", "partitions": [{"partition": 0, "current_leader_epoch": 0, "leader_epoch": 0}]}]},
    32: {"resources": [_RESOURCE, {**_RESOURCE, "resource_type": 4, "resource_name": "1"}], "include_documentation": True},
    33: {"resources": [{**_RESOURCE, "configs": [_SETTING]}], "validate_only": False},
    37: {"topics": [{"name": "t", "count": 3, "assignments": None}], "timeout": _SECOND, "validate_only": True},
    42: {"groups_names": ("absent",)},
    44: {"resources": [{**_RESOURCE, "configs": [_SETTING]}], "validate_only": False},
    60: {"include_cluster_authorized_operations": False},
}


def _fields(api_key: int, version: int) -> Fields:
    request: dict[str, Any] = dict(_REQUESTS[api_key])
    if api_key == 0:
        request["topic_data"] = [{"name": "t", "partition_data": [{"index": 0, "records": record_batch([b"x"])}]}]
    if api_key == 1:
        partition = {"partition": 0, "fetch_offset": 0, "partition_max_bytes": 1000}
        request["topics"] = [{"topic": "t", "partitions": [partition, {**partition, "partition": 9}]}]
    if api_key == 8:
        request["topics"] = [{"name": "t", "partitions": [_PARTITION]}]
    if api_key == 9:
        request["topics"] = [{"name": "t", "partition_indexes": (0, 1)}]
        request["groups"] = [{"group_id": "g", "topics": None, "member_id": None, "member_epoch": -1}]
    if api_key == 11:
        request["group_id"] = f"joined-{version}"
    if api_key == 19:
        made = {"name": f"made-{version}", "num_partitions": 1, "replication_factor": 1, "assignments": []}
        setting = {"name": "retention.ms", "value": "1"}
        request["topics"] = [{**made, "configs": [setting]}, {**made, "name": "refused", "replication_factor": 3, "configs": []}]
    return request


@pytest.fixture
async def broker(tmp_path: Path) -> AsyncIterator[Broker]:
    with closing(open_broker(BrokerSettings(data=tmp_path))) as opened:
        opened.topics.create("t", 2, {}, validate_only=False)
        yield opened


@pytest.mark.parametrize(("api_key", "version"), [(key, version) for key, api in APIS.items() for version in range(api.lowest, api.highest + 1)])
async def test_a_request_is_read_handled_and_answered(broker: Broker, api_key: int, version: int) -> None:
    schema = load_request_schema(api_key, version)
    buffer = io.BytesIO()
    header = {"request_api_key": api_key, "request_api_version": version, "correlation_id": 9, "client_id": "c"}
    entity_writer(schema.__header_schema__)(buffer, build_entity(schema.__header_schema__, header))
    entity_writer(schema)(buffer, build_entity(schema, _fields(api_key, version)))
    start = read_request_start(buffer.getvalue())
    assert start == RequestStart(api_key, version, 9)
    client_id, request = read_request(buffer.getvalue(), start)
    assert client_id == "c"

    response = await APIS[api_key].handle(RequestContext(broker, version, client_id, "host"), request)
    assert response is not None
    frame = bytes(write_response(start, response))

    assert struct.unpack_from(">i", frame) == (len(frame) - 4,)
    response_schema = load_response_schema(api_key, version)
    answer_header, size = entity_reader(response_schema.__header_schema__)(frame, 4)
    answer, body_size = entity_reader(response_schema)(frame, 4 + size)
    assert answer_header.correlation_id == 9
    assert 4 + size + body_size == len(frame)
    assert "unknown_server_error" not in repr(answer)


def _names_in(schema: type[Any], names: dict[str, set[str]]) -> None:
    """Add the field names of a kio class to ``names``, by the name of the field that holds the class; nested ones too."""
    for field in fields(schema):
        names.setdefault(schema.__name__, set()).add(field.name)
    for hint in get_type_hints(schema).values():
        for nested in (hint, *get_args(hint), *(inner for outer in get_args(hint) for inner in get_args(outer))):
            if isinstance(nested, type) and hasattr(nested, "__flexible__"):
                _names_in(nested, names)


def _keys_in(response: Any) -> set[str]:
    if isinstance(response, Mapping):
        return set(response) | {key for value in response.values() for key in _keys_in(value)}
    if isinstance(response, list | tuple):
        return {key for item in response for key in _keys_in(item)}
    return set()


@pytest.mark.parametrize("api_key", list(APIS))
async def test_a_handler_gives_no_field_that_no_version_has(broker: Broker, api_key: int) -> None:
    """Fields that a version lacks are left out of its answer, so a misspelt one would be left out of all."""
    names: dict[str, set[str]] = {}
    keys: set[str] = set()
    for version in range(APIS[api_key].lowest, APIS[api_key].highest + 1):
        _names_in(load_response_schema(api_key, version), names)
        request = build_entity(load_request_schema(api_key, version), _fields(api_key, version))
        response = await APIS[api_key].handle(RequestContext(broker, version, "c", "host"), request)
        keys |= _keys_in(response)
    assert keys <= set().union(*names.values())
