"""A client loop and nothing else, with the settings of the services: `python -m benchmarks.bare_reader SERVERS TOPIC PARTITIONS`."""

import asyncio
import sys
from typing import Final

from aiokafka import TopicPartition

from metering.kafka.clients import KafkaSettings, make_log_reader, started

ASSIGNED: Final = "assigned"
FINISHED: Final = "finished"
POLL_MS: Final = 250


async def read(servers: str, topic: str, partitions: int) -> None:
    """Read all that the topic holds, all partitions; say when it begins and when it is through."""
    places = [TopicPartition(topic, number) for number in range(partitions)]
    async with started(make_log_reader(KafkaSettings(bootstrap_servers=tuple(servers.split(","))), client_id="bare-reader")) as consumer:
        consumer.assign(places)
        for place in places:
            consumer.seek(place, 0)
        # By offset and not by number: the client may pass over records when another partition's fetch fails.
        missing = {place: end for place, end in (await consumer.end_offsets(places)).items() if end}
        print(ASSIGNED, flush=True)
        while missing:
            for place, records in (await consumer.getmany(timeout_ms=POLL_MS)).items():
                if records[-1].offset + 1 >= missing[place]:
                    del missing[place]
        print(FINISHED, flush=True)
        # What it has used is looked at now; it is ended from outside.
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(read(sys.argv[1], sys.argv[2], int(sys.argv[3])))
