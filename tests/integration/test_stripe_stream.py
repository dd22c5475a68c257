"""The stream's adapter against the Stripe simulator: whole runs through every fault, with books that are exact after each."""

import asyncio
import random
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from functools import partial
from typing import Any

import aiohttp
import pytest
from taximeter_emitter.clock import SystemClock
from taximeter_emitter.retry import RetryPolicy

from metering.configuration.secrets import Secret
from metering.records.ledger_records import MeterEvent, Outcome
from metering.records.meters import Meter
from reporter.sending.lanes import Attempt, Lanes, MeterSend
from reporter.sending.meter_events import payload_of
from reporter.sending.pacing import Pacer
from reporter.sending.verdicts import Delivered, StopTheWorld, TryAgain, Verdict
from reporter.stripe.stream import StripeMeterEventStream
from tests.support.stripe_simulator_process import SimulatorProcess

KEY = "sk_test_stream4321"
METER = Meter("tokens", ("input_tokens",))
CLOCK = SystemClock()
STREAM = "v2.meter_event_stream.create"
SESSION = "v2.meter_event_session.create"
CUSTOMERS = 400
PATIENCE_S = 180.0
NO_LIMITS = {"stream_events_per_second": 0, "global_per_second": 0, "endpoint_per_second": 0}


@pytest.fixture(scope="module")
def simulator_process(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SimulatorProcess]:
    process = SimulatorProcess(tmp_path_factory.mktemp("stripe_stream"))
    process.start()
    yield process
    assert process.stop() == 0


@pytest.fixture
async def simulator(simulator_process: SimulatorProcess) -> SimulatorProcess:
    """A simulator as good as new, without limits, with one meter and CUSTOMERS customers."""
    simulator_process.call("DELETE", "/_control/clock")
    simulator_process.call("DELETE", "/_control/config")
    simulator_process.call("DELETE", "/_control/script")
    simulator_process.call("POST", "/_control/config", {"limits": NO_LIMITS})
    simulator_process.call("POST", "/_oracle/reset")
    simulator_process.call("POST", "/_control/customers", {"ids": [f"cus_{number}" for number in range(CUSTOMERS)]})
    form = {"display_name": "Tokens", "event_name": "tokens", "default_aggregation[formula]": "sum"}
    async with (
        aiohttp.ClientSession(headers={"Authorization": f"Bearer {KEY}"}) as session,
        session.post(f"{simulator_process.url}/v1/billing/meters", data=form) as reply,
    ):
        assert reply.status == 200
    return simulator_process


@asynccontextmanager
async def adapter(
    simulator: SimulatorProcess, *, timeout_s: float = 20.0, requests_per_s: float | None = None
) -> AsyncIterator[StripeMeterEventStream]:
    subject = StripeMeterEventStream(
        api_key=Secret(KEY),
        api_base=simulator.url,
        stream_base=simulator.url,
        connections=8,
        timeout_s=timeout_s,
        clock=CLOCK,
        requests_per_s=requests_per_s,
    )
    try:
        yield subject
    finally:
        await subject.close()


