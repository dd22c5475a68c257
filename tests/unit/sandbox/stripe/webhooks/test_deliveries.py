"""Deliveries as a pure queue: due times, retries, bounds, and what a replayed journal brings back."""

import random
from dataclasses import replace
from typing import Any

import pytest
from taximeter_sandbox.stripe.account import Account
from taximeter_sandbox.stripe.http.errors import ApiError
from taximeter_sandbox.stripe.webhooks import deliveries
from taximeter_sandbox.stripe.webhooks.deliveries import Delivery, DeliveryQueue, Webhooks, retry_wait_ms
from taximeter_sandbox.stripe.webhooks.destinations import Destination, SigningSecret, checked_url, rolled
from taximeter_sandbox.stripe.webhooks.event_log import EVENTS_MAX, KEPT_MS, Cause, EventLog, SnapshotEvent

from tests.support.stripe_account import NOW_MS, MemoryJournal, add_meter, make_account
from tests.support.stripe_deliveries import ended

HOUR_MS = 3_600_000


def make_destination(**changes: Any) -> Destination:
    usual = Destination(
        id="we_1",
        payload="snapshot",
        url="http://127.0.0.1:1/",
        enabled_events=("billing.meter.created",),
        enabled=True,
        livemode=False,
        created_ms=NOW_MS,
        updated_ms=NOW_MS,
        name="",
        description=None,
        metadata=(),
        api_version=None,
        secrets=(SigningSecret("whsec_1", None),),
    )
    return replace(usual, **changes)


def telling_account(journal: MemoryJournal | None = None, **changes: Any) -> Account:
    account = make_account(journal)
    account.notifications.put_destination(make_destination(**changes))
    return account


def test_live_mode_tries_for_three_days_and_a_sandbox_three_times() -> None:
    live = [retry_wait_ms(attempts, 1.0, livemode=True) for attempts in range(1, 20)]
    waits = [wait for wait in live if wait is not None]
    assert live[len(waits) :] == [None] * (19 - len(waits))
    assert 60 * HOUR_MS < sum(waits) <= 72 * HOUR_MS
    assert waits == sorted(waits)
    assert [retry_wait_ms(attempts, 1.0, livemode=False) for attempts in (1, 2, 3)] == [30 * 60_000, 2 * HOUR_MS, None]
    assert retry_wait_ms(1, 0.001, livemode=True) == 300


