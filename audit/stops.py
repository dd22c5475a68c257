"""Which partitions their owners have stopped, and why: read from what they commit beside their offsets."""

from collections.abc import Mapping

from aiokafka.errors import KafkaError

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogUnavailable
from metering.kafka.stop_notes import stop_reason


async def stopped_partitions(kafka: KafkaSettings, groups: Mapping[str, str]) -> dict[int, str]:
    """The reasons by partition. `groups`: the consumer group of each service, by the service's name. Raises LogUnavailable."""
    topics = {kafka.topics.events.name, kafka.topics.tallies.name}
    found: dict[int, list[str]] = {}
    admin = make_admin(kafka, client_id="stops")
    try:
        await admin.start()
        for service, group in groups.items():
            for place, entry in (await admin.list_consumer_group_offsets(group)).items():
                reason = stop_reason(entry.metadata)
                if reason is not None and place.topic in topics:
                    found.setdefault(place.partition, []).append(f"{service}: {reason}")
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"what stopped partitions cannot be read: {error!r}") from error
    finally:
        await admin.close()
    return {partition: "; ".join(reasons) for partition, reasons in sorted(found.items())}
