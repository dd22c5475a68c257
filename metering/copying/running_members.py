"""Who is at work on a cluster: the members of its consumer groups."""

from random import Random
from typing import Final

from aiokafka.errors import GroupCoordinatorNotAvailableError, KafkaError, NotCoordinatorForGroupError
from taximeter_emitter.clock import Clock
from taximeter_emitter.retry import RetryPolicy, retrying

from metering.kafka.clients import KafkaSettings, make_admin
from metering.kafka.partition_log import LogUnavailable

# A cluster in which no group has ever been makes the topic of their offsets first.
_PATIENCE: Final = RetryPolicy(base_seconds=0.2, cap_seconds=1.0, deadline_seconds=15.0)


async def running_members(settings: KafkaSettings, group: str, *, clock: Clock) -> int:
    """How many members a consumer group has now. One that was killed is among them until its session ends. Raises LogUnavailable."""
    admin = make_admin(settings, client_id="members")

    async def count() -> int:
        return sum(len(found[5]) for response in await admin.describe_consumer_groups([group]) for found in response.groups)

    try:
        await admin.start()
        retried = (GroupCoordinatorNotAvailableError, NotCoordinatorForGroupError)
        return await retrying(count, policy=_PATIENCE, clock=clock, random=Random(), retry_on=retried)
    except (KafkaError, TimeoutError) as error:
        raise LogUnavailable(f"the members of group {group} cannot be listed: {error!r}") from error
    finally:
        await admin.close()