class Run:
    """Sends what is in the lanes through a port until all is settled."""

    def __init__(self, *, in_flight_max: int = 800, probe_every_s: float = 0.2) -> None:
        self.lanes = Lanes(
            capacity=20_000,
            in_flight_max=in_flight_max,
            retry_delay_s=partial(RetryPolicy(base_seconds=0.02, cap_seconds=0.2).wait_seconds, random=random.Random(11)),
            probe_every_s=probe_every_s,
        )
        self.pacer = Pacer(1_000_000, rate_min_per_s=2_000.0)
        self.total = 0
        self.verdicts: list[Verdict] = []
        self._count = 0
        self._changed = asyncio.Event()

    def queue_up(self, count: int) -> None:
        """Add sends for all customers in turn."""
        now_ms = CLOCK.now_ms()
        for index in range(self._count, self._count + count):
            event = MeterEvent(f"cus_{index % CUSTOMERS}", "tokens", (), now_ms - 60_000, index + 1)
            self.lanes.add(MeterSend(0, 0, index, f"tm-run-{index}", event, now_ms, doubtful=False))
            self.total += index + 1
        self._count += count

    async def through(self, port: StripeMeterEventStream) -> dict[int, list[Outcome]]:
        """The outcomes of each index."""
        flying: set[asyncio.Task[None]] = set()
        async with asyncio.timeout(PATIENCE_S):
            while self.lanes.sends:
                self._changed.clear()
                wait = self.lanes.wait_s(CLOCK.monotonic())
                if wait == 0.0 and (wait := self.pacer.take(CLOCK.monotonic())) == 0.0:
                    attempt = self.lanes.next_ready(CLOCK.now_ms(), CLOCK.monotonic())
                    if attempt is not None:
                        task = asyncio.create_task(self._make(port, attempt))
                        flying.add(task)
                        task.add_done_callback(flying.discard)
                    continue
                with suppress(TimeoutError):
                    await asyncio.wait_for(self._changed.wait(), wait)
        settled: dict[int, list[Outcome]] = {}
        for entry in self.lanes.take_settlements():
            settled.setdefault(entry.settlement.index, []).append(entry.settlement.outcome)
        return settled

    async def _make(self, port: StripeMeterEventStream, attempt: Attempt) -> None:
        began, event = CLOCK.monotonic(), attempt.send.event
        verdict = await port.send(
            event_name=event.meter,
            payload=payload_of(event, METER),
            identifier=attempt.send.identifier,
            timestamp_s=event.time_ms // 1000,
            idempotency_key=attempt.idempotency_key,
        )
        self.verdicts.append(verdict)
        if isinstance(verdict, TryAgain) and verdict.rate_limited:
            self.pacer.on_rate_limited(CLOCK.monotonic(), began=began)
        elif isinstance(verdict, Delivered):
            self.pacer.on_success(CLOCK.monotonic(), began=began)
        self.lanes.done(attempt, verdict, CLOCK.now_ms(), CLOCK.monotonic())
        self._changed.set()


def booked(simulator: SimulatorProcess) -> tuple[int, int]:
    """Total and number of events."""
    rows = simulator.call("GET", "/_oracle/books")["rows"]
    return sum(int(row["total"]) for row in rows), sum(row["events"] for row in rows)


def calls(simulator: SimulatorProcess, route: str = STREAM) -> dict[str, int]:
    found: dict[str, int] = simulator.call("GET", "/_oracle/stats")["calls"].get(route, {})
    return found


def assert_exact(simulator: SimulatorProcess, run: Run, settled: dict[int, list[Outcome]], count: int) -> None:
    assert sorted(settled) == list(range(count))
    for found in settled.values():
        assert found[-1] in {Outcome.ACCEPTED, Outcome.DUPLICATE}
        assert found[:-1] in ([], [Outcome.UNKNOWN])
    assert booked(simulator) == (run.total, count)


def fault(simulator: SimulatorProcess, kind: str, route: str = STREAM, **more: Any) -> None:
    simulator.call("POST", "/_control/script", {"route": route, "kind": kind, **more})


async def test_events_share_requests(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(2000)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 2000)
    assert calls(simulator, SESSION) == {"ok": 1}
    assert calls(simulator)["ok"] < 500


@pytest.mark.parametrize(
    "kind",
    [
        "server_error_before",
        "server_error_after",
        "reset_before",
        "reset_after",
        "truncate_after",
        "bad_gateway_before",
        "bad_gateway_after",
        "rate_limited",
        "conflict",
        "key_revoked",
    ],
)
async def test_the_books_are_exact_whatever_happens_to_a_request(simulator: SimulatorProcess, kind: str) -> None:
    fault(simulator, kind, times=2)
    run = Run()
    run.queue_up(600)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 600)


async def test_a_run_through_every_fault_at_once_is_exact(simulator: SimulatorProcess) -> None:
    kinds = ["server_error_before", "server_error_after", "reset_before", "reset_after", "truncate_after", "bad_gateway_before", "bad_gateway_after"]
    kinds += ["rate_limited", "lock_timeout", "conflict", "key_revoked"]
    faults = [{"kind": kind, "probability": 0.04} for kind in kinds]
    simulator.call(
        "POST",
        "/_control/config",
        {
            "faults": {STREAM: faults, SESSION: [{"kind": "server_error_before", "probability": 0.3}]},
            "latency": {STREAM: {"distribution": "uniform", "median_ms": 1, "p99_ms": 40}},
        },
    )
    run = Run()
    run.queue_up(4000)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 4000)
    assert any(len(found) == 2 for found in settled.values()), "no fault struck"


