"""Books against a naive recount and against a replay of their journal."""

from decimal import Decimal

from hypothesis import given, settings
from hypothesis import strategies as st
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.metering.meter_events import EventState
from taximeter_sandbox.stripe.metering.processing import Processing

from tests.support.stripe_account import HOUR_MS, NOW_MS, NOW_S, MemoryJournal, add_customer, add_meter, make_account, send, totals

CUSTOMERS = ["cus_0", "cus_1", "cus_2"]
operations = st.lists(
    st.tuples(
        st.sampled_from(["raw", "hourly"]),
        st.sampled_from(CUSTOMERS),
        st.sampled_from(["1", "7", "-3", "0.1", "99999999999", "123456.789"]),
        st.integers(0, 5),  # identifier
        st.integers(-1, 0),  # event hour
        st.sampled_from([0, 0, 1_000, HOUR_MS, 9 * HOUR_MS]),  # time until the call
        st.sampled_from(["send", "send", "send", "cancel", "cancel", "delete customer"]),
    ),
    max_size=40,
)


def run(account: Account, steps: list[tuple[str, str, str, int, int, int, str]]) -> int:
    now_ms = NOW_MS
    for event_name, customer, value, number, hour, pause_ms, action in steps:
        now_ms += pause_ms
        try:
            if action == "send":
                fields = {"payload[stripe_customer_id]": customer, "payload[value]": value, "timestamp": str(NOW_S + hour * 3600)}
                send(account, now_ms, event_name=event_name, identifier=f"id{number}", **fields)
            elif action == "cancel":
                account.cancel(event_name, f"id{number}", now_ms)
            else:
                account.delete_customer(customer, now_ms)
        except ApiError:
            continue
    return now_ms


def prepared(journal: MemoryJournal, processing: Processing) -> Account:
    account = make_account(journal, processing=processing)
    add_meter(account, "raw")
    add_meter(account, "hourly", event_time_window="hour")
    for customer in CUSTOMERS:
        add_customer(account, customer)
    return account


def model(account: Account) -> dict[tuple[str, str], tuple[Decimal, int]]:
    """Totals from the list of events alone: a plain sum, or the event received last of each hour."""
    chosen: dict[tuple[str, str, int], Decimal] = {}
    for event in account.events:
        if account.events.state(event.sequence) in (EventState.DROPPED, EventState.CANCELLED):
            continue
        slot = event.timestamp // 3600 if event.event_name == "hourly" else -1 - event.sequence
        chosen[(event.event_name, event.customer, slot)] = Decimal(event.value)
    sums: dict[tuple[str, str], tuple[Decimal, int]] = {}
    for (event_name, customer, _), value in chosen.items():
        total, count = sums.get((event_name, customer), (Decimal(0), 0))
        sums[(event_name, customer)] = (total + value, count + 1)
    return sums


@settings(max_examples=400, deadline=None)
@given(operations, st.integers(0, 60_000))
def test_running_totals_equal_a_naive_recount(steps: list[tuple[str, str, str, int, int, int, str]], lag_ms: int) -> None:
    account = prepared(MemoryJournal(), Processing(0, lag_ms))
    now_ms = run(account, steps)
    for moment in (now_ms, now_ms + 120_000):
        account.advance(moment)
        assert {lane: (Decimal(line.total), line.events) for lane, line in account.books.lines()} == model(account)
    assert account.pending == 0


@settings(max_examples=100, deadline=None)
@given(operations, st.integers(0, 60_000))
def test_replaying_the_journal_gives_the_same_account(steps: list[tuple[str, str, str, int, int, int, str]], lag_ms: int) -> None:
    journal = MemoryJournal()
    account = prepared(journal, Processing(0, lag_ms))
    now_ms = run(account, steps)
    copy = make_account()
    assert copy.replay(journal.entries) == len(journal.entries)
    for each in (account, copy):
        each.advance(now_ms + 120_000)
    assert list(copy.events) == list(account.events)
    assert [copy.events.state(event.sequence) for event in copy.events] == [account.events.state(event.sequence) for event in account.events]
    assert totals(copy) == totals(account)
    assert list(copy.meters) == list(account.meters)
    assert (copy.adjustments, copy.stats.drops, copy.stats.counted_again) == (account.adjustments, account.stats.drops, account.stats.counted_again)
