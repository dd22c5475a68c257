"""Links follow what Stripe's customers say when they are asked, however webhooks come and whichever reporter gets them."""

import asyncio
import io
import itertools
from collections.abc import Collection, Mapping
from typing import Any, cast

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry

from metering.configuration.secrets import Redactor
from metering.folds.customer_links import CustomerLinks
from metering.following.customers_log import CustomersLog
from metering.kafka.partition_log import Appender
from metering.process.logs import get_log, logging_to
from metering.records.notes.customer_link import CustomerLink
from metering.stripe.signatures import WebhookEvent
from reporter.linking.linking_metrics import LinkingMetrics
from reporter.linking.metadata_following import NAMES_WAITING_MAX, FollowingRules, MetadataFollowing
from reporter.linking.naming_customers import NamesPage, NamesUnavailable

FIELD = "taximeter_customers"
REASON = f"metadata {FIELD}"
IDS = itertools.count()


class Account:
    """Customers of Stripe with what they name; None for deleted ones. `refusal` is what every call raises. What is read of the `odd` one fails in a
    way that no port says.
    """

    def __init__(self) -> None:
        self.named: dict[str, frozenset[str] | None] = {}
        self.calls: list[str] = []
        self.refusal: NamesUnavailable | None = None
        self.odd = ""

    async def page(self, after: str | None = None) -> NamesPage:
        self._call("all")
        assert after is None
        return NamesPage({each: named for each, named in self.named.items() if named is not None}, None)

    async def named_by(self, stripe_customer: str) -> frozenset[str] | None:
        self._call(stripe_customer)
        if stripe_customer not in self.named:
            return None
        return self.named[stripe_customer] or frozenset()

    async def close(self) -> None:
        pass

    def change(self, stripe_customer: str, named: Collection[str] | None) -> WebhookEvent:
        """The webhook of it."""
        kind = "deleted" if named is None else "updated" if stripe_customer in self.named else "created"
        self.named[stripe_customer] = None if named is None else frozenset(named)
        return event(stripe_customer, named or (), f"customer.{kind}")

    def _call(self, what: str) -> None:
        if self.refusal is not None:
            raise self.refusal
        if what == self.odd:
            raise ValueError(what)
        self.calls.append(what)


class Topic:
    """usage.customers, as the log of each reporter has it."""

    def __init__(self) -> None:
        self.links = CustomerLinks()
        self.written: list[CustomerLink] = []

    async def read_on(self) -> None:
        pass

    async def write(self, _appender: object, link: CustomerLink) -> int:
        self.links.fold(len(self.written), link)
        self.written.append(link)
        return len(self.written) - 1

    def billed(self) -> dict[str, str]:
        return {link.customer: link.stripe_customer for link in self.links}


