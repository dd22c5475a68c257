"""Usage of customers without a link is carried, and told once when the link is there."""

from dataclasses import replace

import pytest

from metering.folds.customer_links import CustomerLinks
from metering.folds.ledger import Ledger, ledger_from
from metering.records.ledger_records import BILLED_TO_NOBODY, Intent, Outcome, Receipt, Settlement, decode_entry, encode_intent
from metering.records.notes.customer_link import CustomerLink
from metering.records.tally import Tally
from reporter.planning import planner
from reporter.planning.billing_periods import BillingPeriods, SubscriptionPeriods
from reporter.planning.planner import PartitionReporter
from tests.support.reporter_planning import NOW_MS, planned, tally


def of_customers(found: Tally, *customers: str) -> Tally:
    return replace(found, rows=[row._replace(customer=customer) for row, customer in zip(found.rows, customers, strict=True)])


class Linking:
    """A reporter with links that change."""

    def __init__(self, ledger: Ledger | None = None, links: CustomerLinks | None = None) -> None:
        self.links = CustomerLinks() if links is None else links
        self.periods = BillingPeriods(links=self.links)
        self.reporter = PartitionReporter(0, "r", ledger or Ledger(), rows_max=100, periods=self.periods)
        self.reporter.begin()

    def link(self, customer: str, stripe_customer: str) -> None:
        self.links.fold(self.links.next_offset, CustomerLink(customer, stripe_customer, "", "", 0))

    def plan(self) -> Intent:
        """Planned, written, and accepted."""
        intent = planned(self.reporter)
        assert decode_entry(encode_intent(intent)) == intent
        assert self.reporter.observe(self.reporter.ledger.chain.next_offset, 0, intent, mine=True)
        return intent


def told(intent: Intent) -> list[tuple[str, str, int]]:
    return sorted((event.customer, event.billed, event.value) for event in intent.meter_events)


def carried(intent: Intent) -> list[tuple[str, int]]:
    return sorted((event.customer, event.value) for event in intent.carried)


def test_usage_without_a_link_is_carried_and_told_once_when_it_comes() -> None:
    subject = Linking()
    subject.reporter.add(0, of_customers(tally(0, -1, 5, 7), "cus_1", "org_a"))
    first = subject.plan()
    assert (told(first), carried(first)) == ([("cus_1", "cus_1", 5)], [("org_a", 7)])
    subject.reporter.add(1, of_customers(tally(1, 0, 2), "org_a"))
    second = subject.plan()
    assert (told(second), sum(value for _, value in carried(second))) == ([], 9)
    subject.link("org_a", "cus_A")
    subject.reporter.hold(frozenset())
    assert subject.reporter.unplanned_since_ms is not None
    third = subject.plan()
    assert (sum(value for *_, value in told(third)), {billed for _, billed, _ in told(third)}, carried(third)) == (9, {"cus_A"}, [])
    assert subject.reporter.plan(NOW_MS, 100, 100) is None


def test_a_link_that_comes_between_holding_and_planning_is_that_of_the_plan() -> None:
    subject = Linking()
    subject.reporter.add(0, of_customers(tally(0, -1, 5), "org_a"))
    subject.link("org_a", "cus_A")
    assert told(subject.plan()) == [("org_a", "cus_A", 5)]


def test_two_customers_of_one_stripe_customer_stay_two_meter_events() -> None:
    subject = Linking()
    for customer in ("org_a", "org_b"):
        subject.link(customer, "cus_A")
    subject.reporter.add(0, of_customers(tally(0, -1, 5, 7), "org_a", "org_b"))
    intent = subject.plan()
    assert told(intent) == [("org_a", "cus_A", 5), ("org_b", "cus_A", 7)]
    assert len({intent.identifier(index) for index in range(2)}) == 2


def test_a_changed_link_holds_from_then_on_and_leaves_what_was_planned() -> None:
    subject = Linking()
    subject.link("org_a", "cus_A")
    subject.reporter.add(0, of_customers(tally(0, -1, 5), "org_a"))
    first = subject.plan()
    subject.link("org_a", "cus_B")
    subject.reporter.add(1, of_customers(tally(1, 0, 6), "org_a"))
    assert (told(first), told(subject.plan())) == ([("org_a", "cus_A", 5)], [("org_a", "cus_B", 6)])


