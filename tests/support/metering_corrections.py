"""Builders for the tests of corrections."""

from typing import Any

from metering.folds.ledger import Ledger
from metering.records.chain import NO_OFFSET, ChainLink
from metering.records.ledger_records import (
    Correction,
    CorrectionKind,
    Intent,
    LedgerAdoption,
    LedgerClosing,
    MeterEvent,
    Outcome,
    Receipt,
    Settlement,
)

EVENT = MeterEvent("cus_1", "tokens", (("model", "alpaca"),), 60_000, 5)


def intent(ledger: Ledger, events: int = 1, instance: str = "owner") -> Intent:
    """An intent that continues this ledger."""
    start = max(0, ledger.chain.end)
    return Intent(
        chain_id="c",
        partition=0,
        link=ChainLink(start, start + 2, ledger.chain.head),
        checkpoint=ledger.checkpoint,
        instance=instance,
        tally_head=start + 1,
        events_end=(start + 2) * 10,
        meter_events=[EVENT] * events,
    )


def correction(ledger: Ledger, kind: CorrectionKind, *, place: Intent, at: int, index: int = 0, **changes: Any) -> Correction:
    """A correction by one who has folded this ledger to its end; `place` is the accepted intent at offset `at`."""
    about: dict[str, Any] = {
        "chain_id": "c",
        "partition": 0,
        "offset": ledger.chain.next_offset,
        "checkpoint": ledger.checkpoint,
        "instance": "operator",
        "chain_head": ledger.chain.head,
        "chain_end": ledger.chain.end,
        "tally_head": ledger.tally_head,
        "events_end": ledger.events_end,
        "kind": kind,
        "intent": at,
        "index": index,
        "target_identifier": place.identifier(index),
        "event": place.meter_events[index],
        "reason": "counted for the wrong customer",
        "by": "ann",
        "at_ms": 7,
    }
    return Correction(**about | changes)


def closing(ledger: Ledger, offset: int | None = None) -> LedgerClosing:
    """A closing by one who has folded this ledger to its end."""
    place = ledger.place(ledger.chain.next_offset if offset is None else offset)
    return LedgerClosing(ledger.chain_id or "", 0, place, ledger.checkpoint, "adopt", "new-cluster", "moved", "ann", 7)


def adoption(ledger: Ledger) -> LedgerAdoption:
    """An adoption of this copy, which ends where the ledger does."""
    closed_at = NO_OFFSET if ledger.closing is None else ledger.closing.place.offset
    place = ledger.place(ledger.chain.next_offset)
    return LedgerAdoption(ledger.chain_id or "", 0, place, ledger.checkpoint, "adopt", "old-cluster", closed_at, 0, (), 0, "moved", "ann", 7)


def receipt(ledger: Ledger, *told: tuple[int, int, Outcome], instance: str = "owner") -> Receipt:
    """A receipt by one who has folded this ledger."""
    settlements = [Settlement(offset, index, outcome, 9) for offset, index, outcome in told]
    return Receipt("c", 0, ledger.chain.head, ledger.checkpoint, instance, settlements)


def settled(outcome: Outcome) -> tuple[Ledger, Intent]:
    """A ledger of one intent at offset 0 with one meter event of this outcome, told at offset 1."""
    ledger = Ledger()
    first = intent(ledger)
    ledger.fold(0, 1, first)
    ledger.fold(1, 2, receipt(ledger, (0, 0, outcome)))
    assert ledger.checkpoint > NO_OFFSET
    return ledger, first
