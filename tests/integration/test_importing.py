"""`taximeter replay plan --file` and `--from-topic` with services as processes: all of it is billed once, whatever happens."""

import asyncio
import contextlib
import io
import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any, Final
from unittest import mock

import orjson
import pytest
import stripe
from aiokafka.admin import NewTopic
from taximeter_emitter import Emitter
from taximeter_emitter.transports.kafka_connection import make_producer
from taximeter_emitter.wire.limits import EVENT_RECORD_BYTES_MAX

from metering.kafka.clients import KafkaSettings, make_admin, started
from taximeter.cli import main
from taximeter.exit_codes import DISCREPANCY, OK, USAGE
from tests.support.aggregator_process import aggregator
from tests.support.gateway_process import environment
from tests.support.reporter_process import reporter, reporting_to
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, NO_LIMITS
from tests.support.usage_topic import make_topics, read_events_topic, settings_for

pytestmark = pytest.mark.broker

PATIENCE_S: Final = 120.0
LINES: Final = 8_000
CUSTOMERS: Final = [f"cus_{number}" for number in range(7)]
WRITE: Final = ("--reason", "the gateway was down", "--by", "ann", "--yes")


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path)
    process.start()
    try:
        process.call("POST", "/_control/config", {"limits": NO_LIMITS})
        process.call("POST", "/_control/customers", {"ids": CUSTOMERS})
        client = stripe.StripeClient(KEY, base_addresses={"api": process.url}, http_client=stripe.UrllibClient())
        meter = client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
        product = client.v1.products.create({"name": "Tokens"})
        client.v1.prices.create(
            {
                "product": product.id,
                "currency": "usd",
                "unit_amount": 2,
                "recurring": {"interval": "month", "usage_type": "metered", "meter": meter.id},
            }
        )
        yield process
    finally:
        process.stop()


