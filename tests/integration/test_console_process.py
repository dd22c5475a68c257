"""The console as a process on a real broker: a SIGKILL while it folds changes no number, and neither does a rebuild."""

import asyncio
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from taximeter_emitter.clock import SystemClock

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.kafka.provision import ensure_topics
from metering.records.chain import ChainLink
from metering.records.ledger_records import MeterEvent, Outcome, encode_intent, encode_receipt
from metering.records.tally import EventCounts, RecordCounts, TallyRow, encode_tally
from tests.support.broker_topics import unique_name
from tests.support.gateway_process import environment
from tests.support.metering_ledger_entries import a_receipt, an_intent
from tests.support.metering_tallies import a_tally

pytestmark = pytest.mark.broker

TALLIES = 60
ROWS = 40
PATIENCE_SECONDS = 60.0
START_MS = (time.time_ns() // 1_000_000 // 86_400_000) * 86_400_000  # today's usage, so that it is kept


def tally(number: int) -> bytes:
    rows = [TallyRow(f"cus_{each}", "tokens", (("model", "m"),), START_MS, 1_000 + number, 1) for each in range(ROWS)]
    link, records = ChainLink(number, number + 1, number - 1), RecordCounts(singles=1)
    return encode_tally(a_tally(link=link, records=records, events=EventCounts(counted=ROWS), rows=rows))


async def append(kafka: KafkaSettings, numbers: range) -> None:
    appender = Appender(kafka, "test")
    for number in numbers:
        await appender.append(kafka.topics.tallies.name, 0, tally(number))
    await appender.close()


async def report(kafka: KafkaSettings) -> None:
    """All usage of one customer is in Stripe."""
    appender, units = Appender(kafka, "test"), sum(1_000 + number for number in range(TALLIES))
    event = MeterEvent("cus_0", "tokens", (("model", "m"),), START_MS, units)
    await appender.append(kafka.topics.ledger.name, 0, encode_intent(an_intent(0, TALLIES, -1, meter_events=[event])))
    await appender.append(kafka.topics.ledger.name, 0, encode_receipt(a_receipt((0, 0, Outcome.ACCEPTED))))
    await appender.close()


class ConsoleProcess:
    """`taximeter console` with a state of its own."""

    def __init__(self, kafka: KafkaSettings, folder: Path) -> None:
        self._port, self._log = folder / "port", folder / "log"
        self._environment = environment(
            kafka,
            {
                "TAXIMETER_CONSOLE_PORT": "0",
                "TAXIMETER_CONSOLE_PORT_FILE": str(self._port),
                "TAXIMETER_CONSOLE_STATE_DIR": str(folder / "state"),
                "TAXIMETER_CONSOLE_FOLLOW_SECONDS": "0.05",
            },
        )
        self._process: subprocess.Popen[bytes] | None = None

    def start(self, *arguments: str) -> None:
        self._port.unlink(missing_ok=True)
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([sys.executable, "-m", "taximeter", "console", *arguments], env=self._environment, stderr=log)

    def kill(self) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def stop(self) -> int:
        assert self._process is not None
        self._process.terminate()
        return self._process.wait(PATIENCE_SECONDS)

    async def sums(self) -> dict[str, Any] | None:
        """The one sum of all usage; None while nothing answers, or there is none."""
        try:
            port = self._port.read_text().strip()
            async with aiohttp.ClientSession() as session, session.get(f"http://127.0.0.1:{port}/v1/usage") as answer:
                found = await answer.json()
        except (OSError, aiohttp.ClientError):
            return None
        rows: list[dict[str, Any]] = found["rows"]
        return rows[0] if rows and found["complete"] else None

    async def until(self, units: int, reported: int) -> None:
        ends, found = time.monotonic() + PATIENCE_SECONDS, None
        while time.monotonic() < ends:
            found = await self.sums()
            if found is not None and (found["units"], found["reported"]) == (units, reported):
                return
            await asyncio.sleep(0.05)
        raise AssertionError(f"{found}, and not {units} units, of them {reported} reported: {self._log.read_text()[-2_000:]}")


async def test_a_kill_while_it_folds_and_a_rebuild_change_no_number(broker: str, tmp_path: Path) -> None:
    kafka = KafkaSettings(bootstrap_servers=tuple(broker.split(",")), topic_prefix=unique_name(), partitions=2, replication_factor=1)
    assert await ensure_topics(kafka, kafka.topics, clock=SystemClock()) == []
    console = ConsoleProcess(kafka, tmp_path)
    await append(kafka, range(1))
    console.start()
    await console.until(1_000 * ROWS, 0)
    written = 1
    for share in (0.3, 0.6, 1.0):
        step = range(written, round(share * TALLIES))
        appending = asyncio.create_task(append(kafka, step))
        await asyncio.sleep(0.1)  # it folds what comes
        console.kill()
        await appending
        written = step.stop
        console.start()
        await console.until(ROWS * sum(1_000 + number for number in range(written)), 0)
    total = ROWS * sum(1_000 + number for number in range(TALLIES))
    await console.until(total, 0)
    await report(kafka)
    await console.until(total, total // ROWS)
    assert console.stop() == 0
    console.start("--rebuild")
    await console.until(total, total // ROWS)
    assert console.stop() == 0
