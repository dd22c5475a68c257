"""DescribeConfigs, AlterConfigs and IncrementalAlterConfigs."""

from collections.abc import Iterable
from typing import Any

from kio.schema.errors import ErrorCode

from taximeter_sandbox.kafka.cluster.broker import Broker, RequestContext
from taximeter_sandbox.kafka.cluster.topic_config import ConfigEntry
from taximeter_sandbox.kafka.cluster.topics import TopicRefused
from taximeter_sandbox.kafka.protocol.codec import Fields
from taximeter_sandbox.kafka.settings import NODE_ID

_TOPIC, _BROKER = 2, 4
_FROM_TOPIC, _STATIC, _DEFAULT = 1, 4, 5
_SET, _DELETE = 0, 1


async def describe_configs(context: RequestContext, request: Any) -> Fields:
    """The settings of topics and of the broker itself."""
    return {"results": [_describe_one(context.broker, wanted) for wanted in request.resources]}


def _describe_one(broker: Broker, wanted: Any) -> Fields:
    error, message = ErrorCode.none, None
    entries: Iterable[ConfigEntry] = ()
    explicit_source, read_only = _FROM_TOPIC, False
    if wanted.resource_type == _TOPIC:
        topic = broker.topics.by_name.get(wanted.resource_name)
        if topic is None:
            error, message = ErrorCode.unknown_topic_or_partition, "no such topic"
        else:
            entries = topic.config.entries()
    elif wanted.resource_type == _BROKER and wanted.resource_name in {str(NODE_ID), ""}:
        entries, explicit_source, read_only = _broker_entries(broker), _STATIC, True
    else:
        error, message = ErrorCode.invalid_request, "only topics and this broker have settings"
    keys = wanted.configuration_keys
    return {
        "error_code": error,
        "error_message": message,
        "resource_type": wanted.resource_type,
        "resource_name": wanted.resource_name,
        "configs": [
            {
                "name": entry.name,
                "value": entry.value,
                "read_only": read_only,
                "config_source": _DEFAULT if entry.is_default else explicit_source,
                "is_sensitive": False,
                "synonyms": (),
                "documentation": None,
            }
            for entry in entries
            if keys is None or entry.name in keys
        ],
    }


def _broker_entries(broker: Broker) -> list[ConfigEntry]:
    settings = broker.settings
    values = {
        "auto.create.topics.enable": "false",
        "broker.id": str(NODE_ID),
        "default.replication.factor": "1",
        "group.max.session.timeout.ms": str(settings.session_timeout_ms_max),
        "group.min.session.timeout.ms": str(settings.session_timeout_ms_min),
        "message.max.bytes": str(settings.message_bytes_max),
        "num.partitions": str(settings.partitions_default),
        "offset.metadata.max.bytes": str(settings.offset_metadata_bytes_max),
    }
    return [ConfigEntry(name, value, is_default=False) for name, value in values.items()]


async def alter_configs(context: RequestContext, request: Any) -> Fields:
    """Replace all explicit settings of topics."""
    answers = []
    for wanted in request.resources:
        given = {entry.name: entry.value for entry in wanted.configs}
        answers.append(_alter_one(context.broker, wanted, given, validate_only=request.validate_only))
    return {"responses": answers}


async def incremental_alter_configs(context: RequestContext, request: Any) -> Fields:
    """Set or reset single settings of topics; appending to lists is refused, no setting here is a list."""
    answers = []
    for wanted in request.resources:
        topic = context.broker.topics.by_name.get(wanted.resource_name)
        given: dict[str, str | None] = dict(topic.config.explicit) if topic else {}
        if any(entry.config_operation not in {_SET, _DELETE} for entry in wanted.configs):
            answers.append(_altered(wanted, ErrorCode.invalid_request, "only SET and DELETE are done"))
            continue
        for entry in wanted.configs:
            given[entry.name] = entry.value if entry.config_operation == _SET else None
        answers.append(_alter_one(context.broker, wanted, given, validate_only=request.validate_only))
    return {"responses": answers}


def _alter_one(broker: Broker, wanted: Any, given: dict[str, str | None], *, validate_only: bool) -> Fields:
    if wanted.resource_type != _TOPIC:
        return _altered(wanted, ErrorCode.invalid_request, "only topics have settings that change")
    try:
        broker.topics.configure(wanted.resource_name, given, validate_only=validate_only)
    except TopicRefused as error:
        return _altered(wanted, error.error, str(error))
    return _altered(wanted, ErrorCode.none, None)


def _altered(wanted: Any, error: ErrorCode, message: str | None) -> Fields:
    return {
        "error_code": error,
        "error_message": message,
        "resource_type": wanted.resource_type,
        "resource_name": wanted.resource_name,
    }
