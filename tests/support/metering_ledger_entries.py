"""Entries of the ledger, short to write."""

from typing import Any

from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import Intent, MeterEvent, Outcome, Receipt, Rejection, Settlement

EVENT = MeterEvent("cus_1", "tokens", (), 60_000, 5)
REJECTION = Rejection(
    0, "webhooks", "evt_1", "tokens", "meter_event_customer_not_found", "no such customer", 1, ("tm-c-0-0-2-0",), 10_000, 20_000, 30_000
)


def an_intent(start: int, end: int, previous: int, events: int = 1, **changes: Any) -> Intent:
    about: dict[str, Any] = {
        "chain_id": "c",
        "partition": 0,
        "link": ChainLink(start, end, previous),
        "checkpoint": NO_OFFSET,
        "instance": "i",
        "tally_head": end - 1,
        "events_end": end * 10,
        "meter_events": [EVENT] * events,
    }
    return Intent(**about | changes)


def a_receipt(*told: tuple[int, int, Outcome], chain_id: str = "c") -> Receipt:
    return Receipt(chain_id, 0, 0, 0, "i", [Settlement(intent, index, outcome, 9) for intent, index, outcome in told])
