"""The demo, scaled down: separate processes on the chosen broker, two of them killed, everything replayed."""

import secrets
import sys
from pathlib import Path

import pytest
from taximeter_sandbox.brokers.external import ExternalBroker
from taximeter_sandbox.demo.plan import Pace, Plan
from taximeter_sandbox.demo.story import Demo
from taximeter_sandbox.demo.view import PlainView

EVENTS = 20_000
CUSTOMERS = 200
LOAD_SECONDS = 12.0


@pytest.mark.broker
@pytest.mark.end_to_end
async def test_what_is_billed_is_exactly_what_was_emitted_in_spite_of_kills_faults_and_replays(broker: str, tmp_path: Path) -> None:
    plan = Plan(events=EVENTS, customers=CUSTOMERS, load_seconds=LOAD_SECONDS, pace=Pace(flush=0.5, report=1.0, session=3.0))
    demo = Demo(
        plan=plan,
        folder=tmp_path,
        broker=ExternalBroker(broker),
        view=PlainView(sys.stderr),
        prefix=f"end-to-end-{secrets.token_hex(4)}",
    )
    try:
        outcome = await demo.run()
    finally:
        await demo.close()

    assert list(outcome.problems) == []
    for meter in outcome.meters:
        assert meter.customers_that_differ == []
        assert meter.expected == meter.counted == meter.reported == meter.in_stripe > 0
        assert meter.counted_events == meter.tallied_events > 0
        assert meter.duplicates > 0
        assert meter.refused > 0
    assert sum(meter.dead_lettered for meter in outcome.meters) > 0
    assert outcome.is_exact