def test_an_unlinked_customer_is_held_again_also_what_was_not_planned_yet() -> None:
    subject = Linking()
    subject.link("org_a", "cus_A")
    subject.reporter.add(0, of_customers(tally(0, -1, 5), "org_a"))
    subject.link("org_a", "")
    subject.reporter.hold(frozenset())
    assert subject.reporter.carries_more
    intent = subject.plan()
    assert (told(intent), carried(intent)) == ([], [("org_a", 5)])


def test_a_successor_carries_what_has_no_link_for_it_and_tells_what_has() -> None:
    subject = Linking()
    subject.reporter.add(0, of_customers(tally(0, -1, 5, 7), "org_a", "org_b"))
    intent = subject.plan()
    heir = Linking(ledger_from(0, intent))
    heir.link("org_a", "cus_A")
    heir.reporter.observe(0, 0, intent)
    heir.reporter.begin()
    again = heir.plan()
    assert (told(again), carried(again)) == ([("org_a", "cus_A", 5)], [("org_b", 7)])


def test_a_held_meter_and_a_missing_link_are_told_apart() -> None:
    subject = Linking()
    subject.reporter.hold(frozenset({"tokens"}))
    subject.reporter.add(0, of_customers(tally(0, -1, 5, 7), "cus_1", "org_a"))
    assert (subject.reporter.held_usage()["tokens"][0], subject.reporter.unlinked()) == (12, {})
    subject.reporter.hold(frozenset())
    assert (subject.reporter.held_usage(), subject.reporter.unlinked()["tokens"][0]) == ({}, 7)


def test_billing_periods_are_those_of_the_stripe_customer() -> None:
    subject = Linking()
    start, end = NOW_MS // 1000 - 86_400, NOW_MS // 1000 + 86_400
    subject.periods.learn(SubscriptionPeriods("cus_A", (start, end), frozenset({start, end})))
    before = subject.periods.changes
    assert subject.periods.end_s("org_a", NOW_MS) is None
    subject.link("org_a", "cus_A")
    assert (subject.periods.end_s("org_a", NOW_MS), subject.periods.changes) == (end, before + 1)


@pytest.fixture
def few_places(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(planner, "CARRIED_SUMS_MAX", 2)
    monkeypatch.setattr(planner, "SURPLUS_SUMS_MAX", 2)


@pytest.mark.usefixtures("few_places")
def test_customers_without_a_link_hold_up_nobody_however_many_they_are() -> None:
    subject = Linking()
    names = [f"org_{number}" for number in range(4)]
    subject.reporter.add(0, of_customers(tally(0, -1, 5, *range(1, 5)), "cus_1", *names))
    assert (subject.reporter.is_full, subject.reporter.must_plan) == (True, True)
    intent = subject.plan()
    # The oldest usage stays; `tally` gives each row a minute before the last.
    assert told(intent) == [("cus_1", "cus_1", 5), ("org_0", BILLED_TO_NOBODY, 1), ("org_1", BILLED_TO_NOBODY, 2)]
    assert carried(intent) == [("org_2", 3), ("org_3", 4)]
    assert not subject.reporter.is_full
    assert subject.reporter.plan(NOW_MS, 100, 100) is None


@pytest.mark.usefixtures("few_places")
def test_a_plan_that_was_not_written_is_made_again_as_it_was() -> None:
    subject = Linking()
    subject.reporter.add(0, of_customers(tally(0, -1, *range(1, 5)), *(f"org_{number}" for number in range(4))))
    assert planned(subject.reporter) == planned(subject.reporter)


@pytest.mark.usefixtures("few_places")
def test_usage_of_held_meters_gives_way_to_none_and_pauses_when_it_is_too_much() -> None:
    subject = Linking()
    subject.reporter.hold(frozenset({"tokens"}))
    subject.reporter.add(0, of_customers(tally(0, -1, *range(1, 5)), *(f"cus_{number}" for number in range(4))))
    intent = subject.plan()
    assert (told(intent), len(carried(intent))) == ([], 4)
    # Another intent would change nothing.
    assert (subject.reporter.is_full, subject.reporter.must_plan) == (True, False)


@pytest.mark.usefixtures("few_places")
def test_what_is_for_nobody_is_rejected_whoever_says_so() -> None:
    subject = Linking()
    subject.reporter.add(0, of_customers(tally(0, -1, *range(1, 5)), *(f"org_{number}" for number in range(4))))
    intent = subject.plan()
    ledger = subject.reporter.ledger
    told_by_another = Receipt(intent.chain_id, 0, 0, 0, "another", [Settlement(0, index, Outcome.REJECTED, 0) for index in range(2)])
    ledger.fold(1, 0, told_by_another)
    assert ledger.settled == {Outcome.REJECTED: 2}
