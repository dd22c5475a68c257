"""faust-streaming: tokens a customer and minute, each id once, at least once.

Arguments: bootstrap servers, input topic, name of the table of sums, application id, state folder, commit interval in ms, partitions.
Output: the table's changelog, `<application id>-<table>-changelog`: key "<window start in ms>/<customer>", value the total so far; the last
one of a window holds.
"""

import sys
from collections.abc import AsyncIterator
from datetime import datetime
from typing import Any

import faust  # type: ignore[import-not-found]  # not in the project's environment
import orjson

WINDOW_MS = 60_000
BUFFERED_MESSAGES = 10_000


def main(servers: str, source: str, table: str, group: str, folder: str, *, commit_ms: int, partitions: int) -> None:
    """Count until the process is ended."""
    app = faust.App(
        group,
        broker=f"kafka://{servers}",
        store="memory://",
        datadir=folder,
        broker_commit_interval=commit_ms / 1000,
        consumer_auto_offset_reset="earliest",
        consumer_group_instance_id="one",
        topic_partitions=partitions,
        topic_replication_factor=1,
        stream_wait_empty=False,
        producer_threaded=True,
        producer_linger=0.05,
        producer_max_batch_size=256 * 1024,
        web_enabled=False,
    )
    events = app.topic(source, key_type=str, key_serializer="raw", value_serializer="raw", value_type=bytes, partitions=partitions)
    sums = app.Table(table, default=int, key_type=str, value_type=int, partitions=partitions)
    ids = app.Table(f"{table}-ids", default=int, key_type=str, value_type=int, partitions=partitions)

    async def count(stream: Any) -> None:
        await add_all(stream, sums, ids)

    app.agent(events)(count)
    # Tables put a message into this buffer for every change; with the library's 100 it mostly waits for it (its issue 173).
    app.producer.buffer.max_messages = BUFFERED_MESSAGES
    faust.Worker(app, loglevel="WARNING").execute_from_commandline()


async def add_all(stream: AsyncIterator[bytes], sums: Any, ids: Any) -> None:
    """Count the events of a stream; the tables write what changes to their changelogs."""
    async for raw in stream:
        event = orjson.loads(raw)
        identity = event["source"] + "\n" + event["id"]
        if identity in ids:
            continue
        ids[identity] = 1
        time_ms = int(datetime.fromisoformat(event["time"]).timestamp() * 1000)
        usage = event["usage"]
        sums[f"{time_ms - time_ms % WINDOW_MS}/{event['customer']}"] += usage["input_tokens"] + usage["output_tokens"]


if __name__ == "__main__":
    main(*sys.argv[1:6], commit_ms=int(sys.argv[6]), partitions=int(sys.argv[7]))
