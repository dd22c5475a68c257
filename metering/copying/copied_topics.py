"""The topics of a copy, as long as they are one: they keep the times that are written, where others take the broker's.

So a record of the copy has the log time that it had. Services refuse such topics, so nobody works on a copy that was not adopted.
"""

from dataclasses import replace
from typing import Final

from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from taximeter_emitter.clock import Clock

from metering.copying.partition_copy import CopyWriter
from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.provision import ensure_topics, partition_counts
from metering.kafka.topics import CREATE_TIME, LOG_APPEND_TIME, TopicSpec

_TIME_TYPE: Final = "message.timestamp.type"
_SET_FOR_TOPIC: Final = 1  # the source of a setting that the topic has of its own


class NotACopy(KafkaError):  # type: ignore[misc]  # aiokafka ships no types
    """These topics cannot be made a copy, or are none; the message says why and what to do."""


async def cluster_id(settings: KafkaSettings) -> str:
    """The id that a cluster was given when it was set up. Raises LogUnavailable."""
    admin = make_admin(settings, client_id="cluster")
    try:
        await admin.start()
        return str((await admin.describe_cluster())["cluster_id"])
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the cluster at {', '.join(settings.bootstrap_servers)} does not answer: {error!r}") from error
    finally:
        await admin.close()


async def prepare_copy(settings: KafkaSettings, target: CopyWriter, *, clock: Clock) -> list[str]:
    """Make the topics of a copy where they are missing or were never written to; returns what is wrong, each with the way out.

    Raises NotACopy if a topic with records takes the broker's time: then it is in use. Blocks as `ensure_topics` does.
    """
    existing = await partition_counts(settings, settings.topics)
    for spec in settings.topics:
        if spec.name not in existing or await time_type(settings, spec) == CREATE_TIME:
            continue
        for partition in range(existing[spec.name]):
            if (await target.bounds(spec.name, partition))[1]:
                servers = ", ".join(settings.bootstrap_servers)
                raise NotACopy(f"topic {spec.name} at {servers} has records that are no copy: it is in use, or was adopted already")
        await set_time_type(settings, spec, CREATE_TIME)
    return await ensure_topics(settings, [replace(spec, time_type=CREATE_TIME) for spec in settings.topics], clock=clock)


async def time_type(settings: KafkaSettings, spec: TopicSpec) -> str:
    """Whose time the records of a topic take, LOG_APPEND_TIME or CREATE_TIME. Raises LogUnavailable."""
    return (await _own_settings(settings, spec)).get(_TIME_TYPE, CREATE_TIME)


async def set_time_type(settings: KafkaSettings, spec: TopicSpec, value: str) -> None:
    """Change whose time the records of a topic take; those that it has keep theirs. Raises LogUnavailable."""
    assert value in {CREATE_TIME, LOG_APPEND_TIME}
    # The request replaces all settings of a topic.
    wanted = {**await _own_settings(settings, spec), _TIME_TYPE: value}
    admin = make_admin(settings, client_id="copy-settings")
    try:
        await admin.start()
        for response in await admin.alter_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, wanted)]):
            for code, message, *_ in response.resources:
                if code:
                    raise for_code(code)(message)
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"{_TIME_TYPE} of topic {spec.name} cannot be set to {value}: {error!r}; may this user alter it?") from error
    finally:
        await admin.close()


async def _own_settings(settings: KafkaSettings, spec: TopicSpec) -> dict[str, str]:
    """The settings that a topic has of its own, over those of the brokers."""
    admin = make_admin(settings, client_id="copy-settings")
    found: dict[str, str] = {}
    try:
        await admin.start()
        for response in await admin.describe_configs([ConfigResource(ConfigResourceType.TOPIC, spec.name, None)]):
            for code, message, _, _, entries in response.resources:
                if code:
                    raise for_code(code)(message)
                found |= {name: value for name, value, _, source, *_ in entries if source == _SET_FOR_TOPIC and value is not None}
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the settings of topic {spec.name} cannot be read: {error!r}") from error
    finally:
        await admin.close()
    return found
