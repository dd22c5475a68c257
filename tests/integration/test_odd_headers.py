"""Whatever a header of a record is: an event or a dead letter, and the aggregator goes on."""

import asyncio
from collections import Counter
from pathlib import Path

import orjson
import pytest
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings, started
from metering.records.tally import decode_tally
from tests.support.aggregator_process import aggregator
from tests.support.usage_topic import make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

Headers = list[tuple[str, bytes | None]]
TAKEN: list[Headers] = [[], [("traceparent", None)], [("", b"")], [("content-type", b"application/json")]]
SET_ASIDE: list[Headers] = [
    [("content-type", None)],
    [("ce_id", None)],
    [("ce_specversion", None), ("ce_id", b"1")],
    [("content-type", b"\xff")],
    [("content-encoding", None)],
]


async def test_null_and_odd_headers_stop_nothing(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    every = TAKEN + SET_ASIDE
    with aggregator(kafka, tmp_path) as process:
        async with started(make_producer(kafka.options(), client_id="odd", record_bytes_max=EVENT_RECORD_BYTES_MAX)) as producer:
            for number, headers in enumerate(every * 2):
                value = orjson.dumps({"id": f"e{number}", "customer": "cus_1", "usage": {"n": 1}})
                await producer.send_and_wait(kafka.topics.events.name, value, key=b"cus_1", headers=headers)
        async with asyncio.timeout(60):
            while sum((outcomes := await counted(kafka)).values()) < 2 * len(every):
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.1)
        process.until_it_says('"ok":true')
    assert outcomes == {"counted": 2 * len(TAKEN), "bad_header": 2 * len(SET_ASIDE)}
    assert len(await read_topic(kafka, kafka.topics.deadletters.name)) == 2 * len(SET_ASIDE)
    # Verification reads the log with the same result.
    report = await verify(kafka)
    assert report.problems.shown == []
    assert (report.events["counted"], report.dead_lettered) == (2 * len(TAKEN), {"bad_header": 2 * len(SET_ASIDE)})


async def counted(kafka: KafkaSettings) -> Counter[str]:
    """Outcomes of events in all tallies; there is one aggregator, so each of them is accepted."""
    found: Counter[str] = Counter()
    for _, value in await read_topic(kafka, kafka.topics.tallies.name):
        events = decode_tally(value).events
        found.update({"counted": events.counted, **events.dead_lettered})
    return +found
