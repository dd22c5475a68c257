"""What processes leave on disk is counted once by the aggregator, although none of them reached Kafka and some were killed on the way."""

import asyncio
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from audit.verification.verifier import verify
from metering.kafka.clients import KafkaSettings
from metering.records.tally import decode_tally
from tests.support.aggregator_process import aggregator
from tests.support.usage_topic import make_topics, read_topic, settings_for

pytestmark = pytest.mark.broker

# Nothing listens on the discard port of a machine that runs tests.
BILLED_TO_NOBODY = "127.0.0.1:9"
EVENTS = 1_000

PROGRAM = """
import os, signal, sys, time
from taximeter_emitter import Emitter
servers, topic, spool, events, ending = sys.argv[1:]
emitter = Emitter(bootstrap_servers=servers, topic=topic, source="test", spool_dir=spool)
for number in range(int(events)):
    assert emitter.emit(customer="cus_%d" % (number % 17), usage=dict(n=1))
if ending == "killed while Kafka is away":
    while emitter.stats().spooled_events < int(events):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
if ending == "killed while it sends for others":
    while not emitter.stats().counts.adopted:
        time.sleep(0.001)
    os.kill(os.getpid(), signal.SIGKILL)
stats = emitter.close(20)
assert stats.counts.lost == 0, stats
"""


def live(kafka: KafkaSettings, spool: Path, *, servers: str, events: int = EVENTS, ending: str = "closed") -> None:
    """One life of a process."""
    command = [sys.executable, "-c", PROGRAM, servers, kafka.topics.events.name, str(spool), str(events), ending]
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=120)
    assert (done.returncode == 0) == (ending == "closed"), done.stderr


async def test_each_event_is_counted_once_whoever_is_killed(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    spool = tmp_path / "spool"
    for _ in range(3):
        live(kafka, spool, servers=BILLED_TO_NOBODY)
        live(kafka, spool, servers=BILLED_TO_NOBODY, ending="killed while Kafka is away")
    with aggregator(kafka, tmp_path / "aggregator") as process:
        for _ in range(3):
            live(kafka, spool, servers=broker, events=0, ending="killed while it sends for others")
        live(kafka, spool, servers=broker, events=10)
        assert not list(spool.glob("*.spool"))
        async with asyncio.timeout(60):
            while (outcomes := await counted(kafka))["counted"] < 6 * EVENTS + 10:
                assert process.process.poll() is None, process.log
                await asyncio.sleep(0.1)
        process.until_it_says('"ok":true')
    assert outcomes == {"counted": 6 * EVENTS + 10, "units": 6 * EVENTS + 10}
    report = await verify(kafka)
    assert report.problems.shown == []
    assert report.events["counted"] == 6 * EVENTS + 10


async def counted(kafka: KafkaSettings) -> Counter[str]:
    """Outcomes of events in all tallies, and the units in their rows; there is one aggregator, so each tally is accepted."""
    found: Counter[str] = Counter()
    for _, value in await read_topic(kafka, kafka.topics.tallies.name):
        tally = decode_tally(value)
        found.update({"counted": tally.events.counted, "units": sum(row.quantity for row in tally.rows), **tally.events.dead_lettered})
    return +found
