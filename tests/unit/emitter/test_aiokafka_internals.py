"""The modules that use aiokafka's private attributes were checked with the version that is installed."""

import asyncio
import re
from importlib.metadata import version
from pathlib import Path

import pytest
from taximeter_emitter.transports.aiokafka_internals import CHECKED_WITH, discard, is_dead
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.transports.kafka_options import KafkaOptions

from metering.kafka.clients import KafkaSettings, make_log_reader

ROOT = Path(__file__).resolve().parents[3]
BILLED_TO_NOBODY = "127.0.0.1:9"


def test_the_installed_version_is_the_one_that_was_checked() -> None:
    installed = ".".join(version("aiokafka").split(".")[:2])
    assert installed == CHECKED_WITH, (
        f"aiokafka is {installed}: read taximeter_emitter/transports/aiokafka_internals.py and metering/kafka/tolerant_fetching.py beside its "
        "source, run the tests of kills, restarts and odd records (tests/integration/test_partition_group.py, test_emitter.py, "
        "test_whatever_kafka_carries.py), then name the new version there"
    )


@pytest.mark.parametrize("attribute", ["_fetcher", "_coordinator", "_md_update_fut", "_sender.sender_task"])
def test_no_other_module_uses_them(attribute: str) -> None:
    pattern = re.compile(rf"\w\.{re.escape(attribute)}\b")
    packages = ["emitter/taximeter_emitter", "metering", "ingest", "aggregator", "reporter", "billing", "audit", "console", "taximeter", "tools"]
    found = [path.name for package in packages for path in (ROOT / package).rglob("*.py") if pattern.search(path.read_text())]
    assert set(found) <= {"aiokafka_internals.py", "tolerant_fetching.py"}


async def test_what_never_started_can_be_discarded_and_is_not_dead() -> None:
    producer = make_producer(KafkaOptions(bootstrap_servers=[BILLED_TO_NOBODY]), client_id="test", record_bytes_max=1_000)
    await discard(producer)
    assert producer._closed
    consumer = make_log_reader(KafkaSettings(bootstrap_servers=(BILLED_TO_NOBODY,)), client_id="test")
    with pytest.raises(AttributeError):
        is_dead(consumer)  # it has no fetcher before it is started
    await consumer.stop()
    assert len(asyncio.all_tasks()) == 1