async def test_a_file_is_billed_once_although_it_is_killed_and_applied_again(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    variables = {
        **reporting_to(simulator.url),
    }
    with aggregator(kafka, tmp_path / "aggregator"), reporter(kafka, tmp_path / "reporter", variables):
        # Two of its events came through before the gateway went down.
        events = [log_line(number) for number in range(LINES)]
        await send(kafka, kafka.topics.events.name, events[:2])
        file = tmp_path / "usage.log"
        file.write_bytes(b"".join(orjson.dumps(event) + b"\n" for event in events) + b'{"oops\n' + orjson.dumps({"id": "x", "customer": "c"}) + b"\n")

        run = Command(kafka, tmp_path, stripe_base=simulator.url)
        code, plan = await run("plan", "--file", str(file), "--out", str(tmp_path / "plan"))
        (content,) = plan["contents"]
        assert (code, content["entries"], content["events"], content["counted"]) == (DISCREPANCY, LINES + 2, LINES, LINES - 2)
        assert (content["known"], content["without_id"]) == (2, LINES // 2 - 1)
        assert [(each["place"], each["reason"]) for each in content["first_invalid"]] == [
            (f"line {LINES + 1}", "malformed_json"),
            (f"line {LINES + 2}", "missing_field"),
        ]
        owed = sum(event["usage"]["n"] for event in events[2:])
        assert plan["units"] == {"tokens": str(owed)}
        assert plan["money"]["amounts"] == [{"currency": "usd", "low": f"{owed * 2 / 100:.2f}", "high": f"{owed * 2 / 100:.2f}"}]
        assert len((tmp_path / "plan" / "invalid.ndjson").read_text().splitlines()) == 2
        assert await run("apply", str(tmp_path / "plan"), *WRITE) == (USAGE, None), "what is no event is left out only when that is said"

        apply = (str(tmp_path / "plan"), *WRITE, "--leave-out-invalid")
        await run.killed("apply", *apply, when=lambda: batches(kafka))
        copy = shutil.copytree(tmp_path / "plan", tmp_path / "copy")
        (copy / "written.json").unlink(missing_ok=True)
        results = await asyncio.gather(*(run.apart("apply", str(each), *apply[1:]) for each in (tmp_path / "plan", copy)))
        assert [code for code, _ in results] == [DISCREPANCY, DISCREPANCY]
        code, again = await run("apply", *apply)
        assert (code, again["contents"][0]["events"], again["contents"][0]["written"]) == (DISCREPANCY, LINES, 0)

        total = sum(event["usage"]["n"] for event in events)
        deadline = time.monotonic() + PATIENCE_S
        while simulator_units(simulator) < total:
            assert time.monotonic() < deadline
            await asyncio.sleep(0.1)
        assert simulator_units(simulator) == total
        while (verified := (await run.taximeter("verify"))[1])["word"] == "PENDING":
            assert time.monotonic() < deadline
            await asyncio.sleep(0.2)
        assert verified["verdict"] == "EXACT"
        code, traced = await run.taximeter("trace", "e9", "--customer", events[9]["customer"])
        assert traced["events"][0]["emitter"] == content["emitter"]


async def test_files_of_every_kind_and_the_wrong_topic_count_once(broker: str, tmp_path: Path) -> None:
    kafka = settings_for(broker)
    await make_topics(kafka)
    moment = (datetime.now(UTC) - timedelta(hours=40)).replace(microsecond=0)
    table = tmp_path / "usage.csv"
    table.write_text("account,when,n,level\n" + "".join(f"cus_{number % 3},{moment.isoformat()},{number},info\n" for number in range(1, 11)))
    mapping = ("--column", "account=customer", "--column", "when=time", "--column", "n=usage.n")
    wrong = f"{kafka.topic_prefix}.events.wrong"
    with aggregator(kafka, tmp_path / "aggregator"):
        run = Command(kafka, tmp_path)
        code, plan = await run("plan", "--file", str(table), *mapping, "--out", str(tmp_path / "csv"))
        assert (code, plan["units"], plan["contents"][0]["columns_not_read"]) == (OK, {"tokens": "55"}, ["level"])
        assert plan["contents"][0]["without_id"] == 10
        for _ in range(2):
            assert (await run("apply", str(tmp_path / "csv"), *WRITE))[0] == OK

        # The same rows as Parquet, with ids that were counted and would be too old for the aggregator, twice in the file.
        parquet_file(tmp_path / "usage.parquet", moment)
        await make_topic(kafka, wrong)
        await send(kafka, wrong, [log_line(1), log_line(3)])
        await asyncio.to_thread(emit_batch, kafka, wrong)
        for name, what, units in (("parquet", ("--file", str(tmp_path / "usage.parquet")), "30"), ("topic", ("--from-topic", wrong), str(1 + 3 + 7))):
            code, plan = await run("plan", *what, "--out", str(tmp_path / name))
            assert (code, plan["units"]) == (OK, {"tokens": units}), plan
            for _ in range(2):
                assert (await run("apply", str(tmp_path / name), *WRITE))[0] == OK
        shutil.copy(tmp_path / "usage.parquet", tmp_path / "renamed.parquet")
        code, plan = await run("plan", "--file", str(tmp_path / "renamed.parquet"), "--out", str(tmp_path / "renamed"))
        assert (code, plan["contents"][0]["done"], plan["units"]) == (OK, True, {})
        assert (await run("apply", str(tmp_path / "renamed"), *WRITE))[1]["contents"][0]["written"] == 0

        code, listed = await run("list")
        files = [(each["name"], each["events"], each["left_out"]) for each in listed["imports"] if each["kind"] == "file"]
        assert (code, files) == (OK, [("usage.csv", 10, 0), ("usage.parquet", 2, 1)])
        assert sum(each["events"] for each in listed["imports"] if each["kind"] == "topic") == 4
        code, shown = await run("show", str(tmp_path / "topic"))
        assert (code, shown["kind"], shown["units"]) == (OK, "import", {"tokens": "11"})
        await settled(run, 55 + 30 + 11)
        # Written without its id, because it was too old for the aggregator; found by it all the same.
        code, traced = await run.taximeter("trace", "p2", "--customer", "cus_2")
        assert (code, [each["outcome"] for each in traced["events"]]) == (OK, ["counted"])
        code, verified = await run.taximeter("verify")
        assert {name: meter["counted"] for name, meter in verified["meters"].items()} == {"tokens": 55 + 30 + 11}
        assert not verified["problems"]["count"], verified["problems"]


def log_line(number: int) -> dict[str, Any]:
    """An event of half an hour ago; every second one has an id."""
    moment = datetime.now(UTC).replace(microsecond=0) - timedelta(minutes=30)
    event = {"customer": CUSTOMERS[number % len(CUSTOMERS)], "time": moment.isoformat(), "usage": {"n": number % 5 or 7}}
    return event | {"id": f"e{number}"} if number % 2 or number < 2 else event


def parquet_file(path: Path, moment: datetime) -> None:
    """Three rows, of which one is there twice."""
    import pyarrow as pa
    from pyarrow import parquet

    customers, numbers, ids = ["cus_1", "cus_2", "cus_1"], [10, 20, 10], ["p1", "p2", "p1"]
    columns = {"customer": customers, "time": [moment] * 3, "usage.n": numbers, "id": ids}
    parquet.write_table(pa.table(columns), path)


class Command:
    """`taximeter`, with the settings of a test: in this process, or in one of its own."""

    def __init__(self, kafka: KafkaSettings, folder: Path, *, stripe_base: str = "") -> None:
        variables = {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": stripe_base} if stripe_base else {}
        self._environment = dict(environment(kafka, variables))
        self._file = folder / "aggregator" / "taximeter.toml"

    async def __call__(self, *arguments: str) -> tuple[int, Any]:
        """The exit code of `taximeter replay` and its JSON."""
        return await self.taximeter("replay", *arguments)

    async def taximeter(self, *arguments: str) -> tuple[int, Any]:
        return await asyncio.to_thread(self._here, arguments)

    async def apart(self, *arguments: str) -> tuple[int, Any]:
        """`taximeter replay` in a process of its own."""
        line = self._line("replay", *arguments)
        process = await asyncio.create_subprocess_exec(*line, env=self._environment, stdout=asyncio.subprocess.PIPE)
        said, _ = await process.communicate()
        return process.returncode or 0, json.loads(said)

    def _here(self, arguments: Sequence[str]) -> tuple[int, Any]:
        said = io.StringIO()
        with mock.patch.dict(os.environ, self._environment, clear=True), contextlib.redirect_stdout(said):
            code = main(self._line(*arguments)[3:])
        return code, json.loads(said.getvalue() or "null")

    async def killed(self, *arguments: str, when: Any) -> None:
        """Kill it as soon as `when` says so."""
        process = await asyncio.create_subprocess_exec(*self._line("replay", *arguments), env=self._environment, stdout=asyncio.subprocess.DEVNULL)
        while not await when():
            assert process.returncode is None, "it ended before it could be killed"
        process.send_signal(signal.SIGKILL)
        assert await process.wait() == -signal.SIGKILL

    def _line(self, *arguments: str) -> list[str]:
        return [sys.executable, "-m", "taximeter", *arguments, "--json", "--config", str(self._file)]


async def batches(kafka: KafkaSettings) -> int:
    """How many batches are in usage.events."""
    return sum(b'"taximeter"' in value for _, value in await read_events_topic(kafka))


async def settled(run: Command, units: int) -> None:
    """Wait until so many units are counted."""
    deadline = time.monotonic() + PATIENCE_S
    while sum(meter["counted"] for meter in (await run.taximeter("verify"))[1]["meters"].values()) < units:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.2)


async def make_topic(kafka: KafkaSettings, name: str) -> None:
    admin = make_admin(kafka, client_id="test")
    await admin.start()
    try:
        await admin.create_topics([NewTopic(name, num_partitions=2, replication_factor=1)])
    finally:
        await admin.close()


async def send(kafka: KafkaSettings, topic: str, events: list[dict[str, Any]]) -> None:
    async with started(make_producer(kafka.options(), client_id="test", record_bytes_max=EVENT_RECORD_BYTES_MAX)) as producer:
        for event in events:
            await producer.send_and_wait(topic, orjson.dumps(event), key=event["customer"].encode())


def emit_batch(kafka: KafkaSettings, topic: str) -> None:
    """A process whose emitter was given the wrong topic."""
    with Emitter(kafka=kafka.options(), topic=topic, source="sdk") as emitter:
        for units in (2, 5):
            assert emitter.emit(customer="cus_1", usage={"n": units})


def simulator_units(simulator: SimulatorProcess) -> int:
    return sum(int(event["value"]) for event in simulator.call("GET", "/_oracle/events")["events"])
