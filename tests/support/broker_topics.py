"""Topics that no other test uses."""

import uuid
from collections.abc import Mapping

from aiokafka.admin import AIOKafkaAdminClient, NewTopic

LOG_APPEND_TIME = {"message.timestamp.type": "LogAppendTime"}


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
    finally:
        await admin.close()
    return name