def test_a_full_queue_counts_what_it_does_not_take(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(deliveries, "DELIVERIES_MAX", 2)
    queue = DeliveryQueue()
    assert [queue.add(Delivery(number, "evt", "we_1", 0, 0)) for number in range(3)] == [True, True, False]
    assert (len(queue), queue.refused) == (2, 1)


def test_a_forgotten_destination_gets_nothing_and_its_attempts_in_flight_end_quietly() -> None:
    queue = DeliveryQueue()
    for number in range(3):
        queue.add(Delivery(number, "evt", "we_1", 0, 0))
    [flying] = queue.take_due(0, 1)
    queue.forget_destination("we_1")
    queue.settle(ended(flying, 5))
    assert (len(queue), queue.in_flight, queue.take_due(10, 5)) == (0, 0, [])


@pytest.mark.parametrize(
    "changes", [{"retry_scale": 1.5}, {"duplicate_probability": -0.1}, {"connections": 0}, {"delay_min_ms": 5, "delay_max_ms": 4}, {"timeout_ms": 0}]
)
def test_settings_out_of_bounds_are_named(changes: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match=f"webhooks: {next(iter(changes))}"):
        Webhooks(**changes)


def test_delays_and_copies_come_from_the_seed() -> None:
    settings = Webhooks(duplicate_probability=0.5, hold_back_probability=0.5, delay_max_ms=1000)

    def drawn(seed: int) -> list[tuple[int, int]]:
        source = random.Random(seed)
        return [(settings.sample_copies(source), settings.sample_delay_ms(source)) for _ in range(50)]

    assert drawn(1) == drawn(1) != drawn(2)
    assert {copies for copies, _ in drawn(1)} == {1, 2}


def test_replacing_a_secret_keeps_the_old_one_for_its_time_only() -> None:
    made = make_destination()
    twice = rolled(rolled(made, "whsec_2", NOW_MS, HOUR_MS), "whsec_3", NOW_MS + 1, 2 * HOUR_MS)
    assert twice.signing(NOW_MS + 1) == ["whsec_3", "whsec_2", "whsec_1"]
    assert twice.signing(NOW_MS + HOUR_MS) == ["whsec_3", "whsec_2"]
    assert twice.signing(NOW_MS + 2 * HOUR_MS + 1) == ["whsec_3"]
    assert rolled(made, "whsec_2", NOW_MS, 0).signing(NOW_MS) == ["whsec_2"]
    assert "whsec" not in repr(twice)


@pytest.mark.parametrize("url", ["example.com", "ftp://example.com", "https://", "http://a b", "http://a:99999", "http://ä.example", "https://a\n"])
def test_a_url_that_cannot_be_posted_to_is_refused(url: str) -> None:
    with pytest.raises(ApiError):
        checked_url(url, "url", livemode=False)


def test_live_mode_wants_https_except_on_this_machine() -> None:
    assert checked_url("http://127.0.0.1:80/a", "url", livemode=True)
    assert checked_url("https://example.com/a", "url", livemode=True)
    with pytest.raises(ApiError):
        checked_url("http://example.com/a", "url", livemode=True)


def test_the_log_forgets_the_old_but_not_what_is_owed() -> None:
    log = EventLog()
    for number, created_ms in enumerate((0, 1, KEPT_MS)):
        log.add(SnapshotEvent(f"evt_{number}", "x", created_ms, False, Cause(), b"{}", None))
    log.expire(KEPT_MS + 1, lambda event_id: event_id == "evt_1")
    assert [event.id for event in log.snapshots()] == ["evt_2", "evt_1"]
    log.expire(KEPT_MS + 1, lambda _: False)
    assert [event.id for event in log.snapshots()] == ["evt_2"]
    for number in range(EVENTS_MAX):
        log.add(SnapshotEvent(f"evt_more_{number}", "x", KEPT_MS, False, Cause(), b"{}", None))
    assert (len(log), log.get("evt_2")) == (EVENTS_MAX, None)


def test_events_and_deliveries_come_back_from_the_journal() -> None:
    journal = MemoryJournal()
    account = telling_account(journal)
    for name in ("a", "b", "c"):
        add_meter(account, name)
    first, second = account.notifications.take_due(NOW_MS, 0)[:2]
    account.notifications.attempted(first.delivery, NOW_MS, 200, None)
    account.notifications.attempted(second.delivery, NOW_MS, None, "TimeoutError")
    again = make_account()
    again.replay(journal.entries)
    assert list(again.notifications.log.snapshots()) == list(account.notifications.log.snapshots())
    assert list(again.destinations) == list(account.destinations)
    assert list(again.notifications.queue.records) == list(account.notifications.queue.records)
    due = again.notifications.take_due(NOW_MS, 0)
    assert [attempt.delivery.event_id for attempt in due] == [event.id for event in account.notifications.log.snapshots()][:1]
    later = again.notifications.take_due(NOW_MS + HOUR_MS, 0)
    assert [(attempt.delivery.number, attempt.delivery.attempts) for attempt in later] == [(second.delivery.number, 1)]


def test_nothing_is_sent_to_a_disabled_destination_nor_tried_again_there() -> None:
    account = telling_account()
    for number in range(10):
        add_meter(account, f"meter-{number}")
    account.notifications.put_destination(make_destination(enabled=False))
    assert account.notifications.take_due(NOW_MS, 0) == []
    assert [record.error for record in account.notifications.queue.records] == ["destination_disabled"] * 10
    assert len(account.notifications.queue) == 0


def test_a_destination_gets_what_it_asked_for_in_its_own_api_version() -> None:
    account = telling_account(enabled_events=("*",), api_version="2025-03-31.basil")
    account.notifications.put_destination(make_destination(id="we_other"))
    account.notifications.thin("v1.billing.meter.no_meter_found", None, {}, NOW_MS)
    account.notifications.snapshot("invoice.paid", {"id": "in_1", "livemode": True}, NOW_MS, {"status": "open"})
    [attempt] = account.notifications.take_due(NOW_MS, 0)
    assert attempt.delivery.destination_id == "we_1"
    assert b'"2025-03-31.basil"' in attempt.body
    assert b'"livemode": true' in attempt.body
    assert b'"previous_attributes"' in attempt.body
