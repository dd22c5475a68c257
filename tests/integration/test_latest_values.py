"""A meter of the latest value from the settings file to Stripe's sums: real services, a real broker, the simulator of Stripe, and the commands."""

import json
import subprocess
import sys
import time
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest
from taximeter_emitter.wire.partitioner import partition_of

from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.tally import TallyRow, encode_tally
from taximeter.exit_codes import OK, PENDING
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import environment
from tests.support.metering_tallies import a_tally
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import NO_LIMITS
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

PATIENCE_S: Final = 120.0
METERS: Final = """
[[meters]]
event_name = "stored_bytes"
aggregate = "last"
sum = ["stored_bytes"]
where = {reading = "storage"}

[[meters]]
event_name = "tokens"
sum = ["n"]
"""
CUSTOMERS: Final = tuple(f"cus_{number}" for number in range(40))
NOW_S: Final = int(time.time()) // 60 * 60 - 600


def event(number: int, customer: str, after_s: int, **usage: int) -> dict[str, Any]:
    reading = {"dimensions": {"reading": "storage"}} if "stored_bytes" in usage else {}
    time_text = datetime.fromtimestamp(NOW_S + after_s, UTC).isoformat()
    return {"id": f"e{number}", "source": "test", "time": time_text, "customer": customer, "usage": usage, **reading}