class Clock:
    """Passes as it is slept."""

    def __init__(self) -> None:
        self.now = 1_000.0

    def now_ms(self) -> int:
        return int(self.now * 1_000)

    def monotonic(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds
        await asyncio.sleep(0)


def event(stripe_customer: str, named: Collection[str], kind: str = "customer.updated") -> WebhookEvent:
    body = {"data": {"object": {"id": stripe_customer, "metadata": {FIELD: ", ".join(sorted(named))}}}}
    return WebhookEvent(f"evt_{next(IDS)}", kind, 0, thin=False, livemode=False, document=body)


class Reporters:
    """Several processes over one account and one topic. The first one owns all partitions, if `lead`."""

    def __init__(self, count: int = 1, *, lead: bool = False, reads_per_month: float = 1e9) -> None:
        self.account, self.topic, self.clock, self.logged = Account(), Topic(), Clock(), io.StringIO()
        self.all = [self._reporter(number, lead=lead and number == 0, reads=reads_per_month) for number in range(count)]

    def _reporter(self, number: int, *, lead: bool, reads: float) -> MetadataFollowing:
        return MetadataFollowing(
            FollowingRules(field=FIELD, every_seconds=3_600.0, reads_per_month=reads, reads_per_second=10.0, partitions=4, by=f"reporter-{number}"),
            port=self.account,
            log=cast("CustomersLog", self.topic),
            appender=cast("Appender", None),
            owned=lambda: range(4) if lead else (),
            metrics=LinkingMetrics.create(CollectorRegistry()),
            clock=self.clock,
            notices=get_log("test"),
        )

    async def settle(self, turns: int = 40) -> None:
        """Let each do what it has to do, one after the other, so that what is asked does not hang on chance."""
        for each in self.all:
            running = asyncio.create_task(each.run())
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait([running])
            assert running.cancelled(), "nothing else ends it, as that would end the reporter"


@pytest.fixture(autouse=True)
def quiet() -> Any:
    with logging_to(io.StringIO(), service="reporter", level="info", style="json", redactor=Redactor([])):
        yield


async def test_a_webhook_links_and_unlinks_with_who_and_why() -> None:
    subject = Reporters()
    subject.all[0].observe(subject.account.change("cus_A", {"org_a", "org_b"}))
    await subject.settle()
    assert {(link.customer, link.stripe_customer, link.reason, link.by) for link in subject.topic.written} == {
        ("org_a", "cus_A", REASON, "reporter-0"),
        ("org_b", "cus_A", REASON, "reporter-0"),
    }
    await subject.topic.write(None, CustomerLink("org_c", "cus_A", "by hand", "ada", 0))
    subject.all[0].observe(subject.account.change("cus_A", None))
    await subject.settle()
    assert subject.topic.billed() == {"org_c": "cus_A"}  # what a person has linked stays
    subject.all[0].observe(subject.account.change("cus_B", {"org_c", "org_d"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_c": "cus_A", "org_d": "cus_B"}, "also where another claims it"


async def test_what_a_webhook_says_is_not_believed() -> None:
    subject = Reporters()
    subject.account.change("cus_A", {"org_a"})
    subject.all[0].observe(event("cus_A", {"org_forged"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_a": "cus_A"}


async def test_a_customer_of_another_account_changes_nothing() -> None:
    subject = Reporters(lead=True)
    await subject.topic.write(None, CustomerLink("org_a", "cus_elsewhere", REASON, "sync", 0))
    for kind in ("created", "updated", "deleted"):
        subject.all[0].observe(event("cus_elsewhere", {"org_b"}, f"customer.{kind}"))
        await subject.settle()
    assert subject.topic.billed() == {"org_a": "cus_elsewhere"}


async def test_two_that_name_one_customer_hold_up_nobody_else_and_are_told() -> None:
    subject = Reporters()
    (one,) = subject.all
    one.observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    one.observe(subject.account.change("cus_B", {"org_a", "org_b"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_a": "cus_A", "org_b": "cus_B"}
    assert "org_a is named by cus_A and by cus_B" in (one.trouble() or "")
    one.observe(subject.account.change("cus_A", ()))
    await subject.settle()
    assert (subject.topic.billed()["org_a"], one.trouble()) == ("cus_B", None)


async def test_events_that_change_no_name_ask_for_nothing_and_a_flood_is_bounded() -> None:
    subject = Reporters(lead=True, reads_per_month=720 * 25)  # 25 an hour
    (one,) = subject.all
    one.observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    before = len(subject.account.calls)
    for _ in range(1_000):
        one.observe(event("cus_A", {"org_a"}))
        one.observe(event("cus_unnamed", ()))
    await subject.settle()
    assert len(subject.account.calls) == before
    for number in range(NAMES_WAITING_MAX + 5):
        one.observe(event(f"cus_{number}", {f"org_{number}"}))
    began = subject.clock.now
    await subject.settle(2_000)
    made = len(subject.account.calls) - before
    assert 0 < made <= 25 + (subject.clock.now - began) / 3_600 * 25  # what is saved up, and what the time allows
    assert len(one._waiting) + len(one._taken) <= NAMES_WAITING_MAX


async def test_who_waits_goes_on_waiting_while_stripe_is_away() -> None:
    subject = Reporters()
    (one,) = subject.all
    subject.account.refusal = NamesUnavailable("TimeoutError", lasting=False)
    one.observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    assert (subject.topic.billed(), "TimeoutError" in (one.trouble() or "")) == ({}, True)
    subject.account.refusal = None
    await subject.settle()
    assert (subject.topic.billed(), one.trouble()) == ({"org_a": "cus_A"}, None)


async def test_a_lost_webhook_is_made_good_by_reading_all() -> None:
    subject = Reporters(lead=True)
    subject.account.change("cus_A", {"org_a"})
    await subject.settle()
    subject.account.change("cus_A", None)
    subject.clock.now += 3_601
    await subject.settle()
    assert subject.topic.billed() == {}


async def test_reporters_that_are_told_different_things_agree() -> None:
    subject = Reporters(2)
    first, second = subject.all
    for each in subject.all:  # what both have read says nothing of what comes
        each.observe(event("cus_A", {"org_a"}))
    await subject.settle()
    first.observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    second.observe(subject.account.change("cus_B", {"org_a"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_a": "cus_A"}
    first.observe(subject.account.change("cus_A", ()))
    await subject.settle()
    assert [link.stripe_customer for link in subject.topic.written] == ["cus_A", "cus_B"]  # never nobody


CUSTOMERS = ("org_a", "org_b")
STRIPE_CUSTOMERS = ("cus_X", "cus_Y", "cus_Z")
CHANGES = st.tuples(st.sampled_from(STRIPE_CUSTOMERS), st.none() | st.sets(st.sampled_from(CUSTOMERS), max_size=2))
STEPS = st.lists(st.tuples(CHANGES, st.integers(0, 1), st.sampled_from((True, True, False, None))), min_size=1, max_size=9)


@settings(max_examples=120, deadline=None)
@given(STEPS, st.randoms(use_true_random=False))
def test_in_the_end_links_are_what_sync_would_write(steps: Any, random: Any) -> None:
    async def play() -> None:
        subject, late = Reporters(2), list[tuple[int, WebhookEvent]]()
        for (stripe_customer, named), receiver, prompt in steps:
            if stripe_customer in subject.account.named and subject.account.named[stripe_customer] is None:
                continue  # a deleted customer does not come back
            told = subject.account.change(stripe_customer, named)
            if prompt is not False:
                subject.all[receiver].observe(told)
                await subject.settle()
            if prompt is not True:  # in any order, and some of them again
                late.append((receiver, told))
        random.shuffle(late)
        for receiver, told in late:
            subject.all[receiver].observe(told)
            await subject.settle()
        named_by: Mapping[str, list[str]] = {
            customer: [each for each, named in subject.account.named.items() if named and customer in named] for customer in CUSTOMERS
        }
        billed = subject.topic.billed()
        for customer, claims in named_by.items():
            if len(claims) < 2:
                assert billed.get(customer) == (claims[0] if claims else None), (customer, claims, billed)

    with logging_to(io.StringIO(), service="reporter", level="info", style="json", redactor=Redactor([])):
        asyncio.run(play())


async def test_what_nobody_foresaw_costs_one_customer_its_turn_and_no_other_anything() -> None:
    subject = Reporters()
    subject.all[0].observe(subject.account.change("cus_C", {"org_c"}))
    await subject.settle()
    subject.account.odd = "cus_A"
    subject.all[0].observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_c": "cus_C"}
    subject.all[0].observe(subject.account.change("cus_B", {"org_b"}))
    await subject.settle()
    assert subject.topic.billed() == {"org_c": "cus_C", "org_b": "cus_B"}
    assert subject.all[0].trouble() is None
    subject.account.odd = ""
    subject.all[0].observe(subject.account.change("cus_A", {"org_a"}))
    await subject.settle()
    assert subject.topic.billed()["org_a"] == "cus_A"