async def test_a_time_out_leaves_events_in_doubt_and_the_books_exact(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(1)
    async with adapter(simulator) as warm:
        assert_exact(simulator, run, await run.through(warm), 1)
    fault(simulator, "hang_after", delay_ms=30_000)
    run.queue_up(150)
    async with adapter(simulator, timeout_s=3.0) as subject:
        settled = await run.through(subject)
    assert booked(simulator) == (run.total, 151)
    assert any(found == [Outcome.UNKNOWN, Outcome.ACCEPTED] for found in settled.values())


@pytest.mark.parametrize(
    "assumptions",
    [
        {"stream_duplicates": "refused", "stream_refusals": "whole"},
        {"stream_duplicates": "refused", "stream_refusals": "rest"},
        {"stream_duplicates": "dropped", "stream_concurrency": "conflict"},
        {"stream_duplicates": "refused", "stream_refusals": "rest", "stream_concurrency": "conflict"},
    ],
)
async def test_the_books_are_exact_on_every_reading_of_what_stripe_leaves_open(simulator: SimulatorProcess, assumptions: dict[str, str]) -> None:
    faults = [{"kind": kind, "probability": 0.1} for kind in ("server_error_after", "reset_after", "truncate_after")]
    simulator.call("POST", "/_control/config", {"assumptions": assumptions, "faults": {STREAM: faults}, "latency": {STREAM: {"median_ms": 5}}})
    run = Run()
    run.queue_up(500)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 500)


async def test_one_bad_event_is_rejected_and_its_neighbours_are_billed(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(100)
    good = run.total
    now_ms = CLOCK.now_ms()
    bad = MeterEvent("cus_bad", "x" * 101, (), now_ms - 60_000, 7)
    run.lanes.add(MeterSend(0, 0, 100, "tm-bad", bad, now_ms, doubtful=False))
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert settled.pop(100) == [Outcome.REJECTED]
    assert [found[-1] for found in settled.values()] == [Outcome.ACCEPTED] * 100
    assert booked(simulator) == (good, 100)


async def test_a_session_that_expires_on_the_way_is_replaced(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(400)
    async with adapter(simulator) as subject:
        await run.through(subject)
        simulator.call("POST", "/_control/clock", {"advance_ms": 20 * 60_000})
        run.queue_up(400)
        await run.through(subject)
    assert booked(simulator) == (run.total, 800)
    assert calls(simulator, SESSION) == {"ok": 2}
    assert calls(simulator)["session_expired"] >= 1
    assert not any(isinstance(verdict, StopTheWorld) for verdict in run.verdicts)


async def test_a_revoked_key_stops_everything_until_it_works_again(simulator: SimulatorProcess) -> None:
    fault(simulator, "key_revoked", SESSION, times=2)
    run = Run()
    run.queue_up(300)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert any(isinstance(verdict, StopTheWorld) for verdict in run.verdicts)
    assert [found for found in settled.values() if found != [Outcome.ACCEPTED]] == []
    assert_exact(simulator, run, settled, 300)


async def test_the_limit_of_the_account_slows_down_and_loses_nothing(simulator: SimulatorProcess) -> None:
    simulator.call("POST", "/_control/config", {"limits": {"stream_events_per_second": 2_000}})
    run = Run()
    run.queue_up(4000)
    async with adapter(simulator) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 4000)


async def test_a_sandboxs_limit_of_requests_is_never_met(simulator: SimulatorProcess) -> None:
    limits = {"stream_events_per_second": 0, "global_per_second": 25, "endpoint_per_second": 25, "meter_events_count_globally": True}
    simulator.call("POST", "/_control/config", {"limits": limits})
    run = Run()
    run.queue_up(2000)
    async with adapter(simulator, requests_per_s=20.0) as subject:
        settled = await run.through(subject)
    assert_exact(simulator, run, settled, 2000)
    assert set(calls(simulator)) == {"ok"}


async def test_a_request_key_leads_back_to_its_events(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(300)
    async with adapter(simulator) as subject:
        await run.through(subject)
        listed = simulator.call("GET", "/_oracle/events?limit=1000")["events"]
        for event in listed:
            assert event["identifier"] in subject.identifiers_of(event["request_key"])
    assert len(listed) == 300


async def test_an_event_that_went_through_the_stream_can_be_cancelled(simulator: SimulatorProcess) -> None:
    run = Run()
    run.queue_up(2)
    async with adapter(simulator) as subject:
        await run.through(subject)
        assert await subject.cancel(event_name="tokens", identifier="tm-run-0", idempotency_key="tm-run-0-cancel") == Delivered()
    assert booked(simulator) == (2, 1)
