"""`taximeter reconcile` with a real broker, a ledger that says what was sent, and the simulator of Stripe with its summaries."""

import json
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Final

import pytest
import stripe
from taximeter_emitter.wire.partitioner import partition_of

from metering.folds.ledger import Ledger
from metering.kafka.clients import KafkaSettings
from metering.kafka.partition_log import Appender
from metering.records.ledger_records import (
    CorrectionKind,
    Entry,
    MeterEvent,
    Outcome,
    Rejection,
    encode_entry,
)
from metering.records.notes.evidence import CellVerdict, Evidence, Finding
from taximeter.exit_codes import DISCREPANCY, OK, PENDING
from tests.support.gateway_process import METERS, environment
from tests.support.metering_corrections import correction, intent, receipt
from tests.support.stripe_simulator_process import SimulatorProcess
from tests.support.stripe_target import KEY, simulated_stripe
from tests.support.usage_topic import make_topics, settings_for

pytestmark = pytest.mark.broker

CUSTOMER: Final = "cus_1"
VALUES: Final = (5, 7, 11)
PATIENCE_S: Final = 120.0


class Books:
    """A ledger in one partition, and what is at Stripe."""

    def __init__(self, kafka: KafkaSettings, simulator: SimulatorProcess, appender: Appender, folder: Path) -> None:
        self.kafka = kafka
        self.simulator = simulator
        self.folder = folder
        self.partition = partition_of(CUSTOMER, kafka.partitions)
        self.time_ms = int(time.time() * 1000) // 60_000 * 60_000 - 60_000
        self.ledger = Ledger()
        self.intent = replace(intent(self.ledger), partition=self.partition, meter_events=[self.event(value) for value in VALUES])
        self._appender = appender

    def event(self, value: int) -> MeterEvent:
        return MeterEvent(CUSTOMER, "tokens", (), self.time_ms, value)

    async def say(self, *entries: Entry) -> None:
        """Append entries of the ledger."""
        for entry in entries:
            landed = await self._appender.append(self.kafka.topics.ledger.name, self.partition, encode_entry(entry))
            self.ledger.fold(landed.offset, landed.log_time_ms, entry)

    async def sent(self, *outcomes: Outcome) -> None:
        """The intent and what became of its meter events."""
        await self.say(self.intent)
        told = [(0, index, outcome) for index, outcome in enumerate(outcomes)]
        await self.say(replace(receipt(self.ledger, *told), partition=self.partition))

    def at_stripe(self, value: int, identifier: str) -> None:
        """Have Stripe take a meter event, and sum it up."""
        payload = {"stripe_customer_id": CUSTOMER, "value": str(value)}
        self.client.v1.billing.meter_events.create(
            {"event_name": "tokens", "payload": payload, "identifier": identifier, "timestamp": self.time_ms // 1000}
        )
        self.catch_up()

    def catch_up(self) -> None:
        self.simulator.call("POST", "/_control/clock", {"advance_ms": 300_000})

    @property
    def client(self) -> stripe.StripeClient:
        return stripe.StripeClient(KEY, base_addresses={"api": self.simulator.url}, http_client=stripe.UrllibClient())

    def reconcile(self, *arguments: str, settle: str = "0") -> tuple[int, dict[str, Any]]:
        """The command's exit code and its JSON."""
        asked = arguments or ("--customer", CUSTOMER)
        return self.command("reconcile", *asked, "--settle-seconds", settle, "--calls-per-second", "1000")

    def command(self, *arguments: str) -> tuple[int, dict[str, Any]]:
        """Any command's exit code and its JSON."""
        command = [sys.executable, "-m", "taximeter", *arguments, "--json"]
        variables = dict(environment(self.kafka, {"STRIPE_API_KEY": KEY, "TAXIMETER_STRIPE_API_BASE": self.simulator.url}))
        done = subprocess.run(command, cwd=self.folder, env=variables, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
        assert done.stdout, done.stderr
        return done.returncode, json.loads(done.stdout)

    def one_cell(self, settle: str = "0") -> tuple[int, str, int, Any]:
        """Exit code, verdict, difference and taken values of the only cell."""
        code, found = self.reconcile(settle=settle)
        (cell,) = found["cells"]
        return code, cell["verdict"], int(cell["difference"]), cell["taken"]


@pytest.fixture
def simulator(tmp_path: Path) -> Iterator[SimulatorProcess]:
    with simulated_stripe(tmp_path, CUSTOMER, "cus_2") as process:
        yield process


@pytest.fixture
async def books(broker: str, simulator: SimulatorProcess, tmp_path: Path) -> AsyncIterator[Books]:
    kafka = settings_for(broker)
    await make_topics(kafka)
    (tmp_path / "taximeter.toml").write_text(METERS)
    appender = Appender(kafka, "test")
    made = Books(kafka, simulator, appender, tmp_path)
    made.client.v1.billing.meters.create({"display_name": "Tokens", "event_name": "tokens", "default_aggregation": {"formula": "sum"}})
    yield made
    await appender.close()


async def test_what_stripe_has_is_settled_and_what_it_lost_is_missing(books: Books) -> None:
    await books.sent(*[Outcome.ACCEPTED] * 3)
    for index in (0, 2):
        books.at_stripe(VALUES[index], books.intent.identifier(index))
    assert books.one_cell() == (DISCREPANCY, "missing", -7, None)
    assert books.one_cell(settle="3600") == (PENDING, "arriving", 0, None)
    books.at_stripe(VALUES[1], books.intent.identifier(1))
    assert books.one_cell() == (OK, "settled", 0, None)


async def test_a_meter_event_by_hand_is_extra_also_for_a_customer_that_the_ledger_does_not_know(books: Books) -> None:
    await books.sent(*[Outcome.ACCEPTED] * 3)
    for index, value in enumerate(VALUES):
        books.at_stripe(value, books.intent.identifier(index))
    books.at_stripe(5000, "by-hand")
    assert books.one_cell() == (DISCREPANCY, "extra", 5000, None)
    code, found = books.reconcile("--customer", "cus_2")
    assert (code, found["cells"]) == (OK, [])


async def test_stripes_sum_says_which_parked_meter_event_arrived(books: Books) -> None:
    await books.sent(Outcome.ACCEPTED, Outcome.PARKED, Outcome.PARKED)
    for index in (0, 2):
        books.at_stripe(VALUES[index], books.intent.identifier(index))
    assert books.one_cell() == (OK, "settled", 0, ["11"])


async def test_what_was_cancelled_is_not_expected(books: Books) -> None:
    await books.sent(*[Outcome.ACCEPTED] * 3)
    for index, value in enumerate(VALUES):
        books.at_stripe(value, books.intent.identifier(index))
    asked = replace(correction(books.ledger, CorrectionKind.CANCEL, place=books.intent, at=0, index=1), partition=books.partition)
    await books.say(asked, replace(receipt(books.ledger), partition=books.partition))
    await books.say(replace(receipt(books.ledger, (asked.offset, 0, Outcome.ACCEPTED)), partition=books.partition))
    books.client.v1.billing.meter_event_adjustments.create(
        {"event_name": "tokens", "type": "cancel", "cancel": {"identifier": books.intent.identifier(1)}}
    )
    books.catch_up()
    assert books.one_cell() == (OK, "settled", 0, None)


async def test_a_refusal_that_no_report_names_is_missing_with_its_cause(books: Books) -> None:
    await books.sent(*[Outcome.ACCEPTED] * 3)
    books.at_stripe(VALUES[2], books.intent.identifier(2))
    now_ms = int(time.time() * 1000)
    window = (now_ms - 5_000, now_ms + 5_000)
    named = (books.intent.identifier(0),)
    await books.say(Rejection(books.partition, "webhooks", "evt_7", "tokens", "archived_meter", "no", 2, named, *window, now_ms))
    code, found = books.reconcile()
    (cell,) = found["cells"]
    assert (code, cell["verdict"], cell["difference"]) == (DISCREPANCY, "missing", "-7")
    lost = books.intent.identifier(1)
    assert cell["note"] == f"report evt_7 (archived_meter) counts 1 that it does not name; as much as {lost}: Stripe did not record it"


async def test_all_customers_are_compared_and_a_saved_comparison_goes_on_behind_what_is_done(books: Books) -> None:
    await books.sent(*[Outcome.ACCEPTED] * 3)
    books.at_stripe(VALUES[0], books.intent.identifier(0))
    at = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(books.time_ms // 1000 - 3600))
    until = time.strftime("%Y-%m-%dT%H:00:00Z", time.gmtime(books.time_ms // 1000 + 7200))
    arguments = ("--all", "--from", at, "--to", until, "--save", "saved")
    first = books.reconcile(*arguments)
    books.simulator.stop()
    assert books.reconcile(*arguments) == first
    assert first[0] == DISCREPANCY
    assert first[1]["verdicts"]["missing"] == 1


async def test_parked_meter_events_are_resolved_by_stripes_sums_once_these_show_it_for_long_enough(books: Books) -> None:
    await books.sent(Outcome.ACCEPTED, Outcome.PARKED, Outcome.PARKED)
    for index in (0, 1):
        books.at_stripe(VALUES[index], books.intent.identifier(index))
    code, planned = books.reconcile("--customer", CUSTOMER, "--plan", str(books.folder / "mend"))
    assert (code, [(each["step"], each["value"]) for each in planned["plan"]["steps"]]) == (OK, [("found", "7")])
    assert list(planned["plan"]["skipped"]) == ["Stripe's sum lacks it in 1 of 3 reads over an hour: wait"]
    # As the reporter has read it, three times in two hours.
    hour, now_ms = books.time_ms - books.time_ms % 3_600_000, int(time.time() * 1000)
    place = (CUSTOMER, "tokens", hour, hour + 3_600_000, CellVerdict.SETTLED)
    read = Finding(*place, 5, 12, 0, now_ms, now_ms - 7_200_000, 3, doubts=2, taken=(7,))
    await books.say(Evidence(books.partition, "reporter", now_ms, [read]))
    mend = ("correct", "--resend", "--code", "parked", "--customer", CUSTOMER)
    code, planned = books.command(*mend, "--plan")
    assert (code, sorted((each["step"], each["value"]) for each in planned["steps"])) == (OK, [("found", "7"), ("lost", "11")])
    code, done = books.command(*mend, "--reason", "the sums show it", "--by", "ann", "--yes")
    assert (code, done["noted"], [each["target"] for each in done["corrections"]]) == (OK, 1, [books.intent.identifier(2)])
    code, done = books.command(*mend, "--reason", "the sums show it", "--by", "ann", "--yes")
    assert (done["noted"], done["corrections"]) == (0, []), "each is decided once"
    code, listed = books.command("rejected", "list")
    assert (code, sorted(each["state"] for each in listed["meter_events"])) == (OK, ["at_stripe", "sending"])
