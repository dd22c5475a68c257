"""Who is at work on a cluster: the members of its consumer groups."""

from aiokafka.errors import KafkaError

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogUnavailable


async def running_members(settings: KafkaSettings, group: str) -> int:
    """How many members a consumer group has now. One that was killed is among them until its session ends. Raises LogUnavailable."""
    admin = make_admin(settings, client_id="members")
    try:
        await admin.start()
        return sum(len(found[5]) for response in await admin.describe_consumer_groups([group]) for found in response.groups)
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the members of group {group} cannot be listed: {error!r}") from error
    finally:
        await admin.close()
