"""Reports add up to what was dropped, also after a kill."""

from collections import Counter

import orjson
from hypothesis import given
from hypothesis import strategies as st
from taximeter_sandbox.stripe.metering.error_reports import NO_METER_FOUND, TRIGGERED, WINDOW_MS
from taximeter_sandbox.stripe.metering.meter_events import DropReason, Submission
from taximeter_sandbox.stripe.state.assumptions import Assumptions
from taximeter_sandbox.stripe.webhooks.deliveries import Webhooks
from taximeter_sandbox.stripe.webhooks.event_log import ThinEvent

from tests.support.stripe_account import NOW_MS, MemoryJournal, add_customer, add_meter, make_account

STEPS = st.lists(
    st.tuples(st.integers(0, 15_000), st.sampled_from(["tokens", "calls", "nobody"]), st.sampled_from(["cus_1", "cus_gone"])), max_size=30
)


def told(events: list[ThinEvent]) -> tuple[Counter[tuple[str | None, str]], list[str]]:
    """Counts by meter and reason, and the identifiers in the samples."""
    counts: Counter[tuple[str | None, str]] = Counter()
    identifiers: list[str] = []
    for event in events:
        data = orjson.loads(event.data)
        assert data["reason"]["error_count"] == sum(kind["error_count"] for kind in data["reason"]["error_types"])
        for kind in data["reason"]["error_types"]:
            counts[(event.related.id if event.related else None, kind["code"])] += kind["error_count"]
            identifiers += [sample["request"]["identifier"] for sample in kind["sample_errors"]]
    return counts, identifiers


@given(steps=STEPS, kill_after=st.integers(0, 30))
def test_reports_add_up_to_what_was_dropped_whenever_the_process_is_killed(steps: list[tuple[int, str, str]], kill_after: int) -> None:
    journal = MemoryJournal()
    account = make_account(journal, Assumptions(sample_names="event"))
    account.webhooks = Webhooks(error_samples=1000)
    ids = {name: add_meter(account, name).id for name in ("tokens", "calls")}
    add_customer(account)
    now_ms, expected = NOW_MS, Counter[tuple[str | None, str]]()
    dropped: list[str] = []
    for number, (wait_ms, event_name, customer) in enumerate(steps):
        if number == kill_after:
            entries = list(journal.entries)
            account = make_account(journal, Assumptions(sample_names="event"))
            account.webhooks = Webhooks(error_samples=1000)
            account.replay(entries)
        now_ms += wait_ms
        problem: DropReason | None = "no_meter" if event_name == "nobody" else None
        account.take(Submission(event_name, customer, f"id-{number}", "5", (), None, problem), now_ms, "")
        if problem is not None or customer == "cus_gone":
            expected[(ids.get(event_name), problem or "meter_event_customer_not_found")] += 1
            dropped.append(f"id-{number}")
    account.advance(now_ms + WINDOW_MS)
    events = list(account.notifications.log.thin())
    counts, identifiers = told(events)
    assert (counts, sorted(identifiers)) == (expected, sorted(dropped))
    assert all((event.type == TRIGGERED) == (event.related is not None) for event in events)
    assert {event.type for event in events} <= {TRIGGERED, NO_METER_FOUND}