class Shell:
    """Commands as a user types them."""

    def __init__(self, kafka: KafkaSettings, simulator: SimulatorProcess, folder: Path) -> None:
        self.variables = {
            **reporting_to(simulator.url),
            "TAXIMETER_STRIPE_CALLS_PER_SECOND": "1000",
        }
        self._environment = dict(environment(kafka, self.variables))
        self._folder = folder

    def type(self, *arguments: str) -> tuple[int, str]:
        command = [sys.executable, "-m", "taximeter", *arguments]
        done = subprocess.run(command, cwd=self._folder, env=self._environment, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        return done.returncode, done.stdout + done.stderr


def say_that_a_value_is_held(shell: Shell) -> None:
    for command in ("status", "doctor"):
        _, said = shell.type(command)
        assert "1 latest value (newest 4,200 of" in " ".join(said.split()), said
        assert "units of stored_bytes" not in said, said


async def test_the_latest_value_is_billed_whatever_comes_late_and_verify_proves_it(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    (tmp_path / "taximeter.toml").write_text(METERS)
    simulator = SimulatorProcess(tmp_path)
    simulator.start()
    appender = Appender(kafka, "test")
    shell = Shell(kafka, simulator, tmp_path)

    async def emit(*events: dict[str, Any]) -> None:
        for each in events:
            partition = partition_of(each["customer"], kafka.partitions)
            await appender.append(kafka.topics.events.name, partition, json.dumps(each).encode(), key=each["customer"].encode())

    def sent() -> list[tuple[str, str, int]]:
        rows = simulator.call("GET", "/_oracle/events")["events"]
        return [(row["customer"], row["value"], row["timestamp"] - NOW_S) for row in rows if row["event_name"] == "stored_bytes"]

    try:
        simulator.call("POST", "/_control/config", {"limits": NO_LIMITS})
        simulator.call("POST", "/_control/customers", {"ids": ["cus_A", "cus_B", "cus_C"]})
        code, said = shell.type("stripe", "setup", "--yes")
        assert code == OK, said
        with (
            aggregator(kafka, tmp_path / "aggregator", meters=METERS),
            reporter(kafka, tmp_path / "reporter", shell.variables, meters=METERS) as running,
        ):
            await emit(event(1, "cus_A", 10, stored_bytes=500), event(2, "cus_A", 20, stored_bytes=800), event(3, "cus_A", 15, n=3))
            await running.until(lambda: ("cus_A", "800", 20) in sent())
            await emit(event(4, "cus_A", 12, stored_bytes=999))  # late: a later value was told
            await emit(event(5, "cus_B", 5, stored_bytes=7), event(6, "cus_B", 6, stored_bytes=0))
            await running.until(lambda: ("cus_B", "0", 6) in sent())
            running.kill()
        with reporter(kafka, tmp_path / "second", shell.variables, meters=METERS) as running:
            with aggregator(kafka, tmp_path / "aggregator", meters=METERS):
                await emit(event(7, "cus_A", 11, stored_bytes=998), event(8, "cus_A", 30, stored_bytes=600))
                await running.until(lambda: ("cus_A", "600", 30) in sent())
            proof = ""
            while not proof:
                code, said = shell.type("verify")
                assert code in {OK, PENDING}, said
                proof = said if code == OK else ""
            with aggregator(kafka, tmp_path / "aggregator", meters=METERS):
                await emit(event(9, "org_unlinked", 30, stored_bytes=4_200))
                await running.until(lambda: running.metric("taximeter_reporter_unlinked_units", meter="stored_bytes") > 0)
            say_that_a_value_is_held(shell)
        told = [each for each in sent() if each[0] == "cus_A"]
        assert (told[0] in {("cus_A", "500", 10), ("cus_A", "800", 20)}, told[-1]) == (True, ("cus_A", "600", 30))
        assert not {("cus_A", "999", 12), ("cus_A", "998", 11)} & set(told)
        assert proof.splitlines()[0] == "EXACT"
        assert "stored_bytes (latest values): 4 of the 7 are not at Stripe" in proof or "stored_bytes (latest values): 3 of the 7" in proof
        code, said = shell.type("reconcile", "--all", "--yes")
        assert "not compared: stored_bytes of 2 customers, which tells latest values" in said, said
        code, said = shell.type("explain", "--customer", "cus_A", "--meter", "stored_bytes")
        assert "the latest value is 600" in said, said
        code, said = shell.type("trace", "e8", "--source", "test", "--customer", "cus_A")
        assert "stored_bytes is 600" in said, said
        assert "latest value 600 stored_bytes" in said, said
        code, said = shell.type("trace", "e4", "--source", "test", "--customer", "cus_A")
        assert "stored_bytes is 999" in said, said
        in_its_place, after_another = (
            "latest value 600 stored_bytes",
            "a later value of its billing period was told before, so this one is told to nobody",
        )
        assert in_its_place in said or after_another in said, said
        code, said = shell.type("replay", "plan", "--take-out", "--meter", "stored_bytes", "--out", str(tmp_path / "plan"))
        assert code != OK, said
        assert 'tells the latest value (aggregate = "last"), to which no plan can add' in said
    finally:
        await appender.close()
        simulator.stop()


def tallies(kafka: KafkaSettings, partition: int, meter: str) -> bytes:
    """A tally of 7 of this meter for each customer of the partition."""
    now_ms = int(time.time() * 1000) // 60_000 * 60_000
    rows = [TallyRow(customer, meter, (), now_ms, 7, 1) for customer in CUSTOMERS if partition_of(customer, kafka.partitions) == partition]
    return encode_tally(a_tally(partition=partition, log_time_ms=now_ms, rows=rows, emitter_states=[]))


async def test_a_sum_for_a_meter_of_the_latest_value_is_never_sent_and_stops_its_partition_alone(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    (tmp_path / "taximeter.toml").write_text(METERS)
    simulator = SimulatorProcess(tmp_path)
    simulator.start()
    appender = Appender(kafka, "test")
    shell = Shell(kafka, simulator, tmp_path)

    def sent(meter: str) -> list[dict[str, Any]]:
        return [row for row in simulator.call("GET", "/_oracle/events")["events"] if row["event_name"] == meter]

    try:
        simulator.call("POST", "/_control/config", {"limits": NO_LIMITS})
        simulator.call("POST", "/_control/customers", {"ids": list(CUSTOMERS)})
        code, said = shell.type("stripe", "setup", "--yes")
        assert code == OK, said
        others = [customer for customer in CUSTOMERS if partition_of(customer, kafka.partitions)]
        with reporter(kafka, tmp_path / "reporter", shell.variables, meters=METERS) as running:
            for partition in range(kafka.partitions):
                value = tallies(kafka, partition, "tokens" if partition else "stored_bytes")
                await appender.append(kafka.topics.tallies.name, partition, value)
            await running.until(lambda: len(sent("tokens")) == len(others))
            await running.until(lambda: running.metric("taximeter_reporter_stopped_partitions", reason="FormDiffers") == 1)
            _, said = shell.type("doctor")
        assert sent("stored_bytes") == []
        assert "tally 0 of partition 0 has a sum of meter stored_bytes" in " ".join(said.split()), said
        assert "taximeter meters list" in said, said
    finally:
        await appender.close()
        simulator.stop()
