"""Latest values from events to Stripe: any split into tallies, any order, any intents and new owners, by both readings of Stripe's last value."""

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aggregator.sums.latest_values import LatestValues
from metering.folds.ledger import Ledger, ledger_from
from metering.folds.told_readings import SAID_AGAIN, ToldReadings
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent, MeterEvent, Outcome, Settlement, decode_entry, encode_intent, encode_receipt
from metering.records.tally import EventCounts, RecordCounts, Tally, decode_tally, encode_tally
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.planner import PartitionReporter
from reporter.planning.unplanned_readings import UnplannedReadings

NOW_MS = 1_780_000_000_000
BOUNDARY_S = NOW_MS // 1000 - 7
"""Not at a whole minute. Customer a has a period before it and one after, and of b nothing is known."""


class Event(NamedTuple):
    """One reading: how long ago it happened."""

    customer: str
    age_ms: int
    value: int


class Step(NamedTuple):
    """Some events come in one tally; then perhaps an intent is written, and perhaps another reporter takes over."""

    events: Sequence[Event]
    plans: bool
    is_taken_over: bool


ages = st.sampled_from([0, 1, 400, 999, 1_000, 5_999, 6_000, 6_999, 7_000, 7_001, 60_000])
events = st.builds(Event, st.sampled_from("ab"), ages, st.integers(0, 3))
steps = st.lists(st.builds(Step, st.lists(events, max_size=4), st.booleans(), st.booleans()), max_size=8)


class Pipeline:
    """The tallies and the ledger of one partition, and the reporter that owns it. Stripe takes what is sent at once."""

    def __init__(self) -> None:
        self.periods = BillingPeriods()
        span = (BOUNDARY_S - 86_400, BOUNDARY_S + 86_400)
        self.periods.learn(SubscriptionPeriods("a", span, frozenset({span[0], BOUNDARY_S, span[1]})))
        self.ledger: list[bytes] = []
        self.tallies: list[bytes] = []
        self.sent: list[MeterEvent] = []
        self.reporter = self._take_over()

    def count(self, found: Sequence[Event]) -> None:
        """They come in one tally."""
        latest = LatestValues()
        for place, event in enumerate(found):
            latest.add(event.customer, "stored", (NOW_MS - event.age_ms, place, event.value, 1))
        offset = len(self.tallies)
        link = ChainLink(offset, offset + 1, offset - 1)
        counts = RecordCounts(batches=1), EventCounts(counted=len(found))
        self.tallies.append(encode_tally(Tally("chain", 0, link, NO_OFFSET, "i", "k", NOW_MS, *counts, (), latest=latest.values())))
        self.reporter.add(offset, decode_tally(self.tallies[-1]))

    def plan(self) -> None:
        """An intent for what was counted, and a receipt."""
        intent = self.reporter.plan(NOW_MS, 10, 10)
        if intent is None:
            return
        offset = len(self.ledger)
        self.ledger.append(encode_intent(intent))
        assert self.reporter.observe(offset, NOW_MS, decode_entry(self.ledger[-1]), mine=True)
        self.sent += intent.meter_events
        receipt = self.reporter.receipt([Settlement(offset, index, Outcome.ACCEPTED, NOW_MS) for index in range(len(intent.meter_events))])
        self.ledger.append(encode_receipt(receipt))
        self.reporter.observe(offset + 1, NOW_MS, receipt, mine=True)

    def take_over(self) -> None:
        """Another process owns the partition, and knows only the log."""
        self.reporter = self._take_over()
        for offset in range(self.reporter.tally_position, len(self.tallies)):
            self.reporter.add(offset, decode_tally(self.tallies[offset]))

    def _take_over(self) -> PartitionReporter:
        begin, ledger = 0, Ledger()
        if self.ledger:
            last = decode_entry(self.ledger[-1])
            checkpoint = last.checkpoint  # type: ignore[union-attr]  # a receipt has one
            if checkpoint != NO_OFFSET:
                planned = decode_entry(self.ledger[checkpoint])
                assert isinstance(planned, Intent)
                begin, ledger = checkpoint, ledger_from(checkpoint, planned)
        reporter = PartitionReporter(0, "i", ledger, 100, self.periods)
        for offset in range(begin, len(self.ledger)):
            reporter.observe(offset, NOW_MS, decode_entry(self.ledger[offset]))
        reporter.begin()
        return reporter


