"""Topics that no other test uses."""

import asyncio
import uuid
from collections.abc import Mapping
from typing import Final

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

LOG_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}
VISIBLE_SECONDS_MAX: Final = 20.0


def unique_name(prefix: str = "test") -> str:
    """A name for a topic or a group that nobody else has."""
    return f"{prefix}-{uuid.uuid4().hex[:12]}"


async def make_topic(bootstrap: str, *, partitions: int = 1, config: Mapping[str, str] | None = None, prefix: str = "test") -> str:
    """Create a topic with a unique name, wait until the broker accepts it, and return the name."""
    name = unique_name(prefix)
    admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap)
    await admin.start()
    try:
        response = await admin.create_topics([NewTopic(name, partitions, 1, topic_configs=dict(config or {}))])
        assert [error[1] for error in response.topic_errors] == [0], response
        await visible(admin, name, partitions)
    finally:
        await admin.close()
    return name


async def visible(admin: AIOKafkaAdminClient, name: str, partitions: int) -> None:
    """Wait until the broker shows a topic with this many partitions and a leader for each; 0: until it shows none.

    A broker of a KRaft cluster answers a change when the controller has it, and learns of it itself a moment later.
    """
    async with asyncio.timeout(VISIBLE_SECONDS_MAX):
        while True:
            shown = [topic["partitions"] for topic in await admin.describe_topics() if topic["topic"] == name]
            if len(shown) == (partitions > 0) and all(len(each) == partitions and all(one["leader"] >= 0 for one in each) for each in shown):
                return
            await asyncio.sleep(0.05)
