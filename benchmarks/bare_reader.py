"""A client loop and nothing else, with the settings of the services: `python -m benchmarks.bare_reader SERVERS TOPIC PARTITIONS RECORDS`."""

import asyncio
import sys
from typing import Final

from aiokafka import TopicPartition

from metering.kafka import KafkaSettings, make_log_reader, started

ASSIGNED: Final = "assigned"
FINISHED: Final = "finished"
POLL_MS: Final = 250


async def read(servers: str, topic: str, partitions: int, records: int) -> None:
    """Read so many records from the start of the topic, all partitions; say when it begins and when it has them."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    async with started(make_log_reader(KafkaSettings(bootstrap_servers=tuple(servers.split(","))), client_id="bare-reader")) as consumer:
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        print(ASSIGNED, flush=True)
        found = 0
        while found < records:
            for read_now in (await consumer.getmany(timeout_ms=POLL_MS)).values():
                found += len(read_now)
        print(FINISHED, flush=True)
        # What it has used is looked at now; it is ended from outside.
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])))