def period_of(customer: str, time_ms: int) -> int:
    return bisect_right([BOUNDARY_S], time_ms // 1000) if customer == "a" else 0


@given(steps)
def test_stripe_has_the_latest_value_of_each_period_by_timestamp_and_by_receipt(given_steps: list[Step]) -> None:
    pipeline = Pipeline()
    truth: dict[tuple[str, int], tuple[int, int]] = {}
    for step in given_steps:
        pipeline.count(step.events)
        for event in step.events:
            happened_ms, place = NOW_MS - event.age_ms, (event.customer, period_of(event.customer, NOW_MS - event.age_ms))
            if happened_ms >= truth.get(place, (0, 0))[0]:
                truth[place] = happened_ms, event.value
        if step.plans:
            pipeline.plan()
        if step.is_taken_over:
            pipeline.take_over()
    pipeline.plan()
    taken: defaultdict[tuple[str, int], list[MeterEvent]] = defaultdict(list)
    for told in pipeline.sent:
        assert told.time_ms // 1000 != BOUNDARY_S or told.customer == "b"
        taken[told.customer, period_of(told.customer, told.time_ms)].append(told)
    assert {place: found[-1].value for place, found in taken.items()} == {place: value for place, (_, value) in truth.items()}
    by_time = {place: max(enumerate(found), key=lambda each: (each[1].time_ms, each[0]))[1] for place, found in taken.items()}
    assert {place: told.value for place, told in by_time.items()} == {place: value for place, (_, value) in truth.items()}


def _the_last_to_come_is_the_latest() -> AbstractContextManager[object]:
    def take(self: UnplannedReadings, customer: str, meter: str, happened_ms: int, value: int, *, is_newer: bool) -> None:
        assert is_newer
        self._latest[customer, meter, self._periods.since_s(customer, happened_ms)] = happened_ms, value

    return patch.object(UnplannedReadings, "_take", take)


def _nobody_looks_at_what_was_told() -> AbstractContextManager[object]:
    return patch.object(ToldReadings, "has_later", lambda *_: False)


def _a_new_owner_forgets_what_was_told() -> AbstractContextManager[object]:
    return patch.object(ToldReadings, "oldest", ())


LATE = Step([Event("b", 60_000, 3)], True, False)


@pytest.mark.parametrize(
    ("bug", "found"),
    [
        (nullcontext, [Step([Event("b", 0, 1)], True, False), LATE]),
        (_the_last_to_come_is_the_latest, [Step([Event("b", 0, 1)], False, False), LATE]),
        (_nobody_looks_at_what_was_told, [Step([Event("b", 0, 1)], True, False), LATE]),
        (_a_new_owner_forgets_what_was_told, [*(Step([Event(name, 0, 1)], True, False) for name in "cdbefgh"), Step([], False, True), LATE]),
    ],
)
def test_planted_bugs_are_seen(bug: Callable[[], AbstractContextManager[object]], found: list[Step]) -> None:
    look = test_stripe_has_the_latest_value_of_each_period_by_timestamp_and_by_receipt.hypothesis.inner_test  # type: ignore[attr-defined]
    look(found)
    if bug is not nullcontext:
        with bug(), pytest.raises(AssertionError):
            look(found)


def test_a_new_owner_goes_back_no_further_than_a_few_intents() -> None:
    pipeline = Pipeline()
    for number in range(3 * SAID_AGAIN):
        pipeline.count([Event(f"c{number % 100}", 0, number)])
        pipeline.plan()
    last = decode_entry(pipeline.ledger[-1])
    assert len(pipeline.ledger) - last.checkpoint <= 2 * (SAID_AGAIN + 2)  # type: ignore[union-attr]  # with a receipt behind each
